// The schema's problems with a configuration, in our own words: no text of ajv reaches a user.

import { closest } from '../base/suggest.ts';
import { formatSize, parseDuration, parseSize } from '../base/units.ts';
import { schemaErrors } from '../generated/validate-config.ts';
import { configSchema, describe, list, resolveRef, type SchemaNode, schemaAt } from './describe.ts';
import { type Finding, MAX_FINDINGS, type Path, quote } from './problem.ts';
import type { RawConfig } from './raw.ts';
import { child, itemAt, plainOf, type YamlItem, type YamlNode } from './yaml.ts';

/** True when the value is valid by the schema. */
export function isRawConfig(value: unknown): value is RawConfig {
  return schemaErrors(value).length === 0;
}

/** The schema's problems with the tree: one finding for each unknown key, missing key and wrong value. */
export function schemaFindings(root: YamlItem): Finding[] {
  const errors = schemaErrors(plainOf(root.node));
  if (errors.length === 0) return [];
  const schema = configSchema();
  const findings: Finding[] = [];
  const wrongValues = new Map<string, Set<string>>();
  for (const error of errors) {
    if (findings.length === MAX_FINDINGS) return findings;
    if (error.keyword === 'additionalProperties') {
      const path = parsePointer(error.instancePath, root);
      findings.push(unknownKey(schema, root, path, String(error.params.additionalProperty)));
    } else if (error.keyword === 'required') {
      const path = parsePointer(error.instancePath, root);
      findings.push(missingKey(schema, root, path, String(error.params.missingProperty)));
    } else {
      const keywords = wrongValues.get(error.instancePath) ?? new Set();
      wrongValues.set(error.instancePath, keywords.add(error.keyword));
    }
  }
  const wholes = new Set(errors.flatMap(({ instancePath }) => pointersAbove(instancePath)));
  for (const [pointer, keywords] of wrongValues) {
    if (findings.length === MAX_FINDINGS) break;
    // A wrong part also makes the whole value wrong when several forms are allowed. Only the part is reported.
    if (!wholes.has(pointer)) findings.push(wrongValue(schema, root, parsePointer(pointer, root), keywords));
  }
  return findings;
}

/** The pointers to all values that contain the value of `pointer`. */
function pointersAbove(pointer: string): string[] {
  const above: string[] = [];
  for (let end = pointer.lastIndexOf('/'); end >= 0; end = pointer.lastIndexOf('/', end - 1)) {
    above.push(pointer.slice(0, end));
    if (end === 0) break;
  }
  return above;
}

/** The path that a JSON pointer (RFC 6901) names; numbers are indexes in a list. */
function parsePointer(pointer: string, root: YamlItem): Path {
  const path: (string | number)[] = [];
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(itemAt(root, path)?.node.kind === 'sequence' ? Number(key) : key);
  }
  return path;
}

function unknownKey(schema: SchemaNode, root: YamlItem, path: Path, key: string): Finding {
  const keys = Object.keys(schemaAt(schema, path).properties ?? {});
  const present = itemAt(root, path);
  const free = keys.filter((candidate) => child(present, candidate) === undefined);
  const meant = closest(key, free);
  const hint = meant === undefined ? '' : `, did you mean \`${meant}\`?`;
  return {
    path: [...path, key],
    at: child(present, key)?.keyAt ?? 0,
    wrong: whyUnknown(schema, path, key) ?? `is an unknown key${hint}`,
    allowed: list(keys, 'and'),
  };
}

/** What is wrong with a key that has its place elsewhere; null for any other. */
function whyUnknown(schema: SchemaNode, path: Path, key: string): string | null {
  if (key === '<<')
    return 'is a merge key, which YAML 1.2 does not have: use `defaults` for what bridges share';
  if (path.length > 0)
    return Object.hasOwn(schemaAt(schema, []).properties ?? {}, key)
      ? 'is an unknown key here: it belongs at the top of the file'
      : null;
  const ofBridges = schemaAt(schema, ['defaults']).properties ?? {};
  return Object.hasOwn(ofBridges, key)
    ? 'is a key of bridges: put it below `defaults`, or below one of `bridges`'
    : null;
}

function missingKey(schema: SchemaNode, root: YamlItem, path: Path, key: string): Finding {
  const wanted = schemaAt(schema, [...path, key]);
  return {
    path: [...path, key],
    at: itemAt(root, path)?.at ?? 0,
    wrong: 'is missing',
    allowed: describe(schema, wanted),
  };
}

function wrongValue(schema: SchemaNode, root: YamlItem, path: Path, keywords: ReadonlySet<string>): Finding {
  const item = itemAt(root, path) ?? root;
  const wanted = schemaAt(schema, path);
  const meant = suggest(schema, wanted, item.node);
  const hint = meant === undefined ? '' : `, did you mean \`${meant}\`?`;
  const isRepeated = keywords.has('uniqueItems');
  const wrong = isRepeated ? 'has an item twice' : `is ${show(item.node)}${hint}`;
  return { path, at: item.at, wrong, allowed: describe(schema, wanted) };
}

/** How a message names a value. */
function show(node: YamlNode): string {
  if (node.kind === 'mapping') return 'a mapping';
  if (node.kind === 'sequence') return node.items.length === 0 ? 'an empty list' : 'a list';
  if (node.value === null) return 'empty';
  return typeof node.value === 'string' ? quote(node.value) : `the ${typeof node.value} ${node.value}`;
}

const BOOLEAN_WORDS: ReadonlyMap<string, boolean> = new Map([
  ['yes', true],
  ['on', true],
  ['true', true],
  ['no', false],
  ['off', false],
  ['false', false],
]);

/** The mode that is meant by a boolean where none is allowed. */
function modeOf(word: boolean): 'auto' | 'never' {
  return word ? 'auto' : 'never';
}

/** Common spellings of units, and the units they mean. */
const DURATION_UNITS: readonly (readonly [RegExp, string])[] = [
  [/^(ms|msecs?|milliseconds?)$/i, 'ms'],
  [/^(s|secs?|seconds?)$/i, 's'],
  [/^(m|mins?|minutes?)$/i, 'm'],
  [/^(h|hrs?|hours?)$/i, 'h'],
  [/^(d|days?)$/i, 'd'],
];
const SIZE_UNITS: readonly (readonly [RegExp, string])[] = [
  [/^(b|bytes?)$/i, 'B'],
  [/^(k|ki|kb|kib)$/i, 'KiB'],
  [/^(m|mi|mb|mib)$/i, 'MiB'],
  [/^(g|gi|gb|gib)$/i, 'GiB'],
];

/** Title of the names of bridges in the schema. YAML reads one of digits as a number. */
const BRIDGE_NAME = 'bridge name';

/** The value that was probably meant by a wrong one. */
function suggest(schema: SchemaNode, from: SchemaNode, node: YamlNode): string | undefined {
  const forms = formsOf(schema, from);
  if (node.kind === 'sequence') {
    const only = node.items.length === 1 ? node.items[0]?.node : undefined;
    const isWanted = forms.some(({ type }) => type === 'array');
    return only?.kind === 'scalar' && !isWanted ? String(only.value) : undefined;
  }
  if (node.kind !== 'scalar' || node.value === null) return undefined;
  const { value } = node;
  const titles = forms.map(({ title }) => title);
  if (value === 0 && forms.some((form) => form.const === 'never')) return 'never';
  if (typeof value === 'number' && titles.includes(BRIDGE_NAME)) return `"${value}"`;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) {
    if (titles.includes('duration')) return `${value}s`;
    if (titles.includes('size')) return formatSize(value);
  }
  const choices = choicesOf(forms);
  const word = typeof value === 'boolean' ? value : BOOLEAN_WORDS.get(String(value).toLowerCase());
  const isBoolean =
    word !== undefined && forms.some(({ type, enum: words }) => type === 'boolean' || words?.includes(word));
  if (isBoolean) return String(word);
  const mode = word === undefined ? String(value) : modeOf(word);
  if (word !== undefined && choices.includes(mode)) return mode;
  const inMapping = suggestMapping(schema, forms, mode);
  if (inMapping !== undefined) return inMapping;
  if (typeof value !== 'string') return undefined;
  if (titles.includes('duration')) {
    const duration = withUnit(value, DURATION_UNITS);
    if (duration !== undefined && parseDuration(duration) !== undefined) return duration;
  }
  if (titles.includes('size')) {
    const size = withUnit(value, SIZE_UNITS);
    if (size !== undefined && parseSize(size) !== undefined) return size;
  }
  if (hasName(forms)) return `name: ${value}`;
  if (/^\d+$/.test(value) && forms.some(({ type }) => type === 'integer')) return value;
  // Of two letters, any other two are near.
  const meant = value.length > 2 ? closest(value, choices) : undefined;
  if (meant !== undefined) return meant;
  const types = forms.map(({ type }) => type);
  if (!types.includes('array') || types.includes('string')) return undefined;
  const items = forms.flatMap((form) => formsOf(schema, form.items ?? {}));
  if (hasName(items)) return `[{name: ${value}}]`;
  return items.some(({ type }) => type === 'object') ? undefined : `[${quote(value)}]`;
}

/** The single values that the forms allow. */
function choicesOf(forms: readonly SchemaNode[]): string[] {
  return forms
    .flatMap((form) => form.enum ?? (form.const === undefined ? [] : [form.const]))
    .map((choice) => String(choice));
}

/** The mapping that was meant by the value of one of its keys: `{verify: never}` by `never`. */
function suggestMapping(schema: SchemaNode, forms: readonly SchemaNode[], value: string): string | undefined {
  const key = forms
    .flatMap(({ properties }) => Object.entries(properties ?? {}))
    .find(([, property]) => choicesOf(formsOf(schema, property)).includes(value))?.[0];
  return key === undefined ? undefined : `{${key}: ${value}}`;
}

function hasName(forms: readonly SchemaNode[]): boolean {
  return forms.some(({ properties }) => Object.hasOwn(properties ?? {}, 'name'));
}

/** `20 minutes` as `20m`, if `units` has that unit. */
function withUnit(text: string, units: readonly (readonly [RegExp, string])[]): string | undefined {
  const [, number, word = ''] = /^\s*(\d+)\s*([a-z]+)\s*$/i.exec(text) ?? [];
  const unit = units.find(([spelling]) => spelling.test(word))?.[1];
  return number === undefined || unit === undefined ? undefined : `${number}${unit}`;
}

/** The forms that a value may have: the branches of `anyOf`, or the schema itself. */
function formsOf(schema: SchemaNode, from: SchemaNode): readonly SchemaNode[] {
  const node = resolveRef(schema, from);
  return (node.anyOf ?? [node]).map((branch) => resolveRef(schema, branch));
}

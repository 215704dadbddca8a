// The reference in docs/configuration.md, generated from the JSON Schema like snoopy.yaml(5).

import { allowedText, exampleOf, isGroup, type Key, keysOf, type Schema } from './keys.ts';

/** In docs/configuration.md, the text above this line is written by hand, the text below it is generated. */
export const GENERATED_BELOW =
  '<!-- Generated from schema/snoopy.schema.json by `npm run docs`: do not edit below this line. -->\n';

/** The document with its generated part replaced. */
export function withReference(document: string, schema: Schema): string {
  const [written, generated] = document.split(GENERATED_BELOW);
  if (written === undefined || generated === undefined)
    throw new Error(`docs/configuration.md lacks the line that starts the reference: ${GENERATED_BELOW}`);
  return written + GENERATED_BELOW + reference(schema);
}

/** Every key of the configuration: a section for each top-level key, with a table of the keys below it. */
export function reference(schema: Schema): string {
  const keys = keysOf(schema);
  const sections = keys.filter(({ path }) => !path.includes('.')).map((key) => section(key, keys));
  return `\n${sections.join('\n')}`;
}

function section({ path, node }: Key, keys: readonly Key[]): string {
  const prefix = node.items === undefined ? `${path}.` : `${path}[].`;
  const below = keys.filter((key) => key.path.startsWith(prefix));
  const rows = below.map((key) => row(key.path.slice(prefix.length), key.node));
  const table = rows.length === 0 ? [] : ['', '| key | default | |', '| --- | --- | --- |', ...rows];
  return [`### \`${path}\``, '', textOf(node), ...table, ''].join('\n');
}

function row(name: string, node: Schema): string {
  const value = node.default === undefined || isGroup(node) ? '' : code(node.default);
  const cells = [`\`${name}\``, value, textOf(node)];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Description, allowed values and an example. */
function textOf(node: Schema): string {
  const allowed = allowedText(node);
  const example = isGroup(node) ? undefined : exampleOf(node);
  return [
    node.description ?? node.title ?? '',
    ...(allowed === undefined ? [] : [`Allowed: ${allowed}.`]),
    ...(example === undefined ? [] : [`Example: ${code(example)}.`]),
  ].join(' ');
}

function code(value: unknown): string {
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}

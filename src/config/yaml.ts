// YAML 1.2 (core schema) -> a tree of values, with the offsets of values and keys in the text.

import {
  boolCoreTag,
  EVENT_ID,
  type Event,
  floatCoreTag,
  getScalarValue,
  intCoreTag,
  NOT_RESOLVED,
  nullCoreTag,
  parseEvents,
  SCALAR_STYLE,
  type ScalarEvent,
  YAMLException,
} from 'js-yaml';
import { type Finding, lineAt, lineStarts, MAX_FINDINGS, type Path, quote } from './problem.ts';

export type Scalar = string | number | boolean | null;

export type YamlNode =
  | { readonly kind: 'scalar'; readonly value: Scalar }
  | { readonly kind: 'sequence'; readonly items: readonly YamlItem[] }
  | { readonly kind: 'mapping'; readonly entries: ReadonlyMap<string, YamlEntry> };

/** A value and its offset in the text. */
export interface YamlItem {
  readonly node: YamlNode;
  readonly at: number;
}

/** The value of a key, and the key's own offset. */
export interface YamlEntry extends YamlItem {
  readonly keyAt: number;
}

export const MAX_BYTES = 1 << 20;
const MAX_DEPTH = 20;
const MAX_ALIASES = 100;
/** The usual reason for an alias that is not defined: a glob without quotes. */
const QUOTED_STAR = 'a text that begins with * in quotes: "*"';
/** How many values aliases may repeat in total: a short text must not grow without bounds. */
const MAX_REPEATED = 10_000;

const EMPTY: YamlNode = { kind: 'scalar', value: null };

/** The tree of a text, and its problems as YAML; without a root nothing more can be checked. */
export function parseYaml(text: string): { root: YamlItem | undefined; findings: readonly Finding[] } {
  const size = Buffer.byteLength(text);
  if (size > MAX_BYTES) {
    return failed({ path: [], at: 0, wrong: `is ${size} bytes long`, allowed: 'at most 1MiB' });
  }
  try {
    return new TreeReader(text, parseEvents(text, { maxDepth: MAX_DEPTH })).read();
  } catch (thrown) {
    if (!(thrown instanceof YAMLException)) throw thrown;
    const wrong = thrown.reason.startsWith('nesting exceeded')
      ? 'is nested too deeply'
      : `is not valid YAML: ${thrown.reason.slice(0, 200)}`;
    const allowed = thrown.reason.startsWith('nesting exceeded')
      ? `at most ${MAX_DEPTH} levels`
      : thrown.reason.includes('alias node')
        ? QUOTED_STAR
        : 'YAML 1.2, indented by spaces';
    return failed({ path: [], at: thrown.mark?.position ?? 0, wrong, allowed });
  }
}

/** The plain value of a node. */
export function plainOf(node: YamlNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'sequence':
      return node.items.map((item) => plainOf(item.node));
    case 'mapping':
      return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plainOf(entry.node)]));
    default:
      return node satisfies never;
  }
}

function failed(finding: Finding): { root: undefined; findings: readonly Finding[] } {
  return { root: undefined, findings: [finding] };
}

/** Reads the events of one document. */
class TreeReader {
  readonly #text: string;
  readonly #events: readonly Event[];
  readonly #findings: Finding[] = [];
  #lines: readonly number[] | undefined;
  readonly #anchors = new Map<string, { readonly node: YamlNode; readonly size: number }>();
  #next = 0;
  /** The number of values read so far: its growth is the size of an anchored value. */
  #size = 0;
  #aliases = 0;
  #repeated = 0;
  #isOverrun = false;
  /** The last offset of an event: an empty value has none of its own. */
  #at = 0;

  constructor(text: string, events: readonly Event[]) {
    this.#text = text;
    this.#events = events;
  }

  read(): { root: YamlItem | undefined; findings: readonly Finding[] } {
    if (this.#events.length === 0) {
      const allowed = 'at least `{version: 1, bridges: [{name: vmbr0}]}`, with the name of your bridge';
      return failed({ path: [], at: 0, wrong: 'is empty', allowed });
    }
    this.#next = 1;
    const root = this.#readValue([]);
    this.#next++;
    if (this.#next < this.#events.length) {
      const rest = this.#text.slice(this.#at).search(/^---(?=\s|$)/m);
      const at = this.#at + Math.max(0, rest);
      this.#report([], at, 'is followed by a second document', 'one document to a file');
    }
    return { root, findings: this.#findings };
  }

  #report(path: Path, at: number, wrong: string, allowed: string): void {
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push({ path, at, wrong, allowed });
  }

  #readValue(path: Path): YamlItem {
    const event = this.#events[this.#next++];
    const sizeBefore = this.#size++;
    switch (event?.type) {
      case EVENT_ID.SCALAR: {
        const at = this.#startOf(event);
        return this.#anchored(event, sizeBefore, { node: this.#readScalar(event, path, at), at });
      }
      case EVENT_ID.SEQUENCE: {
        const at = this.#seen(event.start);
        this.#checkTag(event, ['!!seq'], path, at);
        const items: YamlItem[] = [];
        while (!this.#atEnd()) items.push(this.#readValue([...path, items.length]));
        return this.#anchored(event, sizeBefore, { node: { kind: 'sequence', items }, at });
      }
      case EVENT_ID.MAPPING: {
        const at = this.#seen(event.start);
        this.#checkTag(event, ['!!map'], path, at);
        const entries = new Map<string, YamlEntry>();
        while (!this.#atEnd()) this.#readEntry(entries, path);
        return this.#anchored(event, sizeBefore, { node: { kind: 'mapping', entries }, at });
      }
      case EVENT_ID.ALIAS:
        return this.#readAlias(event, path);
      default:
        return { node: EMPTY, at: this.#at };
    }
  }

  /** Consumes the end of the current collection; false when it does not end here. */
  #atEnd(): boolean {
    const event = this.#events[this.#next];
    if (event !== undefined && event.type !== EVENT_ID.POP) return false;
    this.#next++;
    return true;
  }

  #readEntry(entries: Map<string, YamlEntry>, path: Path): void {
    const keyEvent = this.#events[this.#next];
    const keyItem = this.#readValue(path);
    const keyAt = keyItem.at;
    const isText = keyEvent?.type === EVENT_ID.SCALAR;
    const key = isText && keyEvent.valueStart >= 0 ? getScalarValue(this.#text, keyEvent) : '';
    const value = this.#readValue([...path, key]);
    if (!isText) {
      this.#report([...path, '?'], keyAt, 'is no key', 'a single word');
      return;
    }
    const first = entries.get(key);
    if (first !== undefined) {
      this.#lines ??= lineStarts(this.#text);
      const line = lineAt(first.keyAt, this.#lines);
      this.#report([...path, key], keyAt, `is given twice, first in line ${line}`, 'each key once');
      return;
    }
    const isEmpty = value.node === EMPTY;
    entries.set(key, { node: value.node, at: isEmpty ? keyAt : value.at, keyAt });
  }

  #readAlias(event: { anchorStart: number; anchorEnd: number }, path: Path): YamlItem {
    const at = this.#seen(event.anchorStart - 1);
    const name = this.#text.slice(event.anchorStart, event.anchorEnd);
    const anchor = this.#anchors.get(name);
    if (anchor === undefined) {
      this.#report(
        path,
        at,
        `names the anchor ${quote(name)}, which is not defined`,
        `an anchor that is defined further up; ${QUOTED_STAR}`,
      );
      return { node: { kind: 'scalar', value: null }, at };
    }
    this.#aliases++;
    this.#repeated += anchor.size;
    this.#size += anchor.size;
    if (this.#aliases > MAX_ALIASES || this.#repeated > MAX_REPEATED) {
      if (!this.#isOverrun) {
        const allowed = `at most ${MAX_ALIASES} aliases for ${MAX_REPEATED} values`;
        this.#report([], at, 'repeats too much by aliases', allowed);
      }
      this.#isOverrun = true;
      return { node: EMPTY, at };
    }
    return { node: anchor.node, at };
  }

  #anchored(event: { anchorStart: number; anchorEnd: number }, sizeBefore: number, item: YamlItem): YamlItem {
    if (event.anchorStart >= 0) {
      const name = this.#text.slice(event.anchorStart, event.anchorEnd);
      this.#anchors.set(name, { node: item.node, size: this.#size - sizeBefore });
    }
    return item;
  }

  #readScalar(event: ScalarEvent, path: Path, at: number): YamlNode {
    const tag = this.#checkTag(event, ['!!str', '!!null', '!!bool', '!!int', '!!float'], path, at);
    if (event.valueStart < 0 && tag === '') return EMPTY;
    const text = event.valueStart < 0 ? '' : getScalarValue(this.#text, event);
    const isText = tag === '' ? event.style !== SCALAR_STYLE.PLAIN : tag === '!' || tag === '!!str';
    return { kind: 'scalar', value: isText ? text : resolvePlain(text) };
  }

  /** The tag of an event, empty when it has none; a tag that is not `allowed` is reported. */
  #checkTag(
    event: { tagStart: number; tagEnd: number },
    allowed: readonly string[],
    path: Path,
    at: number,
  ): string {
    if (event.tagStart < 0) return '';
    const tag = this.#text.slice(event.tagStart, event.tagEnd);
    if (tag !== '!' && !allowed.includes(tag)) {
      this.#report(path, at, `has the tag ${quote(tag)}`, 'no tag, the key says what the value is');
    }
    return tag;
  }

  #startOf(event: ScalarEvent): number {
    if (event.valueStart < 0) return this.#at;
    const isQuoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED;
    return this.#seen(event.valueStart - (isQuoted ? 1 : 0));
  }

  #seen(at: number): number {
    this.#at = at;
    return at;
  }
}

/** The value of a plain scalar by the core schema (YAML 1.2, section 10.3.2). */
function resolvePlain(text: string): Scalar {
  for (const tag of [nullCoreTag, boolCoreTag, intCoreTag, floatCoreTag]) {
    const value = tag.resolve(text, false, tag.tagName);
    if (value !== NOT_RESOLVED) return value;
  }
  return text;
}

/** The item at a path; undefined when the tree has none. */
export function itemAt(root: YamlItem, path: Path): YamlItem | undefined {
  let item: YamlItem | undefined = root;
  for (const part of path) {
    if (item?.node.kind === 'mapping') item = item.node.entries.get(String(part));
    else if (item?.node.kind === 'sequence') item = item.node.items[Number(part)];
    else return undefined;
  }
  return item;
}

/** The value under a key of a mapping. */
export function child(item: YamlItem | undefined, key: string): YamlEntry | undefined {
  return item?.node.kind === 'mapping' ? item.node.entries.get(key) : undefined;
}

/** The values of a sequence; none when it is something else. */
export function itemsOf(item: YamlItem | undefined): readonly YamlItem[] {
  return item?.node.kind === 'sequence' ? item.node.items : [];
}

/** The text of a scalar; undefined when it is something else. */
export function textOf(item: YamlItem | undefined): string | undefined {
  return item?.node.kind === 'scalar' && typeof item.node.value === 'string' ? item.node.value : undefined;
}

/** The value of a number; undefined when it is something else. */
export function numberOf(item: YamlItem | undefined): number | undefined {
  return item?.node.kind === 'scalar' && typeof item.node.value === 'number' ? item.node.value : undefined;
}

// JSON documents from files, directories and standard input, one at a time: their number has no limit.

import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { causeOf, SnoopyError } from '../base/errors.ts';

/** A document. */
export interface Document {
  /** The name of its file without `.json`; with the number of the document where the file has several. */
  readonly source: string;
  /** Undefined: it is no JSON, or there is none. */
  readonly value: unknown;
}

const STDIN = 0;
const CHUNK_BYTES = 1 << 20;

/**
 * The documents of these paths, or of standard input without a path; of a directory those of all files `*.json` in it. A document
 * is one line, or several of which the first is `{` and the last is `}`. Throws SnoopyError `syscall_failed`.
 */
export function* readDocuments(paths: readonly string[]): Generator<Document> {
  if (paths.length === 0) yield* documentsOf(linesOf(STDIN), 'standard input');
  for (const path of paths) {
    for (const file of filesOf(path)) yield* documentsOfFile(file);
  }
}

function filesOf(path: string): string[] {
  return reading(path, () => {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path, { recursive: true, encoding: 'utf8' });
    const files = names.filter((name) => name.endsWith('.json')).sort();
    return files.map((name) => join(path, name));
  });
}

function* documentsOfFile(path: string): Generator<Document> {
  const fd = reading(path, () => openSync(path, 'r'));
  try {
    yield* documentsOf(linesOf(fd, path), basename(path, '.json'));
  } finally {
    closeSync(fd);
  }
}

/** An empty file is one document without a value: a gathering left it for a node that did not answer. */
function* documentsOf(lines: Iterable<string>, source: string): Generator<Document> {
  let count = 0;
  const next = (text: string): Document => {
    count += 1;
    return { source: count === 1 ? source : `${source}, document ${count}`, value: parse(text) };
  };
  let begun: string[] = [];
  for (const line of lines) {
    if (begun.length === 0 && line.trim() === '') continue;
    if (begun.length === 0 && line !== '{') {
      yield next(line);
      continue;
    }
    begun.push(line);
    if (line !== '}') continue;
    yield next(begun.join('\n'));
    begun = [];
  }
  if (begun.length > 0 || count === 0) yield next(begun.join('\n'));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The lines, without their ends. */
function* linesOf(fd: number, path = 'standard input'): Generator<string> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const decoder = new StringDecoder('utf8');
  let rest: string[] = [];
  for (;;) {
    const length = reading(path, () => readSync(fd, buffer, 0, CHUNK_BYTES, null));
    if (length === 0) break;
    const [first = '', ...others] = decoder.write(Buffer.copyBytesFrom(buffer, 0, length)).split('\n');
    rest.push(first);
    const last = others.pop();
    if (last === undefined) continue;
    yield rest.join('');
    yield* others;
    rest = [last];
  }
  const end = rest.join('') + decoder.end();
  if (end !== '') yield end;
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    throw new SnoopyError({
      code: 'syscall_failed',
      object: path,
      operation: `read "${path}"`,
      cause: causeOf(thrown),
      fix: 'name files of `snoopy status --all --format json`, or directories of them',
    });
  }
}

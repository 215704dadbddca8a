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
 * is one line, or several of which the first is `{` and the last is `}`. A directory without files is a document without value: a
 * wrong directory is not taken for one without faults. Throws SnoopyError `syscall_failed`.
 */
export function* readDocuments(paths: readonly string[]): Generator<Document> {
  if (paths.length === 0) yield* documentsOf(linesOf(STDIN), 'standard input');
  for (const path of paths) {
    const files = filesOf(path);
    if (files.length === 0) yield { source: path, value: undefined };
    for (const file of files) yield* documentsOfFile(file);
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

/**
 * An empty file is one document without a value: a gathering left it for a node that did not answer. So are all lines that are no
 * JSON, up to the next `{`: messages of another program, or a document of another form.
 */
function* documentsOf(lines: Iterable<string>, source: string): Generator<Document> {
  let count = 0;
  const next = (text: string): Document => {
    count += 1;
    return { source: count === 1 ? source : `${source}, document ${count}`, value: parse(text) };
  };
  let begun: string[] = [];
  let isJson = true;
  for (const whole of lines) {
    const line = withoutMark(whole.trimEnd());
    if (begun.length === 0 && line === '') continue;
    if (begun.length === 0 && !isJson && !line.startsWith('{')) continue;
    begun.push(line);
    if (begun[0] === '{' && line !== '}') continue;
    const document = next(begun.join('\n'));
    isJson = document.value !== undefined;
    yield document;
    begun = [];
  }
  if (begun.length > 0 || count === 0) yield next(begun.join('\n'));
}

/** Without the mark of byte order that some editors write first. */
function withoutMark(line: string): string {
  return line.startsWith('\ufeff') ? line.slice(1) : line;
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

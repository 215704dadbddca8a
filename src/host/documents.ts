// JSON documents from files, directories and standard input, one at a time: their number has no limit.

import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { causeOf, formatCause, SnoopyError } from '../base/errors.ts';

/** A document. */
export interface Document {
  /** The name of its file without `.json`; with the number of the document where the file has several. */
  readonly source: string;
  /** Undefined: it is no JSON, or there is none. */
  readonly value: unknown;
  /** Why its file cannot be read. */
  readonly message?: string;
}

const STDIN = 0;
const CHUNK_BYTES = 1 << 20;

/**
 * The documents of these paths, or of standard input without a path. A document is one line, or several of which the first is
 * `{` and the last is `}`. A directory without reports is a document without value: a wrong directory is not taken for one
 * without faults. Throws SnoopyError `syscall_failed` for a path that cannot be read.
 */
export function* readDocuments(paths: readonly string[]): Generator<Document> {
  if (paths.length === 0) yield* documentsOf(linesOf(STDIN), 'standard input');
  for (const path of paths) {
    if (!reading(path, () => statSync(path)).isDirectory()) {
      yield* documentsOfFile(path);
      continue;
    }
    let count = 0;
    for (const document of documentsOfDirectory(path)) {
      count += 1;
      yield document;
    }
    if (count === 0) yield { source: path, value: undefined };
  }
}

/** Those of `*.json` in a directory and the directories below. Names that begin with a dot are those of unfinished files. */
function* documentsOfDirectory(directory: string): Generator<Document> {
  const all = reading(directory, () => readdirSync(directory, { withFileTypes: true }));
  const entries = all.filter(({ name }) => !name.startsWith('.')).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.name.endsWith('.json')) yield* orMessage(path, documentsOfRegularFile(path));
    else if (entry.isDirectory()) yield* orMessage(path, documentsOfDirectory(path));
  }
}

/** What cannot be read of a directory is a document without value, so that the reports of the other nodes are read. */
function* orMessage(path: string, documents: Iterable<Document>): Generator<Document> {
  try {
    yield* documents;
  } catch (thrown) {
    if (!(thrown instanceof SnoopyError)) throw thrown;
    yield { source: sourceOf(path), value: undefined, message: formatCause(thrown.problem) };
  }
}

/** A file, or a link to one: to open anything else could wait for ever. */
function* documentsOfRegularFile(path: string): Generator<Document> {
  if (!reading(path, () => statSync(path)).isFile()) throw unreadable(path, 'it is no regular file');
  yield* documentsOfFile(path);
}

function sourceOf(path: string): string {
  return basename(path, '.json');
}

function* documentsOfFile(path: string): Generator<Document> {
  const fd = reading(path, () => openSync(path, 'r'));
  try {
    yield* documentsOf(linesOf(fd, path), sourceOf(path));
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
    throw unreadable(path, causeOf(thrown));
  }
}

function unreadable(path: string, cause: string): SnoopyError {
  return new SnoopyError({
    code: 'syscall_failed',
    object: path,
    operation: `read "${path}"`,
    cause,
    fix: 'name files of `snoopy status --all --format json`, or directories of them',
  });
}

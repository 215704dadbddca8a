// JSON documents from files and directories: one a line, or over several lines.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SnoopyError } from '../../../src/base/errors.ts';
import { readDocuments } from '../../../src/host/documents.ts';

const dir = mkdtempSync(join(tmpdir(), 'snoopy-documents-'));
after(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

function read(...paths: string[]): (readonly [string, unknown])[] {
  return [...readDocuments(paths)].map(({ source, value }) => [source, value] as const);
}

test('a document is a line, or lines from { to }', () => {
  const lines = file('lines.json', '{"a":1}\n{"a":2}\n');
  assert.deepEqual(read(lines), [
    ['lines', { a: 1 }],
    ['lines, document 2', { a: 2 }],
  ]);
  const pretty = file(
    'pretty.json',
    `${JSON.stringify({ a: { b: 1 } }, null, 2)}\n${JSON.stringify({ c: [] }, null, 4)}`,
  );
  assert.deepEqual(read(pretty), [
    ['pretty', { a: { b: 1 } }],
    ['pretty, document 2', { c: [] }],
  ]);
});

test('a document without value: an empty file, no JSON, a document that is cut off', () => {
  for (const text of ['', '\n', 'no json', '{\n"a": 1\n'])
    assert.deepEqual(read(file('bad.json', text)), [['bad', undefined]], JSON.stringify(text));
});

test('lines that are no JSON are one document without value, however many they are', () => {
  const array = `${JSON.stringify([{ a: 1 }, { a: 2 }], null, 2)}\n`;
  for (const text of ['ssh: no route to host\nlost connection\n', array, '<html>\n</html>\n'])
    assert.deepEqual(read(file('bad.json', text)), [['bad', undefined]], text);
  assert.deepEqual(read(file('mixed.json', 'motd\nwelcome\n{"a":1}\n')), [
    ['mixed', undefined],
    ['mixed, document 2', { a: 1 }],
  ]);
});

test('a mark of byte order and line ends of other systems do not matter', () => {
  const pretty = JSON.stringify({ a: { b: 1 } }, null, 2).replaceAll('\n', '\r\n');
  for (const text of [pretty, `\ufeff${pretty}\r\n`, '\ufeff{"a":{"b":1}}\r\n'])
    assert.deepEqual(read(file('other.json', text)), [['other', { a: { b: 1 } }]], JSON.stringify(text));
});

test('a line longer than what is read at once, with a character on the border', () => {
  for (const pad of [1_048_560, 1_048_568, 1_048_569, 1_048_570, 3_000_000]) {
    const value = { text: `${'x'.repeat(pad)}äöü€` };
    assert.deepEqual(
      read(file('long.json', `${JSON.stringify(value)}\n{"b":1}`)).map(([, one]) => one),
      [value, { b: 1 }],
    );
  }
});

test('a directory has the documents of its files *.json, by name; nothing else is read', () => {
  const reports = join(dir, 'reports');
  mkdirSync(reports);
  mkdirSync(join(reports, 'b'));
  mkdirSync(join(reports, '.hidden'));
  for (const name of ['c.json', 'a.json', 'b/d.json', 'c.txt', '.e.json', '.hidden/f.json'])
    writeFileSync(join(reports, name), JSON.stringify(name));
  assert.deepEqual(read(reports), [
    ['a', 'a.json'],
    ['d', 'b/d.json'],
    ['c', 'c.json'],
  ]);
  const empty = join(dir, 'empty');
  mkdirSync(empty);
  assert.deepEqual(read(empty), [[empty, undefined]], 'a wrong directory is not a sound fabric');
  assert.throws(
    () => read(join(dir, 'missing')),
    (thrown) => thrown instanceof SnoopyError && /missing": ENOENT; name files of/.test(thrown.message),
  );
});

test('what a directory has in place of a file is a document without value, with the cause', () => {
  const mixed = join(dir, 'mixed');
  mkdirSync(join(mixed, 'directory.json'), { recursive: true });
  symlinkSync('nowhere', join(mixed, 'dangling.json'));
  symlinkSync('nowhere', join(mixed, 'dangling'));
  symlinkSync('loop.json', join(mixed, 'loop.json'));
  symlinkSync('.', join(mixed, 'itself'));
  // Can be opened, and its first byte cannot be read.
  symlinkSync('/proc/self/mem', join(mixed, 'unreadable.json'));
  execFileSync('mkfifo', [join(mixed, 'fifo.json')]);
  writeFileSync(join(mixed, 'report'), '{"a":1}');
  symlinkSync('report', join(mixed, 'link.json'));
  const found = [...readDocuments([mixed])].map(({ source, value, message }) => [source, message ?? value]);
  assert.deepEqual(found, [
    ['dangling', `Cannot read "${mixed}/dangling.json": ENOENT`],
    ['directory', `Cannot read "${mixed}/directory.json": it is no regular file`],
    ['fifo', `Cannot read "${mixed}/fifo.json": it is no regular file`],
    ['link', { a: 1 }],
    ['loop', `Cannot read "${mixed}/loop.json": ELOOP`],
    ['unreadable', `Cannot read "${mixed}/unreadable.json": EIO`],
  ]);
});

test('a directory below that cannot be read is a document without value', () => {
  // Root may read everything.
  const uid = process.geteuid?.() ?? 0;
  const parent = mkdtempSync(join(tmpdir(), 'snoopy-documents-'));
  chmodSync(parent, 0o755);
  mkdirSync(join(parent, 'closed'), { mode: 0 });
  writeFileSync(join(parent, 'closed.json'), '{}', { mode: 0 });
  writeFileSync(join(parent, 'open.json'), '{"a":1}');
  if (uid === 0) process.seteuid?.(65534);
  try {
    assert.deepEqual(
      [...readDocuments([parent])].map(({ source, value, message }) => [source, message ?? value]),
      [
        ['closed', `Cannot read "${parent}/closed": EACCES`],
        ['closed', `Cannot read "${parent}/closed.json": EACCES`],
        ['open', { a: 1 }],
      ],
    );
  } finally {
    process.seteuid?.(uid);
    chmodSync(join(parent, 'closed'), 0o700);
    rmSync(parent, { recursive: true });
  }
});

test('a file that is named may be a pipe, and must be readable', () => {
  const fifo = join(dir, 'pipe');
  execFileSync('mkfifo', [fifo]);
  // Open for both directions: neither end waits for the other, and what is written stays until it is read.
  const fd = openSync(fifo, 'r+');
  try {
    writeFileSync(fd, '{"a":1}\n');
    const [first] = readDocuments([fifo]);
    assert.deepEqual(first, { source: 'pipe', value: { a: 1 } });
  } finally {
    closeSync(fd);
  }
  symlinkSync('nowhere', join(dir, 'named.json'));
  assert.throws(() => read(join(dir, 'named.json')), SnoopyError);
});

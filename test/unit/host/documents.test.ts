// JSON documents from files and directories: one a line, or over several lines.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  for (const name of ['c.json', 'a.json', 'b/d.json', 'c.txt'])
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

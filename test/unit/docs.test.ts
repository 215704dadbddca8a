// What the documents say of tests and options is there.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';

const ROOT = join(import.meta.dirname, '../../..');

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

it('every test that docs/rfc9161.md names exists', () => {
  const sources = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => read(join('test', name)));
  const rows = read('docs/rfc9161.md')
    .split('\n')
    .filter((line) => /^\| (RFC )?\d/.test(line));
  assert.ok(rows.length > 20, 'the table is read');
  for (const row of rows) {
    const [requirement, , , test = ''] = row.split('|').slice(2);
    const name = /`(.+)`/.exec(test)?.[1];
    if (name === undefined) assert.match(row, /not done/, `a line without a test must say so: ${row}`);
    else
      assert.ok(
        sources.some((source) => source.includes(name)),
        `${requirement}: no test "${name}"`,
      );
  }
});

it('every key of the schema is in the README', () => {
  const schema = JSON.parse(read('schema/snoopy.schema.json')) as {
    properties: Record<string, { properties?: Record<string, unknown>; items?: { properties: object } }>;
  };
  const readme = read('README.md');
  const keys = [
    ...Object.keys(schema.properties['bridges']?.items?.properties ?? {}),
    ...Object.keys(schema.properties['runtime']?.properties ?? {}).map((key) => `runtime.${key}`),
    ...Object.keys(schema.properties['metrics']?.properties ?? {}).map((key) => `metrics.${key}`),
  ];
  assert.ok(keys.length > 15, 'the schema is read');
  for (const key of keys) assert.ok(readme.includes(`\`${key}\``), `README.md says nothing of ${key}`);
});

// What the documents say of tests and options is there.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { load } from 'js-yaml';
import { parseInvocation } from '../../src/cli.ts';

const ROOT = join(import.meta.dirname, '../../..');

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function testSources(): string[] {
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => read(join('test', name)));
}

it('every test that docs/rfc9161.md names exists', () => {
  const sources = testSources();
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

it('every test that docs/impersonation.md names exists, and every row names one', () => {
  const sources = testSources().map((source) => source.replaceAll("\\'", "'"));
  const rows = read('docs/impersonation.md')
    .split('\n')
    .filter((line) => /^\| (?!what is said|who says|---)/.test(line));
  assert.ok(rows.length > 50, 'the tables are read');
  for (const row of rows) {
    const name = /`([^`]+)` \|$/.exec(row)?.[1];
    assert.ok(name !== undefined, `a row without a test: ${row}`);
    assert.ok(
      sources.some((source) => source.includes(name)),
      `no test "${name}"`,
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

/** Every text in a value. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

/** What of a document is code: an example is nothing else, any other text marks it as such. */
function codeOf(path: string): string[] {
  if (path.endsWith('.cron')) return [read(path)];
  const texts = path.endsWith('.yml') ? textsIn(load(read(path))) : [read(path)];
  if (path.startsWith('docs/examples/')) return texts;
  return texts.flatMap((text) => text.match(/^```sh\n[\s\S]*?^```$|`[^`\n]+`/gm) ?? []);
}

/** The arguments of each call of snoopy in a piece of code: up to a redirection, the next command or a comment. */
function callsIn(code: string): string[][] {
  const lines = code.replaceAll(/\\\n\s*/g, ' ').replaceAll(/^#.*$/gm, '');
  const calls = lines.matchAll(
    /(?:^|(?<!--unit)[ \t]|[`/])snoopy(?:\.cjs)?((?:[ \t]+(?:"[^"\n]*"|[^\s"'`|&;>#)]+))*)[ \t]*(?=$|[`|&;>#)])/gm,
  );
  const words = [...calls].map(([, rest = '']) => rest.match(/"[^"]*"|\S+/g) ?? []);
  return words.filter(({ length }) => length > 0);
}

it('every call of snoopy in the documents is one that it takes', () => {
  const paths = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(md|yml|cron)$/.test(path))
    .map((path) => join('docs', path));
  const calls = ['README.md', ...paths].flatMap((path) =>
    codeOf(path).flatMap((code) => callsIn(code).map((words) => ({ path, words }))),
  );
  for (const path of [
    'README.md',
    'docs/provisioning.md',
    'docs/examples/snoopy.cron',
    'docs/monitoring/alerts.yml',
  ])
    assert.ok(
      calls.some((call) => call.path === path),
      `no call is found in ${path}`,
    );
  for (const job of ['gitlab-ci', 'github-actions'])
    assert.ok(calls.filter(({ path }) => path === `docs/examples/${job}.yml`).length >= 4, job);
  for (const { path, words } of calls) {
    const argv = words.map((word) => word.replaceAll('"', '').replace(/^IP$/, '10.0.0.1'));
    assert.doesNotThrow(() => parseInvocation(argv, '0'), `${path}: snoopy ${words.join(' ')}`);
  }
});

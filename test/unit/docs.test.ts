// Tests, options and configurations that the documents mention exist.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { load } from 'js-yaml';
import type { Schema } from '../../packaging/keys.ts';
import { withReference } from '../../packaging/reference.ts';
import { parseInvocation } from '../../src/cli.ts';
import { parseConfig } from '../../src/config/config.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function testFiles(): string[] {
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join('test', name));
}

function testSources(): string[] {
  return testFiles().map(read);
}

it('every test that docs/rfc9161.md names exists', () => {
  const sources = testSources();
  const rows = read('docs/rfc9161.md')
    .split('\n')
    .filter((line) => /^\| (RFC )?\d/.test(line));
  assert.ok(rows.length > 20, 'the table is found');
  for (const row of rows) {
    const [requirement, , , test = ''] = row.split('|').slice(2);
    const name = /`(.+)`/.exec(test)?.[1];
    if (name === undefined) assert.match(row, /not done/, `a row without a test must say so: ${row}`);
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
    .filter((line) => /^\| (?!message \||---)/.test(line));
  assert.ok(rows.length > 50, 'the tables are found');
  for (const row of rows) {
    const name = /`([^`]+)` \|$/.exec(row)?.[1];
    assert.ok(name !== undefined, `a row without a test: ${row}`);
    assert.ok(
      sources.some((source) => source.includes(name)),
      `no test "${name}"`,
    );
  }
});

it('every row of docs/known-interactions.md has its evidence, and the files of tests that it names exist', () => {
  const files = testFiles();
  const rows = read('docs/known-interactions.md')
    .split('\n')
    .filter((line) => /^\| (?!what it does \||---)/.test(line));
  assert.ok(rows.length > 20, 'the tables are found');
  for (const row of rows) {
    const [, evidence = ''] = /([^|]*) \|$/.exec(row) ?? [];
    assert.match(evidence, /^ (read:|tried:|tried by hand)/, row);
    const [, tried] = / tried: (.*)$/.exec(evidence) ?? [];
    if (tried === undefined) continue;
    const names = [...tried.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
    assert.ok(names.length > 0, `no test is named: ${row}`);
    // The tests in field/ are named by their number.
    for (const name of names)
      assert.equal(
        files.filter((file) => file === `${name}.test.ts` || file.startsWith(`${name}-`)).length,
        1,
        `no test "${name}"`,
      );
  }
});

it('docs/configuration.md has every key of the schema, with its current description', () => {
  const schema = JSON.parse(read('schema/snoopy.schema.json')) as Schema;
  const document = read('docs/configuration.md');
  const { bridges, runtime, metrics } = schema.properties ?? {};
  const keys = [bridges?.items, runtime, metrics].flatMap((node) => Object.keys(node?.properties ?? {}));
  assert.ok(keys.length > 15, 'the schema is read');
  for (const key of keys) assert.ok(document.includes(`| \`${key}\` |`), `no row for ${key}`);
  assert.equal(document, withReference(document, schema), '`npm run docs` writes it again');
});

/** Every Markdown file of the project, relative to its root. */
function documents(): string[] {
  const below = (directory: string): string[] =>
    readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' }).map((name) =>
      join(directory, name),
    );
  const paths = ['README.md', 'CHANGELOG.md', ...below('docs'), ...below('ansible')];
  return paths.filter((path) => path.endsWith('.md'));
}

it('every configuration in the documents is valid', () => {
  const blocks = documents().flatMap((path) =>
    [...read(path).matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, text = '']) => ({ path, text })),
  );
  const whole = blocks.filter(({ text }) => /^(?:#.*\n)*version: 1\n/.test(text));
  for (const path of ['README.md', 'docs/configuration.md'])
    assert.ok(
      whole.some((block) => block.path === path),
      `no configuration found in ${path}`,
    );
  for (const { path, text } of whole) {
    const result = parseConfig(text, path);
    assert.ok('configuration' in result, `${path}: ${JSON.stringify(result)}\n${text}`);
  }
});

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  const text = heading.replaceAll(/[`*]|\]\([^)]*\)|\[/g, '').toLowerCase();
  return text.replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-');
}

it('every link from one document to another has a target', () => {
  let links = 0;
  for (const path of documents()) {
    const prose = read(path).replaceAll(/^```[\s\S]*?^```$/gm, '');
    for (const [, target = ''] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      links += 1;
      const [name = '', anchor] = target.split('#');
      const file = name === '' ? path : join(dirname(path), name);
      assert.ok(existsSync(join(ROOT, file)), `${path}: no ${target}`);
      if (anchor === undefined) continue;
      const headings = [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading));
      assert.ok(headings.includes(anchor), `${path}: no heading for ${target}`);
    }
  }
  assert.ok(links > 20, 'the links are found');
});

it('every chapter is in the index', () => {
  const index = read('docs/README.md');
  for (const path of documents().filter(
    (path) => /^docs\/[^/]+\.md$/.test(path) && path !== 'docs/README.md',
  ))
    assert.ok(index.includes(`](${path.slice('docs/'.length)})`), `docs/README.md does not list ${path}`);
});

/** Every string in a value. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

/** The code in a document: an example file is all code, other documents mark theirs. */
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

it('every call of snoopy in the documents has valid arguments', () => {
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
      `no call found in ${path}`,
    );
  for (const job of ['gitlab-ci', 'github-actions'])
    assert.ok(calls.filter(({ path }) => path === `docs/examples/${job}.yml`).length >= 4, job);
  for (const { path, words } of calls) {
    const argv = words.map((word) => word.replaceAll('"', '').replace(/^IP$/, '10.0.0.1'));
    assert.doesNotThrow(() => parseInvocation(argv, '0'), `${path}: snoopy ${words.join(' ')}`);
  }
});

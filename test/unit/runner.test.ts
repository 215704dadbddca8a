// test/run.mjs and test/suites.mjs: no test file is left out because of a name that is missing or misspelt.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { ROOT } from './golden.ts';

interface Suite {
  readonly name: string;
  readonly deep: readonly string[];
  readonly again?: { readonly quick: readonly string[] };
}

async function suites(): Promise<readonly Suite[]> {
  const { SUITES } = (await import(`${ROOT}test/suites.mjs`)) as { readonly SUITES: readonly Suite[] };
  return SUITES;
}

test('every folder with tests is a suite', async () => {
  const names = readdirSync(`${ROOT}test`, { recursive: true, encoding: 'utf8' });
  const folders = names.filter((name) => name.endsWith('.test.ts')).map((name) => name.split('/')[0] ?? '');
  assert.deepEqual([...new Set(folders)].sort(), (await suites()).map(({ name }) => name).sort());
});

test('every file that only test:all runs, or that runs with a second FRR, exists', async () => {
  for (const { name, deep, again } of await suites()) {
    for (const file of [...deep, ...(again?.quick ?? [])])
      assert.ok(existsSync(`${ROOT}test/${name}/${file}.test.ts`), `${name}/${file}`);
  }
});

test('a part of a path that matches no file fails the run, also beside one that matches', () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const argv = [`${ROOT}test/run.mjs`, 'unit/units', 'unit/no-such-file'];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { env, encoding: 'utf8' });
  assert.match(stderr, /no test file matches unit\/no-such-file/);
  assert.match(stdout, /^[1-9]\d* passed, 0 failed, 0 skipped$/m);
  assert.equal(status, 1);
});

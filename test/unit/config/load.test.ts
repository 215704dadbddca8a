// Reading a configuration file: missing files, files that are not text, and files that are not valid.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exitCodeOf, SnoopyError } from '../../../src/base/errors.ts';
import { loadConfig } from '../../../src/config/config.ts';
import { ConfigError } from '../../../src/config/problem.ts';

/** Root, and the user that runs the tests. */
const USERS = new Set([0, process.geteuid?.() ?? 0]);

let directory = '';

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'snoopy-config-'));
});

after(() => {
  rmSync(directory, { recursive: true });
});

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

test('a valid file is read', () => {
  const { entries } = loadConfig(file('good.yaml', 'version: 1\nbridges: [{name: vmbr0}]\n'), USERS);
  assert.deepEqual(
    entries.map(({ name }) => name),
    ['vmbr0'],
  );
});

test('an unreadable file is an error with cause and fix', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [join(directory, 'none.yaml'), /none\.yaml": ENOENT; create it .* --config$/],
    [directory, /EISDIR; name a file, not a directory/],
    [file('latin.yaml', Uint8Array.of(0x76, 0xe9)), /it is not UTF-8 text; save it as UTF-8$/],
  ];
  for (const [path, message] of cases) {
    assert.throws(
      () => loadConfig(path, USERS),
      (thrown) => {
        assert.ok(thrown instanceof SnoopyError);
        assert.equal(thrown.code, 'config_unreadable');
        assert.equal(exitCodeOf(thrown.code), 78);
        assert.match(thrown.message, message);
        return true;
      },
    );
  }
});

test('an invalid file is one error that lists every problem', () => {
  const path = file('bad.yaml', 'version: 3\nbridges: [{nam: vmbr0}]\n');
  assert.throws(
    () => loadConfig(path, USERS),
    (thrown) => {
      assert.ok(thrown instanceof ConfigError);
      assert.equal(exitCodeOf(thrown.code), 78);
      assert.deepEqual(
        thrown.problems.map(({ line, column, key }) => `${line}:${column} ${key}`),
        ['1:10 version', '2:11 bridges[0].name', '2:12 bridges[0].nam'],
      );
      return true;
    },
  );
});

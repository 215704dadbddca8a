// start.cjs: it runs the program from V8's compiled code where that belongs to this program and this V8.

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { NODE, PRODUCT } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';

const TIME = 1_700_000_000;

/** A package whose program prints `word`, a string among its constants, and its arguments. */
class Package {
  readonly #dir: string;

  constructor(t: TestContext, word: string) {
    const scope = new Scope();
    t.after(() => scope.close());
    this.#dir = createTempDir(scope, 'start');
    for (const name of ['start.cjs', 'precompile.cjs'])
      copyFileSync(join(dirname(PRODUCT), name), this.path(name));
    this.write(word);
  }

  path(name: string): string {
    return join(this.#dir, name);
  }

  get cache(): string {
    return this.path('snoopy.cjs.cache');
  }

  write(word: string, time = TIME): void {
    const text = `#!/usr/bin/env node
(() => {
  const { basename } = require('node:path');
  console.log('${word}', basename(__filename), ...process.argv.slice(2));
})();
`;
    writeFileSync(this.path('snoopy.cjs'), text);
    utimesSync(this.path('snoopy.cjs'), time, time);
  }

  start(...options: string[]): string {
    return run([...NODE, ...options, this.path('start.cjs'), 'one', '--two']);
  }

  precompile(): void {
    run([process.execPath, this.path('precompile.cjs')]);
  }
}

test('runs the program when nothing is compiled', (t) => {
  const made = new Package(t, 'first');
  assert.equal(made.start(), 'first snoopy.cjs one --two\n');
  assert.equal(existsSync(made.cache), false);
});

test('runs the compiled code, even if the text has changed with the same length and time', (t) => {
  const made = new Package(t, 'first');
  made.precompile();
  assert.equal(statSync(made.cache).mode & 0o777, 0o644);
  assert.equal(made.start(), 'first snoopy.cjs one --two\n');
  made.write('other');
  assert.equal(made.start(), 'first snoopy.cjs one --two\n');
});

test('its first line names the options that the code is compiled for', (t) => {
  const made = new Package(t, 'first');
  made.precompile();
  made.write('other');
  assert.equal(run([made.path('start.cjs'), 'one', '--two']), 'first snoopy.cjs one --two\n');
});

test('runs the current program when the compiled code belongs to another one', (t) => {
  const made = new Package(t, 'first');
  made.precompile();
  made.write('other', TIME + 1);
  assert.equal(made.start(), 'other snoopy.cjs one --two\n');
  made.write('longer');
  assert.equal(made.start(), 'longer snoopy.cjs one --two\n');
  made.precompile();
  assert.equal(made.start(), 'longer snoopy.cjs one --two\n');
});

test('runs the program when its compiled code is damaged, cut short, or from a V8 with other flags', (t) => {
  const made = new Package(t, 'first');
  made.precompile();
  const whole = readFileSync(made.cache);
  made.write('other');
  for (const [what, bytes] of [
    ['empty', Buffer.alloc(0)],
    ['the stamp alone', whole.subarray(0, 64)],
    ['half', whole.subarray(0, whole.length / 2)],
    ['another magic number', Buffer.concat([whole.subarray(0, 64), Buffer.alloc(4), whole.subarray(68)])],
  ] as const) {
    writeFileSync(made.cache, bytes);
    assert.equal(made.start(), 'other snoopy.cjs one --two\n', what);
  }
  writeFileSync(made.cache, whole);
  assert.equal(made.start('--no-opt'), 'other snoopy.cjs one --two\n');
});

test('runs the program when its compiled code is of another Node.js or another architecture', (t) => {
  const made = new Package(t, 'first');
  made.precompile();
  const whole = readFileSync(made.cache, 'latin1');
  made.write('other');
  for (const [ours, theirs] of [
    [process.version, 'v0.0.0'],
    [process.arch, 'mips'],
  ] as const) {
    const stamp = whole.slice(0, 64).replace(ours, theirs).padEnd(64).slice(0, 64);
    assert.notEqual(stamp, whole.slice(0, 64));
    writeFileSync(made.cache, stamp + whole.slice(64), 'latin1');
    assert.equal(made.start(), 'other snoopy.cjs one --two\n', theirs);
  }
});

test('the bundle is ASCII, as start.cjs reads it', () => {
  assert.ok(readFileSync(PRODUCT).every((byte) => byte < 0x80));
});

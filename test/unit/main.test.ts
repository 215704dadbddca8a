// The program as a process, as far as it needs no root: streams, exit codes, broken pipes.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SCHEMA_TEXT } from '../../src/generated/schema.ts';
import { assertReport } from '../lib/report.ts';
import { ROOT } from './golden.ts';

const MAIN = fileURLToPath(new URL('../../../dist/start.cjs', import.meta.url));
const CASES = `${ROOT}test/unit/config/cases`;

function snoopy(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const argv = [MAIN, ...args];
  const result = spawnSync(process.execPath, argv, { encoding: 'utf8' });
  assertReport({ argv, stdout: result.stdout });
  return result;
}

test('validate prints the report on stdout and nothing on stderr', () => {
  const { status, stdout, stderr } = snoopy('validate', '-c', `${CASES}/minimal.config`);
  assert.equal(status, 0);
  assert.equal(stderr, '');
  assert.match(stdout, /: valid, 0 bridges\nversion: 1\n/);
  const json = snoopy('validate', '-c', `${CASES}/full.config`, '--format', 'json');
  assert.equal(json.status, 0);
  assert.equal(JSON.parse(json.stdout).ok, true);
});

test('an invalid configuration exits with 78, with every problem on stderr and an empty stdout', () => {
  const { status, stdout, stderr } = snoopy('validate', '-c', `${CASES}/ranges.config`);
  assert.equal(status, 78);
  assert.equal(stdout, '');
  assert.ok(stderr.split('\n').length > 10);
  for (const line of stderr.trimEnd().split('\n')) assert.match(line, /ranges\.config:\d+:\d+: /);
});

test('an error is JSON as well when JSON is requested', () => {
  const invalid = snoopy('--format', 'json', 'validate', '-c', `${CASES}/ranges.config`);
  assert.equal(invalid.status, 78);
  const report = JSON.parse(invalid.stdout);
  assert.equal(report.version, 1);
  assert.equal(report.ok, false);
  assert.equal(report.errors[0].line, 2);
  const usage = snoopy('validat', '--format=json');
  assert.equal(usage.status, 64);
  assert.equal(JSON.parse(usage.stdout).errors[0].code, 'usage');
  assert.match(usage.stderr, /^snoopy: .*Did you mean validate/);
});

test('exit codes of runs that end before they begin', () => {
  const table: readonly (readonly [number, readonly string[]])[] = [
    [0, ['--help']],
    [0, ['--version']],
    [0, ['reconcile', '--help']],
    [0, ['schema']],
    [64, []],
    [64, ['nope']],
    [64, ['reconcile', '--nope']],
    [78, ['validate', '-c', '/nonexistent/snoopy.yaml']],
    [78, ['reconcile', '-c', '/nonexistent/snoopy.yaml']],
    [78, ['status', '-c', `${CASES}/empty.config`]],
    [78, ['remove', '-c', `${CASES}/other-version.config`]],
  ];
  for (const [expected, args] of table) {
    const { status, stdout, stderr } = snoopy(...args);
    assert.equal(status, expected, args.join(' '));
    assert.equal(stdout === '', expected !== 0, `stdout of ${args.join(' ')}`);
    assert.equal(stderr === '', expected === 0, `stderr of ${args.join(' ')}`);
  }
});

test('a reader that closes its pipe causes no crash, a slow one gets everything', () => {
  const run = (pipeline: string): string =>
    spawnSync('bash', ['-c', `set -o pipefail; ${pipeline}`, 'bash', process.execPath, MAIN], {
      encoding: 'utf8',
    }).stdout;
  assert.equal(
    run('"$1" "$2" schema 2>&1 >/dev/full | grep -c "stdout: ENOSPC"; "$1" "$2" schema | true; echo "$?"'),
    '1\n0\n',
  );
  assert.equal(run('"$1" "$2" schema | (sleep 0.3; cat)'), SCHEMA_TEXT);
});

test('koffi is not loaded by commands that do not use the kernel', () => {
  const probe = `process.on('exit', () => process.stderr.write(process.report.getReport().sharedObjects.filter((f) => f.includes('koffi')).join()));`;
  for (const args of [['schema'], ['validate', '-c', `${CASES}/full.config`], ['--help']]) {
    const hook = `data:text/javascript,${encodeURIComponent(probe)}`;
    const { stderr, status } = spawnSync(process.execPath, ['--import', hook, MAIN, ...args], {
      encoding: 'utf8',
    });
    assert.equal(status, 0);
    assert.equal(stderr, '', args.join(' '));
  }
});

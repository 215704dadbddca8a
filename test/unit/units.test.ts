// Durations, sizes, globs and near words.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closest } from '../../src/base/suggest.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../src/base/units.ts';
import { globProblem, matchesGlob, matchesPort } from '../../src/core/glob.ts';

test('durations', () => {
  const table: readonly (readonly [string, number])[] = [
    ['0s', 0],
    ['500ms', 500],
    ['90s', 90_000],
    ['20m', 1_200_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
  ];
  for (const [text, ms] of table) {
    assert.equal(parseDuration(text), ms);
    assert.equal(formatDuration(ms), text);
  }
  assert.equal(formatDuration(60_000), '1m');
  assert.equal(formatDuration(null), 'never');
  for (const text of [
    '',
    '5',
    's',
    '1.5s',
    '-1s',
    ' 1s',
    '1s ',
    '1S',
    '1h30m',
    'never',
    '1234567890s',
    '1s\n',
  ]) {
    assert.equal(parseDuration(text), undefined, JSON.stringify(text));
  }
});

test('sizes', () => {
  for (const [text, bytes] of [
    ['0B', 0],
    ['4KiB', 4096],
    ['1MiB', 1 << 20],
    ['1GiB', 1 << 30],
    ['1000B', 1000],
  ] as const) {
    assert.equal(parseSize(text), bytes);
    assert.equal(formatSize(bytes), text);
  }
  assert.equal(formatSize(3 << 20), '3MiB');
  for (const text of ['', '1', '1MB', '1M', '1mib', '1.5MiB']) assert.equal(parseSize(text), undefined, text);
});

test('globs match whole names', () => {
  const table: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['*', ['', 'tap0'], []],
    ['tap*', ['tap', 'tap100i0'], ['xtap', 'ta']],
    ['*i0', ['tap100i0', 'i0i0'], ['tap100i1', 'tap100i00']],
    ['t*0*1', ['t01', 'tap0x1', 't0101'], ['t10', 't0']],
    ['veth?', ['veth1'], ['veth', 'veth12']],
    ['e[0-9a]', ['e0', 'ea'], ['eb', 'e', 'e00']],
    ['e[!0-9]', ['ex', 'e-'], ['e5', 'e']],
    ['e[^0]', ['e1'], ['e0']],
    ['e[]x]', ['e]', 'ex'], ['e[']],
    ['e[a-]', ['ea', 'e-'], ['eb']],
    ['a\\*b', ['a*b'], ['axb']],
    ['a.b', ['a.b'], ['axb']],
    ['a+', ['a+'], ['aa']],
  ];
  for (const [glob, yes, no] of table) {
    assert.equal(globProblem(glob), undefined, glob);
    for (const name of yes) assert.ok(matchesGlob(name, glob), `${glob} should match ${name}`);
    for (const name of no) assert.ok(!matchesGlob(name, glob), `${glob} should not match ${name}`);
  }
  for (const glob of ['', '[', '[a', '[]', '[!]', '[z-a]', 'x\\']) assert.ok(globProblem(glob), glob);
  assert.ok(!matchesGlob('[', '['), 'an invalid glob matches nothing');
});

test('a port is chosen when it is included and not excluded', () => {
  const ports = { include: ['tap*', 'veth*'], exclude: ['tap9*'] };
  assert.deepEqual(
    ['tap1', 'tap99', 'veth0', 'eth0'].filter((name) => matchesPort(name, ports)),
    ['tap1', 'veth0'],
  );
  assert.ok(!matchesPort('tap1', { include: [], exclude: [] }));
});

test('a glob with many stars takes no exponential time', () => {
  const started = process.hrtime.bigint();
  assert.ok(!matchesGlob('a'.repeat(2_000), `${'*a'.repeat(30)}*b`));
  assert.ok(Number(process.hrtime.bigint() - started) < 1e9);
});

test('near words are suggested', () => {
  const keys = ['ports', 'max_age', 'neighbor_state', 'na', 'ns'];
  assert.equal(closest('prots', keys), 'ports');
  assert.equal(closest('port', keys), 'ports');
  assert.equal(closest('maxAge', keys), 'max_age');
  assert.equal(closest('neighbour-state', keys), 'neighbor_state');
  assert.equal(closest('xyzzy', keys), undefined);
  assert.equal(closest('x'.repeat(100_000), keys), undefined);
});

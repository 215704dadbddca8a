// The command line: the invocation that arguments become, and the errors for wrong ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IpAddress, Mac } from '../../src/base/address.ts';
import { SnoopyError } from '../../src/base/errors.ts';
import { parseInvocation, wantsJson } from '../../src/cli.ts';
import type { Invocation } from '../../src/cli-invocation.ts';

function parse(line: string): Invocation {
  return parseInvocation(
    line.split(' ').filter((word) => word !== ''),
    '1.2.3',
  );
}

const COMMON = { config: '/etc/snoopy/snoopy.yaml', format: 'text', verbose: false } as const;

const RECONCILE = {
  command: 'reconcile',
  ...COMMON,
  check: false,
  diff: false,
  quiet: false,
  detailedExitcode: false,
  lockTimeoutMs: 10_000,
  listenMs: 0,
  bridges: [],
  unfreeze: [],
} as const;

const NO_FILTER = { bridges: [], ports: [], ips: [], macs: [] } as const;
const STATUS = {
  command: 'status',
  ...COMMON,
  filter: NO_FILTER,
  frr: true,
  watch: false,
  all: null,
} as const;

test('commands and options become an invocation', () => {
  const remove = {
    command: 'remove',
    ...COMMON,
    check: false,
    keepNeighbors: false,
    lockTimeoutMs: 10_000,
  } as const;
  const table: readonly (readonly [string, Invocation])[] = [
    ['reconcile', RECONCILE],
    [
      'reconcile --check --diff --detailed-exitcode',
      { ...RECONCILE, check: true, diff: true, detailedExitcode: true },
    ],
    ['reconcile --quiet', { ...RECONCILE, quiet: true }],
    ['reconcile --lock-timeout 0s --listen=5m', { ...RECONCILE, lockTimeoutMs: 0, listenMs: 300_000 }],
    ['reconcile --lock-timeout 0', { ...RECONCILE, lockTimeoutMs: 0 }],
    ['reconcile --bridge a --bridge b --bridge a', { ...RECONCILE, bridges: ['a', 'b'] }],
    ['validate', { command: 'validate', ...COMMON }],
    ['status --format json', { ...STATUS, format: 'json' }],
    ['status --all', { ...STATUS, all: 'all' }],
    ['status --all --details none', { ...STATUS, all: [] }],
    ['status --all --details 192.0.2.1 --details 192.0.2.2', { ...STATUS, all: ['192.0.2.1', '192.0.2.2'] }],
    [
      'status --bridge a --bridge b --bridge a --port tap* --watch --no-frr',
      { ...STATUS, filter: { ...NO_FILTER, bridges: ['a', 'b'], ports: ['tap*'] }, watch: true, frr: false },
    ],
    [
      'status -w --ip 10.1.1.7/24 --ip 2001:DB8::0001 --mac 02-AA-00-00-00-01',
      {
        ...STATUS,
        filter: {
          ...NO_FILTER,
          ips: [
            { ip: '10.1.1.0' as IpAddress, length: 24 },
            { ip: '2001:db8::1' as IpAddress, length: 128 },
          ],
          macs: ['02:aa:00:00:00:01' as Mac],
        },
        watch: true,
      },
    ],
    ['explain 10.1.1.5', { command: 'explain', ...COMMON, ip: '10.1.1.5' as IpAddress, bridges: [] }],
    [
      'explain --bridge vmbr0 2001:DB8:0:0::5 -v',
      { command: 'explain', ...COMMON, verbose: true, ip: '2001:db8::5' as IpAddress, bridges: ['vmbr0'] },
    ],
    [
      'explain 10.1.1.5 --bridge vmbr0 --bridge vmbr1 --bridge vmbr0',
      { command: 'explain', ...COMMON, ip: '10.1.1.5' as IpAddress, bridges: ['vmbr0', 'vmbr1'] },
    ],
    ['doctor --format json', { command: 'doctor', ...COMMON, format: 'json', mayLackConfig: true }],
    ['doctor -c x', { command: 'doctor', ...COMMON, config: 'x', mayLackConfig: false }],
    ['-c /etc/snoopy/snoopy.yaml doctor', { command: 'doctor', ...COMMON, mayLackConfig: false }],
    ['init', { command: 'init', ...COMMON, write: false }],
    ['init --write', { command: 'init', ...COMMON, write: true }],
    ['remove', remove],
    [
      'remove --check --keep-neighbors --lock-timeout 1m',
      { ...remove, check: true, keepNeighbors: true, lockTimeoutMs: 60_000 },
    ],
    ['schema', { command: 'schema', ...COMMON }],
  ];
  for (const [line, expected] of table) assert.deepEqual(parse(line), expected, line);
});

test('common options are accepted before and after the command', () => {
  const expected = { ...RECONCILE, config: 'x.yaml', format: 'json', verbose: true };
  for (const line of [
    '-c x.yaml --format json -v reconcile',
    'reconcile -c x.yaml --format json -v',
    '--config x.yaml reconcile --verbose --format=json',
    '-v reconcile --config=x.yaml --format json',
  ]) {
    assert.deepEqual(parse(line), expected, line);
  }
});

test('short options may be grouped in any order, the last one with a value', () => {
  const expected = { ...RECONCILE, quiet: true, verbose: true };
  for (const line of [
    'reconcile -q -v',
    'reconcile -vq',
    'reconcile -qv',
    '-v reconcile -q',
    'reconcile -qvq',
  ])
    assert.deepEqual(parse(line), expected, line);
  for (const line of ['reconcile -qvc x.yaml', 'reconcile -vqcx.yaml', 'reconcile -qvcx.yaml'])
    assert.deepEqual(parse(line), { ...expected, config: 'x.yaml' }, line);
  for (const line of ['explain 10.0.0.1 -vc x.yaml', 'explain -vcx.yaml 10.0.0.1'])
    assert.deepEqual(parse(line), { ...parse('explain 10.0.0.1'), verbose: true, config: 'x.yaml' }, line);
  for (const line of ['reconcile -hv', 'reconcile -vh', '-vh reconcile'])
    assert.equal(parse(line).command, 'help', line);
  assert.deepEqual(parse('reconcile --bridge -qv'), { ...RECONCILE, bridges: ['-qv'] }, 'a value');
  assert.deepEqual(parse('audit -- -qv'), { ...parse('audit x'), paths: ['-qv'] }, 'after --');
});

test('one parse keeps no state from the parse before it', () => {
  parse('reconcile --bridge a --check -c x');
  assert.deepEqual(parse('reconcile'), RECONCILE);
});

test('wrong usage is an error that suggests what was probably meant', () => {
  const table: readonly (readonly [string, RegExp])[] = [
    [
      '',
      /^no command given, one of reconcile, init, validate, status, explain, doctor, audit, remove, schema; see snoopy --help$/,
    ],
    ['-v', /^no command given/],
    ['reconcil', /unknown command 'reconcil' \(Did you mean reconcile\?\)/],
    ['help nope', /unknown command 'nope'/],
    ['reconcile -qx', /unknown option '-x'/],
    ['reconcile --bridge -qv extra', /too many arguments/],
    ['reconcile --dif', /unknown option '--dif' \(Did you mean --diff\?\)/],
    ['status --bridge reconcile --nope', /; see snoopy status --help$/],
    ['reconcile extra', /too many arguments/],
    ['status --check', /unknown option '--check'/],
    ['status --ip 10.1.1', /'10\.1\.1' is invalid\. Allowed is an IP address or a prefix/],
    ['status --mac 02:00', /'02:00' is invalid\. Allowed is a MAC such as/],
    ['explain', /missing required argument 'ip'/],
    ['explain 10.1.1', /'10.1.1' is invalid for argument 'ip'. Allowed is an IPv4 or IPv6 address/],
    ['explain 10.1.1.5 10.1.1.6', /too many arguments/],
    ['validate --format yaml', /'yaml' is invalid. Allowed choices are text, json/],
    ['reconcile --listen 5', /'5' is invalid. Allowed is a duration such as 500ms, 90s, 20m or 2h/],
    ['reconcile --lock-timeout never', /'never' is invalid/],
    ['reconcile --bridge', /argument missing/],
    ['-c', /argument missing/],
    ['audit --textfile= reports', /--textfile <path>.*'' is invalid\. The path is empty/],
    ['audit --since= reports', /--since <path>.*'' is invalid\. The path is empty/],
  ];
  for (const [line, message] of table) {
    assert.throws(
      () => parse(line),
      (thrown) => {
        assert.ok(thrown instanceof SnoopyError, line);
        assert.equal(thrown.code, 'usage');
        assert.match(thrown.message, message);
        assert.doesNotMatch(thrown.message, /\n|^error/);
        return true;
      },
    );
  }
});

test('--version and --help return a text and print nothing', () => {
  assert.deepEqual(parse('--version'), { command: 'version', text: '1.2.3\n' });
  const commands = ['reconcile', 'validate', 'status', 'explain', 'doctor', 'audit', 'remove', 'schema'];
  const top = parse('--help');
  assert.ok(top.command === 'help');
  for (const command of commands) assert.match(top.text, new RegExp(`^  ${command}`, 'm'));
  for (const code of ['0', '1', '2', '64', '69', '75', '77', '78'])
    assert.match(top.text, new RegExp(`^  ${code} +\\S`, 'm'));
  for (const command of commands) {
    for (const line of [`${command} --help`, `help ${command}`]) {
      const help = parse(line);
      assert.ok(help.command === 'help', line);
      assert.match(help.text, /needs (no )?root/i, line);
      assert.match(help.text, new RegExp(`Example:\n {2}snoopy ${command}`), line);
      assert.match(help.text, /--config <file>/, line);
      assert.ok(
        help.text.split('\n').every((text) => text.length <= 80),
        `${line} fits 80 columns`,
      );
    }
  }
});

test('wantsJson recognizes --format json in invalid arguments too', () => {
  assert.ok(wantsJson(['reconcil', '--format', 'json']));
  assert.ok(wantsJson(['--format=json', '--nope']));
  assert.ok(!wantsJson(['--format', 'text', 'json']));
});

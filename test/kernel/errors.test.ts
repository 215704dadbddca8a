// Every error code, provoked: its message and its exit code. errors.txt lists them all.
import assert from 'node:assert/strict';
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exitCodeOf, formatProblem, problemOf } from '../../src/base/errors.ts';
import { decodeMessages } from '../../src/netlink/message.ts';
import { parseJson, type Result, run } from '../lib/run.ts';
import { type Config, onlyWith, type Report } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { buildShim, type Injection, Launcher } from '../safety/shim.ts';
import { assertGolden } from '../unit/golden.ts';
import { assertExit, bpftool, Machine } from './machine.ts';

const ENOMEM = 12;
const undos: (() => void)[] = [];
/** `code exit message` of each error that was provoked. */
const provoked = new Map<string, string>();
let library: string;
let machine: Machine;

before(() => {
  // One machine for the errors that change nothing on it.
  machine = newMachine();
  library = buildShim(machine.scope);
  machine.reconcile();
});
after(() => {
  for (const undo of undos.reverse()) undo();
  const lines = [...provoked].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, line]) => `${line}\n`);
  assertGolden('test/kernel/errors.txt', lines.join(''));
});

function newMachine(config?: Config): Machine {
  const t = { after: (undo: unknown) => undos.push(undo as () => void) };
  return new Machine(t, config === undefined ? {} : { config });
}

/** Records the problem of a run, and asserts that stderr has it as well. */
function note(at: Machine, code: string, { code: exit, stdout, stderr }: Result): void {
  const { errors, steps = [], neighbors } = parseJson<Partial<Report>>(stdout, 'snoopy');
  const outcomes = [...steps, ...(neighbors?.changes ?? [])].map(({ outcome }) => outcome);
  const problems = [...(errors ?? []), ...outcomes];
  const found = problems.find((problem) => problem.code === code);
  assert.ok(found?.message, `no ${code} in ${stdout}${stderr}`);
  assert.ok(stderr.includes(found.message.split('\n')[0] ?? '?'), stderr);
  tell(at, code, exit, found.message);
}

function tell(at: Machine, code: string, exit: number, message: string): void {
  const plain = message
    .replaceAll(at.snoopy.configFile, 'snoopy.yaml')
    .replaceAll(at.snoopy.bpffs, '/sys/fs/bpf')
    .replaceAll(/\/tmp\/[^"/ ]+/g, '/tmp/DIRECTORY')
    .replaceAll(/process \d+/g, 'process PID')
    .replaceAll(/interface \d+/g, 'interface N')
    .replaceAll(/this one knows \d+/g, 'this one knows N');
  // The verifier's text and the place of a bug change with every version.
  provoked.set(code, `${code}  ${exit}  ${plain.split('\n')[0]}`);
}

function json(at: Machine, command: string, ...args: string[]): Result {
  return at.snoopy.run(command, '--format', 'json', ...args);
}

/** Runs a command in which call number 1 of a kind fails. */
async function meet(
  at: Machine,
  args: readonly string[],
  counted: 'change' | 'look',
  injection: Injection,
): Promise<Result> {
  const { scope, netns, snoopy } = at;
  const launcher = new Launcher(scope, netns, library, [snoopy.bpffs, snoopy.configFile]);
  const launched = await launcher.launch({ args, config: snoopy.configFile, counted, injection });
  assert.ok(launched.met, `no such call: ${launched.calls.join('\n')}`);
  return launched;
}

test('usage', () => note(machine, 'usage', json(machine, 'reconcile', '--dif')));

test('config_invalid, config_unreadable, config_untrusted', () => {
  const file = join(createTempDir(machine.scope, 'config'), 'snoopy.yaml');
  note(machine, 'config_unreadable', json(machine, 'reconcile', '--config', file));
  writeFileSync(file, 'version: 1\nbridges: [{nmae: br0}]\n');
  note(machine, 'config_invalid', json(machine, 'reconcile', '--config', file));
  chmodSync(file, 0o666);
  note(machine, 'config_untrusted', json(machine, 'reconcile', '--config', file));
});

test('config_unwritable', () => {
  note(machine, 'config_unwritable', json(machine, 'init', '--write'));
});

test('not_permitted', () => {
  const argv = machine.snoopy.argv('reconcile', '--format', 'json');
  note(machine, 'not_permitted', machine.netns.tryRun([...onlyWith(['bpf', 'perfmon']), ...argv]));
});

test('unsupported: the pins belong to a newer snoopy', () => {
  const newer = newMachine();
  newer.reconcile();
  const layout = `${newer.pins}/layout`;
  const [entry] = bpftool<{ readonly value: readonly string[] }[]>('map', 'dump', 'pinned', layout);
  const value = ['hex', '63', ...(entry?.value ?? []).slice(1).map((byte) => byte.replace('0x', ''))];
  run(['bpftool', 'map', 'update', 'pinned', layout, 'key', '0', '0', '0', '0', 'value', ...value]);
  note(newer, 'unsupported', json(newer, 'reconcile'));
});

test('locked', async () => {
  const holder = machine.netns.start('flock', machine.pins, 'sh', '-c', 'echo held; exec sleep 60');
  await holder.printed(/held/);
  note(machine, 'locked', json(machine, 'reconcile', '--lock-timeout', '0s'));
  holder.kill();
});

test('bridge_missing, not_a_bridge', () => {
  const odd = newMachine({ bridges: [{ name: 'br0' }, { name: 'br9' }, { name: 'tap1' }] });
  const result = json(odd, 'reconcile');
  note(odd, 'bridge_missing', result);
  note(odd, 'not_a_bridge', result);
});

test('bpffs_unusable, pin_unusable', () => {
  const odd = newMachine();
  symlinkSync('/tmp', odd.pins);
  note(odd, 'pin_unusable', json(odd, 'reconcile'));
  odd.snoopy.configure({ runtime: { bpffs: '/nowhere/bpf' }, bridges: [] });
  odd.snoopy.privileged();
  note(odd, 'bpffs_unusable', json(odd, 'reconcile'));
  const check = odd.snoopy.run('reconcile', '--check');
  assertExit(check, 1);
  assert.match(check.stderr, /create the directory/, 'a plan does not promise what the run refuses');
});

test('load_failed', async () => {
  const fresh = newMachine();
  const injection = { at: 1, only: 'bpf:PROG_LOAD*', onwards: true, what: ENOMEM };
  note(fresh, 'load_failed', await meet(fresh, ['reconcile'], 'change', injection));
});

test('attach_failed: another filter is at our place', () => {
  const taken = newMachine({ runtime: { attach: 'clsact' }, bridges: [{ name: 'br0' }] });
  taken.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
  const filter = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];
  taken.run('tc', 'filter', 'add', 'dev', 'tap1', 'ingress', 'pref', '10', ...filter);
  note(taken, 'attach_failed', json(taken, 'reconcile'));
});

test('detach_failed', async () => {
  const tied = newMachine({ runtime: { attach: 'tcx' }, bridges: [{ name: 'br0' }] });
  tied.reconcile();
  const injection = { at: 1, only: 'bpf:LINK_DETACH*', onwards: true, what: ENOMEM };
  note(tied, 'detach_failed', await meet(tied, ['remove'], 'change', injection));
});

test('map_failed', async () => {
  const fresh = newMachine();
  fresh.reconcile();
  fresh.addHost(2);
  const injection = { at: 1, only: 'bpf:MAP_UPDATE_ELEM*', onwards: true, what: ENOMEM };
  note(fresh, 'map_failed', await meet(fresh, ['reconcile'], 'change', injection));
});

test('netlink_failed: the kernel refuses a dump', async () => {
  const injection: Injection = { at: 1, only: 'send netlink:*', what: 'refuse' };
  note(machine, 'netlink_failed', await meet(machine, ['status', '--no-frr'], 'look', injection));
});

test('neighbor_failed: IPv6 is off', async () => {
  const off = newMachine();
  off.reconcile();
  off.netns.sysctl({ 'net/ipv6/conf/br0/disable_ipv6': 1 });
  off.host(1).advertise();
  await off.host(1).forwarded();
  note(off, 'neighbor_failed', json(off, 'reconcile'));
});

test('textfile_failed', () => {
  const odd = newMachine({ bridges: [{ name: 'br0' }], metrics: { textfile: '/nowhere/snoopy.prom' } });
  note(odd, 'textfile_failed', json(odd, 'reconcile'));
});

test('syscall_failed', async () => {
  const injection = { at: 1, only: 'utimensat*', what: ENOMEM };
  note(machine, 'syscall_failed', await meet(machine, ['reconcile'], 'change', injection));
});

test('malformed and internal, which no kernel can provoke', () => {
  const problems = [
    () => decodeMessages(new Uint8Array(20).fill(255)),
    () => {
      throw new TypeError('a defect');
    },
  ].map((fail) => {
    try {
      return fail();
    } catch (thrown) {
      return problemOf(thrown, 'snoopy');
    }
  });
  for (const problem of problems) {
    assert.ok('code' in problem);
    tell(machine, problem.code, exitCodeOf(problem.code), formatProblem(problem));
  }
});

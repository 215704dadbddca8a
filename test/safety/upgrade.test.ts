// One version after another on the same pins: nothing known is lost, and no message is missed.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SNOOPY_ABI as ABI } from '../../src/generated/layouts.ts';
import { assertExit, type Host, Machine, neighborChanges, stepKinds } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { naFrame } from '../lib/frames.ts';
import { listAttached, listFilters, listQdiscs } from '../lib/oracles.ts';
import { type Result, run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { type Config, type Report, START, type StatusBinding, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import {
  alikeVersion,
  earlierVersion,
  nextVersion,
  objectOf,
  otherBuild,
  THIS,
  type Version,
} from './versions.ts';

const ANNOUNCER = fileURLToPath(new URL('../../../test/safety/announcer.py', import.meta.url));

const scope = new Scope();
let first: Version;
let second: Version;
let other: Version;
let next: Version;
let alike: Version;
before(() => {
  first = earlierVersion(scope, 1);
  second = earlierVersion(scope, 2);
  other = otherBuild(scope);
  next = nextVersion(scope);
  alike = alikeVersion(scope);
});
after(() => scope.close());

/**
 * Kills at every call that changes something, which takes minutes; otherwise only where the next run finds a new
 * state.
 */
const KILL_EVERYWHERE = process.env['SNOOPY_UPGRADE_KILLS'] === 'all';

/** A MAC that no host has. */
const OTHER_MAC = '02:00:00:00:00:99';

type Mode = 'clsact' | 'tcx';

/** No limit that a test would reach, and freezes that come quickly. */
const BRIDGE = {
  name: 'br0',
  limits: { bindings_per_port: 50_000, new_bindings_per_second: 100_000 },
  duplicates: { moves: 2, window: '1h', hold: '2h' },
};

function config(mode: Mode, runtime: Config = {}): Config {
  return { runtime: { attach: mode, ...runtime }, bridges: [BRIDGE] };
}

function argvOf(machine: Machine, version: Version, command: string, ...args: string[]): string[] {
  const argv = machine.snoopy.argv(command, ...args);
  // For this version the starting process is known as well.
  return version === THIS ? argv : argv.map((word) => (word === START ? version.bundle : word));
}

function runAs(machine: Machine, version: Version, command: string, ...args: string[]): Result {
  return machine.netns.tryRun(argvOf(machine, version, command, ...args));
}

/** A run of a version that must succeed. */
function reconcileAs(machine: Machine, version: Version, ...args: string[]): Report {
  const result = runAs(machine, version, 'reconcile', '--format', 'json', ...args);
  assertExit(result, 0);
  // The output of an older version follows its own schema.
  return version.abi < ABI ? (JSON.parse(result.stdout) as Report) : withReport(result).report;
}

/** The bindings that a version lists. */
function listedBy(machine: Machine, version: Version): readonly StatusBinding[] {
  const result = runAs(machine, version, 'status', '--format', 'json');
  assertExit(result, 0);
  return (JSON.parse(result.stdout) as { bindings: readonly StatusBinding[] }).bindings;
}

/** A binding as the kernel has it, with the names of snoopy.h that all versions share. */
interface Dumped {
  readonly key: { readonly family: number; readonly ip: readonly number[] };
  readonly value: Readonly<Record<string, unknown>> & {
    readonly mac: readonly number[];
    readonly port: number;
  };
}

const FIRST_FIELDS = [
  'mac',
  'flags',
  'moves',
  'port',
  'first_seen_ns',
  'last_seen_ns',
  'window_ns',
  'frozen_until_ns',
] as const;

/** The fields of the first version, by address, without the newer ones. */
function knownToAll(machine: Machine): ReadonlyMap<string, unknown> {
  return new Map(
    machine
      .dump<Dumped>('bindings')
      .map(({ key, value }): [string, unknown] => [
        `${key.family} ${key.ip.join('.')}`,
        FIRST_FIELDS.map((name) => value[name]),
      ])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function ifIndexOf(machine: Machine, port: string): number {
  const [link] = machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', port);
  assert.ok(link);
  return link.ifindex;
}

/** All that snoopy has on a machine, as text. */
function traces(machine: Machine): string {
  return JSON.stringify([
    listPins(machine.snoopy.bpffs),
    machine.hosts.map(({ port }) => [listQdiscs(machine.netns, port), listFilters(machine.netns, port)]),
    machine.run('ip', '-d', 'neigh', 'show', 'nud', 'all', 'proto', '115'),
    listAttached(machine.netns),
  ]);
}

/** Nothing of an earlier version is left: neither its map nor its program. */
function assertNothingDue(machine: Machine): void {
  assert.equal(existsSync(`${machine.pins}/replaced`), false, 'a replaced map is left');
  for (const { port } of machine.hosts)
    assert.deepEqual(machine.attachedPrograms(port), [machine.programId()], port);
}

/**
 * A machine on which a version has run, with bindings of every kind: with a neighbor, waiting for the FDB, frozen, of
 * a router, and one that no run has seen.
 */
async function withBindings(t: TestContext, version: Version, mode: Mode): Promise<Machine> {
  const machine = new Machine(t, { config: config(mode), hosts: 2 });
  const [one, two] = [machine.host(1), machine.host(2)];
  reconcileAs(machine, version);
  for (const host of machine.hosts) await host.announceAndWait();
  one.send(naFrame({ target: one.ip6, targetMac: one.mac, router: true }));
  // Claimed by two MACs in turn, with `moves: 2`.
  for (const host of [one, two, one]) host.announce('10.1.0.50');
  reconcileAs(machine, version);
  const lost = '02:00:00:00:00:77';
  two.announce('10.1.0.77', lost);
  await two.forwarded(lost);
  machine.run('bridge', 'fdb', 'del', lost, 'dev', two.port, 'master');
  two.announce('10.1.0.88');
  await two.forwarded();
  return machine;
}

/** State by address, as a version reports it. */
function statesOf(bindings: readonly StatusBinding[]): Record<string, string> {
  return Object.fromEntries(bindings.map(({ ip, state }) => [ip, state]).sort());
}

const STATES = {
  '10.1.0.1': 'installed',
  '10.1.0.2': 'installed',
  '10.1.0.50': 'frozen',
  '10.1.0.77': 'waiting',
  '10.1.0.88': 'waiting',
  '2001:db8:1::1': 'installed',
};

/** Checks a port again and again until it is stopped, and writes `1` or `0` each time: is a program attached? */
async function watchPort(machine: Machine, port: string, mode: Mode): Promise<{ stop(): Promise<string> }> {
  const look =
    mode === 'clsact'
      ? `tc filter show dev ${port} ingress | grep -q 'handle 0x73'`
      : `bpftool link show pinned ${machine.pins}/links/${ifIndexOf(machine, port)} | grep -q 'prog [1-9]'`;
  const script = `while :; do if ${look}; then echo 1; else echo 0; fi; done`;
  const watch = machine.netns.start('timeout', '60', 'sh', '-c', script);
  await watch.printed(/1/);
  return {
    stop: async () => {
      watch.kill();
      return watch.stdout;
    },
  };
}

/** A host behind a port that announces ever new addresses; `stop` returns how many. */
async function startAnnouncing(machine: Machine, host: Host): Promise<{ stop(): Promise<string[]> }> {
  const announcer = machine.far.start('/usr/bin/python3', ANNOUNCER, host.device, host.mac, '10.9');
  await announcer.printed(/ready/);
  return {
    stop: async () => {
      const { stdout } = await announcer.stop();
      const count = Number(stdout.trim().split('\n').at(-1));
      return Array.from({ length: count }, (_, i) => `10.9.${(i + 1) >> 8}.${(i + 1) & 255}`);
    },
  };
}

describe('another version on the same pins', () => {
  /** How it is attached before and after; and the size of the table of bindings afterwards. */
  const steps: readonly [string, Mode, () => Version, () => Version, number][] = [
    ['of ABI 1, which this one replaces', 'clsact', () => first, () => THIS, 65_536],
    ['of ABI 1, which this one replaces with a smaller table', 'tcx', () => first, () => THIS, 50_000],
    ['of ABI 2, which this one replaces', 'clsact', () => second, () => THIS, 65_536],
    ['of ABI 2, which this one replaces with a smaller table', 'tcx', () => second, () => THIS, 50_000],
    ['of another program, which this one replaces', 'clsact', () => other, () => THIS, 65_536],
    ['of this program, which another one replaces', 'tcx', () => THIS, () => other, 65_536],
    ['of this ABI, which a later one replaces', 'clsact', () => THIS, () => next, 65_536],
    [
      'of this ABI, which a later one with the same bindings replaces',
      'clsact',
      () => THIS,
      () => alike,
      65_536,
    ],
  ];
  for (const [name, mode, from, to, size] of steps) {
    test(`${name}: everything is migrated, and no message is missed (${mode})`, async (t) => {
      const machine = await withBindings(t, from(), mode);
      const before = knownToAll(machine);
      const neighbors = machine.ownNeighbors();
      const watch = await watchPort(machine, 'tap1', mode);
      const announcer = await startAnnouncing(machine, machine.host(1));
      machine.snoopy.configure(config(mode, { max_bindings: size }));
      const report = reconcileAs(machine, to());
      const announced = await announcer.stop();
      const looks = await watch.stop();

      assert.ok(stepKinds(report).includes('load'));
      assert.ok(announced.length > 100, `only ${announced.length} addresses were announced`);
      assert.ok(looks.length > 20, `only ${looks.length / 2} checks`);
      assert.doesNotMatch(looks, /0/, 'a port was without a program');
      const bound = new Set(machine.boundIps());
      assert.deepEqual(
        announced.filter((ip) => !bound.has(ip)),
        [],
        'announced addresses are not known',
      );
      const after = knownToAll(machine);
      // The announcer has the MAC of host 1, and does not repeat the host's own address.
      for (const [key, fields] of before) assert.deepEqual(after.get(key), fields, key);
      const changes = neighborChanges(report);
      assert.ok(changes.includes(`add 10.1.0.88 ${machine.host(2).mac}`), 'the address that no run had seen');
      assert.deepEqual(
        changes.filter((line) => !line.startsWith('add ')),
        [],
      );
      const left = machine.ownNeighbors();
      assert.deepEqual(
        neighbors.filter((line) => !left.includes(line)),
        [],
      );
      assertNothingDue(machine);
      reconcileAs(machine, to());
      const again = reconcileAs(machine, to());
      assert.deepEqual([again.steps, again.neighbors.changes], [[], []]);
    });
  }

  test('a new field of a binding that is migrated says "not known"', async (t) => {
    const machine = await withBindings(t, first, 'clsact');
    reconcileAs(machine, THIS);
    for (const { value } of machine.dump<Dumped>('bindings')) {
      assert.deepEqual([value['owner_mac'], value['owner_port']], [[0, 0, 0, 0, 0, 0], 0]);
    }
  });

  test('before the run that replaces them, every command reports them unchanged, and changes nothing', async (t) => {
    const machine = await withBindings(t, first, 'clsact');
    const before = traces(machine);
    assert.deepEqual(statesOf(listedBy(machine, first)), STATES);
    const status = runAs(machine, THIS, 'status', '--format', 'json');
    assertExit(status, 0);
    const { loaded, reason, bindings, ports } = JSON.parse(status.stdout);
    assert.deepEqual([loaded, reason], [true, 'layout']);
    assert.deepEqual(statesOf(bindings), STATES);
    assert.deepEqual(
      ports.map((port: { name: string; attached: boolean; bindings: number }) => [
        port.name,
        port.attached,
        port.bindings,
      ]),
      [
        ['tap1', true, 2],
        ['tap2', true, 4],
      ],
    );
    const text = runAs(machine, THIS, 'status').stdout;
    assert.match(
      text,
      /^Due: the maps are of another version; the next run replaces them and keeps the\s+hosts/,
    );
    assert.doesNotMatch(text, /has not run here/);

    const doctor = runAs(machine, THIS, 'doctor', '--format', 'json');
    const { checks } = JSON.parse(doctor.stdout);
    const pins = checks.find(({ id }: { id: string }) => id === 'pins');
    assert.equal(pins.status, 'warning');
    assert.match(pins.found, /of another version; the next run replaces them and keeps the hosts/);
    assert.equal(pins.remedy, 'snoopy reconcile');

    const check = reconcileAs(machine, THIS, '--check');
    assert.deepEqual(stepKinds(check).slice(0, 1), ['load']);
    assert.deepEqual(neighborChanges(check), [`add 10.1.0.88 ${machine.host(2).mac}`]);
    const removal = runAs(machine, THIS, 'remove', '--check', '--format', 'json');
    assertExit(removal, 0);
    assert.equal(traces(machine), before);
  });

  for (const mode of ['clsact', 'tcx'] as const) {
    test(`remove deletes everything that an older version has left (${mode})`, async (t) => {
      const machine = new Machine(t, { config: config(mode), hosts: 2 });
      const before = traces(machine);
      reconcileAs(machine, first);
      for (const host of machine.hosts) await host.announceAndWait();
      reconcileAs(machine, first);
      assert.equal(machine.ownNeighbors().length, 2);
      assertExit(runAs(machine, THIS, 'remove'), 0);
      assert.equal(traces(machine), before);
      for (const host of machine.hosts) assert.equal(machine.isAttached(host.port), false);
    });
  }

  test('a listening run of the older one ends on time, and the newer one takes its place', async (t) => {
    const machine = await withBindings(t, first, 'clsact');
    const listening = machine.netns.start(
      ...argvOf(machine, first, 'reconcile', '--listen', '2s', '--format', 'json'),
    );
    await until(
      'the lock to be held',
      () => machine.netns.tryRun(['flock', '--nonblock', machine.pins, 'true']).code,
      (code) => code === 1,
      { everyMs: 5 },
    );
    assertExit(runAs(machine, THIS, 'reconcile', '--lock-timeout', '0s'), 75);
    const upgrade = machine.netns.start(...argvOf(machine, THIS, 'reconcile', '--format', 'json'));
    machine.host(2).announce('10.1.0.89');
    const [older, newer] = [await listening.ended(30_000), await upgrade.ended(30_000)];
    assertExit(older, 0);
    assertExit(newer, 0);
    assert.deepEqual(withReport(newer).report.steps[0]?.action, { kind: 'load', reason: 'layout' });
    assert.ok(machine.boundIps().includes('10.1.0.89'));
    assert.ok(machine.ownNeighbors().includes(`10.1.0.89 ${machine.host(2).mac}`));
    assertNothingDue(machine);
    machine.assertIdle();
  });

  test('--bridge leaves the other bridges to their program, and loses nothing that it sees', async (t) => {
    const machine = new Machine(t);
    machine.addBridge('br1');
    const far = machine.addHost(9, 'br1');
    machine.snoopy.configure({ bridges: [BRIDGE, { ...BRIDGE, name: 'br1' }] });
    reconcileAs(machine, first);
    const near = machine.host(1);
    const frozen = Array.from({ length: 8 }, (_, i) => `10.1.0.${50 + i}`);
    for (const mac of [near.mac, OTHER_MAC, near.mac]) for (const ip of frozen) near.announce(ip, mac);
    for (const host of [far, near]) await host.announceAndWait();
    reconcileAs(machine, first);
    const [program] = machine.attachedPrograms(far.port);
    reconcileAs(machine, THIS, '--bridge', 'br0');
    assert.deepEqual(machine.attachedPrograms(far.port), [program]);
    far.announce('10.1.0.91');
    await far.forwarded();
    const states = statesOf(listedBy(machine, THIS));
    assert.deepEqual(Object.keys(states), ['10.1.0.1', ...frozen, '10.1.0.9', '10.1.0.91']);
    assert.ok(frozen.every((ip) => states[ip] === 'frozen'));
    // A freeze or a binding that ends during the migration does not come back with it.
    reconcileAs(machine, THIS, '--bridge', 'br0', ...frozen.flatMap((ip) => ['--unfreeze', ip]));
    reconcileAs(machine, THIS, '--bridge', 'br0');
    assert.ok(!Object.values(statesOf(listedBy(machine, THIS))).includes('frozen'));
    near.unplug();
    reconcileAs(machine, THIS, '--bridge', 'br0');
    const [map = ''] = readdirSync(`${machine.pins}/replaced`);
    assert.equal(machine.dump(`replaced/${map}`).length, 2);
    assert.deepEqual(Object.keys(statesOf(listedBy(machine, THIS))), ['10.1.0.9', '10.1.0.91']);
    far.announce('10.1.0.92');
    await far.forwarded();
    const report = reconcileAs(machine, THIS);
    assert.deepEqual(neighborChanges(report), [`add 10.1.0.91 ${far.mac}`, `add 10.1.0.92 ${far.mac}`]);
    assert.deepEqual(machine.attachedPrograms(far.port), [machine.programId()]);
    assert.equal(existsSync(`${machine.pins}/replaced`), false);
    machine.assertIdle();
  });
});

/** A call of an upgrading run before which it is killed: the `nth` of its name. */
interface Instant {
  readonly call: string;
  readonly nth: number;
  readonly what: string;
}

const CALLS = ['mkdir', 'rename', 'unlink', 'rmdir', 'sendto', 'bpf'];

/** The changing calls of a traced run, in their order. */
function instantsOf(trace: string): Instant[] {
  const counts = new Map<string, number>();
  return trace.split('\n').flatMap((line): Instant[] => {
    const [, call = '', what = ''] = /^(?:\d+ +)?(\w+)\((.*)$/.exec(line) ?? [];
    if (!CALLS.includes(call)) return [];
    const nth = (counts.get(call) ?? 0) + 1;
    counts.set(call, nth);
    const reads = call === 'bpf' && !/^BPF_(MAP_UPDATE|OBJ_PIN|LINK_UPDATE)/.test(what);
    const asks = call === 'sendto' && !/RTM_(NEW|DEL)/.test(what);
    return reads || asks ? [] : [{ call, nth, what: what.slice(0, 120) }];
  });
}

/** Where the next run finds a new state: see the table in src/datapath/migrate.ts. */
const TELLING: Readonly<Record<Mode, RegExp>> = {
  clsact: /^rename .*\/(ports|layout)"|RTM_NEWTFILTER|^unlink .*replaced/,
  tcx: /^rename .*\/layout"|LINK_UPDATE/,
};

describe('a run that replaces ABI 1', () => {
  for (const mode of ['clsact', 'tcx'] as const) {
    test(`and is killed loses nothing, including messages before the next run (${mode})`, async (t) => {
      const machine = new Machine(t, { config: config(mode), hosts: 2 });
      const [one, two] = [machine.host(1), machine.host(2)];
      const trace = join(createTempDir(machine.scope, 'trace'), 'strace');

      const upgradeUnderStrace = (...rules: string[]): Result => {
        const options = ['-f', '-v', '-o', trace, '-e', `trace=${CALLS.join(',')}`, ...rules];
        return machine.netns.tryRun(['strace', ...options, ...argvOf(machine, THIS, 'reconcile')]);
      };

      /** Pins of ABI 1, with a host that no run has seen, and an address that belongs to the first host. */
      const begin = async (): Promise<void> => {
        assertExit(runAs(machine, THIS, 'remove'), 0);
        reconcileAs(machine, first);
        one.announce('10.1.0.99');
        await one.forwarded();
        reconcileAs(machine, first);
        await one.announceAndWait();
      };

      await begin();
      assertExit(upgradeUnderStrace(), 0);
      const instants = instantsOf(readFileSync(trace, 'utf8'));
      const chosen = instants.filter(
        ({ call, what }) => KILL_EVERYWHERE || TELLING[mode].test(`${call} ${what}`),
      );
      assert.ok(chosen.length >= 3, `only ${chosen.length} of ${instants.length} calls`);
      for (const { call, nth, what } of chosen) {
        await begin();
        const killed = upgradeUnderStrace('-e', `inject=${call}:signal=KILL:when=${nth}`);
        const at = `killed before ${call}(${what}`;
        assert.notEqual(killed.code, 0, `not ${at}`);

        // Any attached program sees a new host, and an address that moves to it.
        two.announce('10.1.0.99');
        await two.announceAndWait();
        for (const { port } of machine.hosts) assert.equal(machine.attachedPrograms(port).length, 1, at);
        const truth = [`10.1.0.1 ${one.mac}`, `10.1.0.2 ${two.mac}`, `10.1.0.99 ${two.mac}`];
        const listed = listedBy(machine, THIS).map(({ ip, mac }) => `${ip} ${mac}`);
        assert.deepEqual(listed.sort(), truth, at);
        reconcileAs(machine, THIS);
        assert.deepEqual(machine.ownNeighbors(), truth, at);
        const again = reconcileAs(machine, THIS);
        assert.deepEqual([again.steps, again.neighbors.changes], [[], []], at);
        assert.deepEqual(
          listPins(machine.snoopy.bpffs).filter((path) => /_next|replaced/.test(path)),
          [],
          at,
        );
        assertNothingDue(machine);
      }
    });
  }
});

describe('pins that no product has made', () => {
  test('of the program of ABI 1, loaded and filled by bpftool: its bindings become neighbors', async (t) => {
    const machine = new Machine(t);
    const host = machine.host(1);
    mkdirSync(join(machine.pins, 'maps'), { recursive: true });
    const place = [
      join(machine.pins, 'program'),
      'type',
      'classifier',
      'pinmaps',
      join(machine.pins, 'maps'),
    ];
    const object = join(createTempDir(machine.scope, 'object'), 'snoopy.bpf.o');
    writeFileSync(object, objectOf(first));
    run(['bpftool', 'prog', 'load', object, ...place]);
    for (const name of readdirSync(join(machine.pins, 'maps')))
      renameSync(join(machine.pins, 'maps', name), join(machine.pins, name.replace('snoopy_', '')));
    run(['rmdir', join(machine.pins, 'maps')]);
    const hex = (bytes: Buffer): string[] => [...bytes].map((byte) => byte.toString(16).padStart(2, '0'));
    const update = (map: string, key: Buffer, value: Buffer): void => {
      const entry = ['key', 'hex', ...hex(key), 'value', 'hex', ...hex(value)];
      run(['bpftool', 'map', 'update', 'pinned', join(machine.pins, map), ...entry]);
    };
    const layout = Buffer.alloc(48, 0xee);
    layout.writeUInt32LE(1, 0);
    layout.writeUInt32LE(0, 4);
    layout.writeBigUInt64LE(
      BigInt(run(machine.netns.argv(['stat', '-Lc', '%i', '/proc/self/ns/net'])).trim()),
      8,
    );
    update('layout', Buffer.alloc(4), layout);
    const key = Buffer.alloc(24);
    key.writeUInt32LE(ifIndexOf(machine, 'br0'), 0);
    key.writeUInt16LE(2, 6);
    key.set([10, 1, 0, 1], 8);
    const binding = Buffer.alloc(48);
    binding.set(Buffer.from(host.mac.replaceAll(':', ''), 'hex'), 0);
    binding.writeUInt32LE(ifIndexOf(machine, host.port), 8);
    // CLOCK_MONOTONIC, as the program has it.
    const nowNs = process.hrtime.bigint();
    binding.writeBigUInt64LE(nowNs - 60_000_000_000n, 16);
    binding.writeBigUInt64LE(nowNs - 1_000_000_000n, 24);
    update('bindings', key, binding);
    await host.announceAndWait();

    const report = machine.reconcile();
    assert.deepEqual(report.steps[0]?.action, { kind: 'load', reason: 'layout' });
    assert.deepEqual(neighborChanges(report), [`add ${host.ip} ${host.mac}`]);
    const [carried] = machine.dump<Dumped>('bindings');
    assert.equal(BigInt(Number(carried?.value['first_seen_ns'])), BigInt(Number(nowNs - 60_000_000_000n)));
    assertNothingDue(machine);
    machine.assertIdle();
  });

  test('that a killed load has left under another name are deleted by the next load', (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    for (const name of ['counters', 'bindings'])
      run(['bpftool', 'map', 'pin', 'pinned', `${machine.pins}/${name}`, `${machine.pins}/${name}_next`]);
    machine.snoopy.configure(config('clsact', { max_bindings: 1024 }));
    machine.reconcile();
    assert.deepEqual(
      readdirSync(machine.pins).filter((name) => name.endsWith('_next')),
      [],
    );
    machine.assertIdle();
  });

  test('of another owner where replaced maps are kept are neither followed nor an obstacle', async (t) => {
    const machine = await withBindings(t, first, 'clsact');
    const target = createTempDir(machine.scope, 'target');
    writeFileSync(join(target, '5'), 'precious');
    const replaced = `${machine.pins}/replaced`;
    symlinkSync(target, replaced);
    assert.deepEqual(statesOf(listedBy(machine, THIS)), STATES);
    reconcileAs(machine, THIS);
    assert.equal(readFileSync(join(target, '5'), 'utf8'), 'precious');
    const bound = machine.boundIps();
    assert.equal(bound.length, 5);
    assertNothingDue(machine);

    mkdirSync(`${replaced}/5`, { recursive: true });
    run(['bpftool', 'prog', 'pin', 'pinned', `${machine.pins}/program`, `${replaced}/6`]);
    machine.assertIdle();
    assert.deepEqual(machine.boundIps(), bound);
    assertNothingDue(machine);
  });

  /** The answer of every command to pins of a later version; it changes nothing. */
  function assertRefused(machine: Machine, abi: number): void {
    const before = traces(machine);
    for (const command of [
      ['reconcile'],
      ['reconcile', '--check'],
      ['status'],
      ['remove'],
      ['remove', '--check'],
    ]) {
      const [name = '', ...args] = command;
      const result = runAs(machine, THIS, name, ...args);
      assertExit(result, 69);
      assert.ok(result.stderr.includes(machine.pins));
      assert.match(result.stderr, new RegExp(`newer snoopy \\(layout ${abi}, this one knows ${ABI}\\)`));
      assert.match(result.stderr, /upgrade snoopy, or run `snoopy remove` with the newer one first/);
    }
    const doctor = runAs(machine, THIS, 'doctor', '--format', 'json');
    assertExit(doctor, 1);
    const [check, ...others] = JSON.parse(doctor.stdout).checks;
    assert.deepEqual([check.id, check.status, others], ['pins', 'failure', []]);
    assert.match(check.remedy, /upgrade snoopy/);
    assert.equal(traces(machine), before);
  }

  test('of a later version are refused with both numbers and the fix, and left alone', async (t) => {
    const machine = await withBindings(t, next, 'clsact');
    assertRefused(machine, ABI + 1);
    const states = statesOf(listedBy(machine, next));
    assert.deepEqual(states, STATES);
  });

  test('of a later version whose record is longer are refused as well', async (t) => {
    const machine = await withBindings(t, THIS, 'clsact');
    run(['rm', `${machine.pins}/layout`]);
    const shape = ['type', 'array', 'key', '4', 'value', '64', 'entries', '1', 'name', 'snoopy_layout'];
    run(['bpftool', 'map', 'create', `${machine.pins}/layout`, ...shape]);
    const value = ['09', ...Array.from({ length: 63 }, () => '00')];
    const entry = ['key', 'hex', '00', '00', '00', '00', 'value', 'hex', ...value];
    run(['bpftool', 'map', 'update', 'pinned', `${machine.pins}/layout`, ...entry]);
    const before = traces(machine);
    const result = runAs(machine, THIS, 'reconcile');
    assertExit(result, 69);
    assert.match(result.stderr, /newer snoopy \(layout 9,/);
    assert.equal(traces(machine), before);
  });
});

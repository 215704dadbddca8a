// `snoopy reconcile` against a real kernel: what the first run creates, what the second leaves alone, and what is
// restored.
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { describe, test } from 'node:test';
import { listPins } from '../lib/bpffs.ts';
import { deepTest } from '../lib/depth.ts';
import { naFrame } from '../lib/frames.ts';
import { findNeighbor, listAttached, listFilters, listNeighbors } from '../lib/oracles.ts';
import { type Background, parseJson } from '../lib/run.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { assertExit, Machine, neighborChanges, portSteps, stepKinds, TUNNEL } from './machine.ts';
import { NEEDS_TCX } from './probe.ts';

/** Commands of bpf(2) that change something. */
const BPF_WRITES = [
  'BPF_MAP_CREATE',
  'BPF_MAP_UPDATE_ELEM',
  'BPF_MAP_UPDATE_BATCH',
  'BPF_MAP_DELETE_ELEM',
  'BPF_MAP_DELETE_BATCH',
  'BPF_MAP_LOOKUP_AND_DELETE_ELEM',
  'BPF_PROG_LOAD',
  'BPF_OBJ_PIN',
  'BPF_LINK_CREATE',
  'BPF_LINK_UPDATE',
  'BPF_PROG_ATTACH',
];

/** Asserts that a run only read from the kernel. */
function assertReadsOnly(run: { netlinkWrites: readonly string[]; bpfCommands: readonly string[] }): void {
  assert.deepEqual(run.netlinkWrites, []);
  assert.deepEqual(
    run.bpfCommands.filter((command) => BPF_WRITES.includes(command)),
    [],
  );
}

/** The output of `monitor` while `action` runs. An MTU that no other device has marks both ends. */
async function printedDuring(machine: Machine, monitor: Background, action: () => void): Promise<string> {
  const mark = async (mtu: string): Promise<void> => {
    await until(
      `the monitor to print mtu ${mtu}`,
      () => {
        // Repeated until it is seen: the monitor may have just started. Setting the same value again sends no
        // notification.
        for (const value of ['60000', mtu]) machine.run('ip', 'link', 'set', 'lo', 'mtu', value);
        return monitor.stdout;
      },
      (printed) => printed.includes(`mtu ${mtu}`),
    );
  };
  await mark('60001');
  const before = monitor.stdout.length;
  action();
  await mark('60002');
  const lines = monitor.stdout.slice(before).split('\n');
  return lines.filter((line) => !/\blo\b|link\/loopback/.test(line)).join('\n');
}

/** The program as a filter, beside those of other owners. */
const BY_CLSACT = { runtime: { attach: 'clsact' }, bridges: [{ name: 'br0' }] };

describe('reconcile', () => {
  test('the first run loads, pins and attaches to every local port, never to the tunnel port', (t) => {
    const machine = new Machine(t, { tunnel: true, hosts: 2, addresses: ['10.1.255.254/16'] });
    const report = machine.reconcile();
    assert.equal(report.changed, true);
    assert.equal(report.check, false);
    assert.deepEqual(stepKinds(report), ['load', 'set-prefix', 'set-port', 'attach']);
    assert.deepEqual(portSteps(report), ['set-port tap1', 'set-port tap2', 'attach tap1', 'attach tap2']);
    assert.ok(report.steps.every(({ outcome }) => outcome.kind === 'applied'));
    assert.deepEqual(report.bridges, [
      { name: 'br0', present: true, ports: ['tap1', 'tap2'], bindings: 0, neighbors: 0 },
    ]);
    assert.deepEqual(report.remaining, []);
    assert.deepEqual(report.errors, []);

    const id = machine.programId();
    for (const port of ['tap1', 'tap2']) assert.deepEqual(machine.attachedPrograms(port), [id], port);
    assert.equal(machine.isAttached(TUNNEL), false);
    assert.equal(machine.isAttached('br0'), false);
    assert.ok(listPins(machine.snoopy.bpffs).includes('snoopy/program'));
    assert.equal(statSync(machine.pins).mode & 0o777, 0o700);
  });

  test('a second run takes no step and writes nothing to the kernel', async (t) => {
    const machine = new Machine(t, { tunnel: true, hosts: 3, addresses: ['10.1.255.254/16'] });
    for (const host of machine.hosts) host.announce('10.1.0.99');
    machine.reconcile();
    for (const host of machine.hosts) {
      await host.announceAndWait();
      host.advertise();
    }
    machine.reconcile();

    const traced = machine.snoopy.trace();
    assertExit(traced, 0);
    assert.equal(traced.report.changed, false);
    assert.deepEqual(traced.report.steps, []);
    assert.equal(traced.report.neighbors.changed, false);
    assert.deepEqual(traced.report.neighbors.changes, []);
    assert.equal(traced.report.neighbors.total, 6);
    assertReadsOnly(traced);
    assert.ok(traced.netlinkReads.includes('RTM_GETNEIGH'), 'the trace has seen nothing at all');
    assert.ok(traced.bpfCommands.includes('BPF_OBJ_GET'), 'the trace has seen nothing at all');

    const links = machine.netns.start('ip', 'monitor', 'all');
    assert.equal(await printedDuring(machine, links, () => machine.assertIdle()), '');
    const filters = machine.netns.start('tc', 'monitor');
    machine.assertIdle();
    assert.equal((await filters.stop()).stdout, '');
  });

  test('ARP requests, replies, announcements and Neighbor Advertisements become neighbors, read once', async (t) => {
    const machine = new Machine(t, { tunnel: true, hosts: 4 });
    machine.reconcile();
    const [asks, answers, announces, advertises] = [1, 2, 3, 4].map((i) => machine.host(i));
    asks?.ask('10.1.0.200');
    answers?.answer('10.1.0.200');
    announces?.announce();
    advertises?.advertise();
    for (const host of machine.hosts) await host.forwarded();

    const report = machine.reconcile();
    assert.equal(report.changed, false, 'hosts are no part of the desired state');
    assert.deepEqual(report.steps, []);
    assert.equal(report.neighbors.changed, true);
    assert.equal(report.neighbors.total, 4);
    assert.deepEqual(report.ring, { records: 4, dropped: 0 });
    assert.equal(report.counters.sightings, 4);
    assert.deepEqual(neighborChanges(report), [
      'add 10.1.0.1 02:00:00:00:00:01',
      'add 10.1.0.2 02:00:00:00:00:02',
      'add 10.1.0.3 02:00:00:00:00:03',
      'add 2001:db8:1::4 02:00:00:00:00:04',
    ]);
    for (const [i, { device, bridge, vlan, port, outcome }] of report.neighbors.changes.entries()) {
      assert.deepEqual({ device, bridge, vlan }, { device: 'br0', bridge: 'br0', vlan: 0 });
      assert.match(port, /^tap[1-4]$/, `change ${i}`);
      assert.equal(outcome.kind, 'applied');
    }
    for (const line of listNeighbors(machine.netns, 'br0')) {
      assert.deepEqual(line.state, ['NOARP'], line.dst);
      assert.equal(line.protocol, '115', line.dst);
    }
    assert.equal(listNeighbors(machine.netns, 'br0').length, 4);
    assert.deepEqual(report.bridges[0], {
      ...report.bridges[0],
      bindings: 4,
      neighbors: 4,
    });

    const second = machine.reconcile();
    assert.deepEqual(second.ring, { records: 0, dropped: 0 });
    assert.equal(second.counters.sightings, 4);
    assert.deepEqual(second.neighbors.changes, []);

    asks?.announce();
    asks?.ask('10.1.0.201');
    const third = machine.reconcile();
    assert.equal(third.ring.records, 0, 'a steady host makes no record');
    assert.ok(third.counters.sightings >= 6);
  });

  test('an address whose MAC changed is rewritten by the next run', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    machine.host(2).announce(machine.host(1).ip);
    await machine.host(2).forwarded();
    const report = machine.reconcile();
    assert.deepEqual(neighborChanges(report), ['replace 10.1.0.1 02:00:00:00:00:02']);
    assert.equal(report.neighbors.changes[0]?.port, 'tap2');
    assert.equal(report.ring.records, 1);
    assert.equal(machine.macOf('10.1.0.1'), '02:00:00:00:00:02');
    machine.assertIdle();
  });

  deepTest('an IPv6 router has its flag, and loses it when it is no router any more', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    const host = machine.host(1);
    host.send(naFrame({ target: host.ip6, targetMac: host.mac, router: true }));
    await host.forwarded();
    machine.reconcile();
    assert.equal(findNeighbor(machine.netns, 'br0', host.ip6)?.router, null);
    machine.assertIdle();
    host.advertise();
    assert.deepEqual(neighborChanges(machine.reconcile()), [`replace ${host.ip6} ${host.mac}`]);
    const neighbor = findNeighbor(machine.netns, 'br0', host.ip6);
    assert.ok(neighbor && !('router' in neighbor));
    machine.assertIdle();
  });
});

describe('reconcile --check', () => {
  test('before the first run it mounts, creates and attaches nothing', (t) => {
    const machine = new Machine(t);
    const bpffs = createTempDir(machine.scope, 'unmounted');
    machine.snoopy.configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
    const traced = machine.snoopy.trace('--check');
    assertExit(traced, 0);
    assert.equal(traced.report.check, true);
    assert.equal(traced.report.changed, true);
    assert.deepEqual(stepKinds(traced.report), ['mount', 'load', 'set-prefix', 'set-port', 'attach']);
    assert.ok(traced.report.steps.every(({ outcome }) => outcome.kind === 'planned'));
    assertReadsOnly(traced);
    assertExit(machine.snoopy.run('reconcile', '--check', '--detailed-exitcode'), 2);
    assert.deepEqual(readdirSync(bpffs), []);
    assert.ok(!machine.run('cat', '/proc/self/mounts').includes(bpffs));
    assert.equal(machine.isAttached('tap1'), false);
  });

  test('it plans neighbors and leaves the ring and the table unchanged; so does status', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    await machine.host(1).announceAndWait();
    const traced = machine.snoopy.trace('--check');
    assertReadsOnly(traced);
    assert.deepEqual(neighborChanges(traced.report), ['add 10.1.0.1 02:00:00:00:00:01']);
    assert.equal(traced.report.neighbors.changes[0]?.outcome.kind, 'planned');
    assert.equal(traced.report.neighbors.changed, true);
    assert.equal(traced.report.changed, false);
    assert.equal(traced.report.ring.records, 1);
    assertExit(machine.snoopy.run('reconcile', '--check', '--detailed-exitcode'), 2);

    const text = machine.snoopy.run('reconcile', '--check', '--diff');
    assertExit(text, 0);
    assert.match(text.stdout, /^\+ .*10\.1\.0\.1 .*02:00:00:00:00:01/m);
    assert.ok(!text.stdout.includes('\u001b'), 'no colors where there is no terminal');

    const status = machine.snoopy.run('status', '--format', 'json');
    assertExit(status, 0);
    const report = parseJson<{ readonly ring: { readonly pending: boolean } }>(status.stdout, 'status');
    assert.equal(report.ring.pending, true);
    assert.equal(machine.snoopy.bindings()[0]?.state, 'waiting');
    assert.deepEqual(listNeighbors(machine.netns, 'br0'), []);

    const real = machine.reconcile();
    assert.equal(real.ring.records, 1, 'the record is still in the ring');
    assert.deepEqual(neighborChanges(real), ['add 10.1.0.1 02:00:00:00:00:01']);
    assert.equal(machine.snoopy.bindings()[0]?.state, 'installed');
    assertExit(machine.snoopy.run('reconcile', '--check', '--detailed-exitcode'), 0);
  });

  deepTest('--diff shows - and + lines for replaced and removed neighbors', async (t) => {
    const machine = new Machine(t, { hosts: 3 });
    machine.reconcile();
    await machine.host(1).announceAndWait();
    await machine.host(2).announceAndWait();
    machine.reconcile();
    machine.host(3).announce(machine.host(1).ip);
    await machine.host(3).forwarded();
    machine.host(2).unplug();
    const text = machine.snoopy.run('reconcile', '--diff');
    assertExit(text, 0);
    assert.match(text.stdout, /^- .*10\.1\.0\.1 .*02:00:00:00:00:01/m);
    assert.match(text.stdout, /^\+ .*10\.1\.0\.1 .*02:00:00:00:00:03/m);
    assert.match(text.stdout, /^- .*10\.1\.0\.2 .*02:00:00:00:00:02/m);
    assert.doesNotMatch(text.stdout, /^\+ .*10\.1\.0\.2/m);
  });

  test('a run with nothing to do prints one line', (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    const text = machine.snoopy.run('reconcile');
    assertExit(text, 0);
    assert.match(text.stdout, /^[^\n]*nothing to do\n$/);
    assert.equal(text.stderr, '');
  });

  deepTest('with --quiet it prints nothing, except when it did something', (t) => {
    const machine = new Machine(t);
    assert.match(machine.snoopy.run('reconcile', '--quiet').stdout, /^attach .*tap/m);
    const idle = machine.snoopy.run('reconcile', '--quiet');
    assertExit(idle, 0);
    assert.equal(idle.stdout + idle.stderr, '');
    machine.snoopy.configure({ bridges: [{ name: 'br0' }, { name: 'br9' }] });
    const failed = machine.snoopy.run('reconcile', '--quiet');
    assertExit(failed, 1);
    assert.match(failed.stdout, /br9/);
  });
});

describe('one run applies all changes since the last one', () => {
  test('a new port is attached', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    const late = machine.addHost(7);
    const report = machine.reconcile();
    assert.equal(report.changed, true);
    assert.deepEqual(portSteps(report), ['set-port tap7', 'attach tap7']);
    assert.deepEqual(machine.attachedPrograms('tap7'), [machine.programId()]);
    machine.assertIdle();
    await late.announceAndWait();
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${late.ip} ${late.mac}`]);
  });

  test('a deleted port loses its neighbors and bindings', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    machine.reconcile();
    for (const host of machine.hosts) await host.announceAndWait();
    machine.reconcile();
    machine.host(1).unplug();
    const report = machine.reconcile();
    assert.deepEqual(neighborChanges(report), ['remove 10.1.0.1 02:00:00:00:00:01']);
    // The kernel has detached the program; its pinned link is left, where there was one.
    const hasLink = NEEDS_TCX.skip === undefined;
    assert.deepEqual(stepKinds(report), [...(hasLink ? ['detach'] : []), 'drop-port']);
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.2 02:00:00:00:00:02']);
    assert.deepEqual(machine.boundIps(), ['10.1.0.2']);
    assert.equal(machine.dump('ports').length, 1);
    assert.equal(machine.dump('state').length, 1);
    machine.assertIdle();
  });

  test('a port that left the bridge is detached, its clsact deleted, its neighbor withdrawn', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    machine.run('ip', 'link', 'set', 'tap1', 'nomaster');
    const report = machine.reconcile();
    assert.deepEqual(portSteps(report), ['detach tap1', 'drop-port tap1']);
    assert.deepEqual(neighborChanges(report), ['remove 10.1.0.1 02:00:00:00:00:01']);
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
    assert.equal(machine.isAttached('tap1'), false);
    machine.assertIdle();
    machine.run('ip', 'link', 'set', 'tap1', 'master', 'br0');
    assert.deepEqual(portSteps(machine.reconcile()), ['set-port tap1', 'attach tap1']);
    machine.assertIdle();
  });

  deepTest('a port that moved to another configured bridge is learned for that one', async (t) => {
    // Two hosts: kernels before 6.17 flush the neighbors of a bridge whose last port goes.
    const machine = new Machine(t, { hosts: 2, config: { bridges: [{ name: 'br0' }, { name: 'br1' }] } });
    machine.addBridge('br1');
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    machine.run('ip', 'link', 'set', 'tap1', 'master', 'br1');
    const report = machine.reconcile();
    assert.deepEqual(portSteps(report), ['set-port tap1']);
    assert.deepEqual(neighborChanges(report), ['remove 10.1.0.1 02:00:00:00:00:01']);
    machine.assertIdle();
    machine.host(1).announce();
    await until(
      'the MAC on br1',
      () => machine.run('bridge', 'fdb', 'show', 'br', 'br1'),
      (text) => /02:00:00:00:00:01 dev tap1 master br1 *$/m.test(text),
    );
    assert.deepEqual(neighborChanges(machine.reconcile()), ['add 10.1.0.1 02:00:00:00:00:01']);
    assert.deepEqual(machine.ownNeighbors('br1'), ['10.1.0.1 02:00:00:00:00:01']);
    assert.deepEqual(machine.ownNeighbors('br0'), []);
    machine.assertIdle();
  });

  deepTest(
    'a port that the configuration excludes is released, and attached again when it is included',
    async (t) => {
      const machine = new Machine(t, { hosts: 2 });
      machine.reconcile();
      for (const host of machine.hosts) await host.announceAndWait();
      machine.reconcile();
      machine.snoopy.configure({ bridges: [{ name: 'br0', ports: { exclude: ['tap1'] } }] });
      const report = machine.reconcile();
      assert.deepEqual(portSteps(report), ['detach tap1', 'drop-port tap1']);
      assert.deepEqual(neighborChanges(report), ['remove 10.1.0.1 02:00:00:00:00:01']);
      assert.equal(machine.isAttached('tap1'), false);
      machine.assertIdle();
      machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
      assert.deepEqual(portSteps(machine.reconcile()), ['set-port tap1', 'attach tap1']);
      machine.assertIdle();
    },
  );

  deepTest('a port that was detached by hand is attached again', (t) => {
    const machine = new Machine(t, { hosts: 2 });
    machine.reconcile();
    machine.detachByHand('tap1');
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
    assert.deepEqual(portSteps(machine.reconcile()), ['attach tap1']);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.assertIdle();
  });

  test('a filter that was deleted by hand is restored', (t) => {
    const machine = new Machine(t, { hosts: 2, config: BY_CLSACT });
    machine.reconcile();
    machine.run('tc', 'filter', 'del', 'dev', 'tap1', 'ingress');
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
    assert.deepEqual(portSteps(machine.reconcile()), ['attach tap1']);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.assertIdle();
  });

  deepTest('a qdisc that was deleted by hand is restored, and is still ours to delete', (t) => {
    const machine = new Machine(t, { hosts: 2, config: BY_CLSACT });
    machine.reconcile();
    machine.run('tc', 'qdisc', 'del', 'dev', 'tap1', 'clsact');
    assert.ok(portSteps(machine.reconcile()).includes('attach tap1'));
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.assertIdle();
    machine.remove();
    assert.equal(machine.isAttached('tap1'), false);
  });

  test('a bridge that left the configuration is released with all its neighbors', async (t) => {
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0' }, { name: 'br1' }] } });
    machine.addBridge('br1');
    const other = machine.addHost(11, 'br1');
    machine.reconcile();
    await machine.host(1).announceAndWait();
    await other.announceAndWait();
    machine.reconcile();
    assert.deepEqual(machine.ownNeighbors('br1'), [`${other.ip} ${other.mac}`]);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    const report = machine.reconcile();
    assert.deepEqual(portSteps(report), ['detach tap11', 'drop-port tap11']);
    assert.deepEqual(neighborChanges(report), [`remove ${other.ip} ${other.mac}`]);
    assert.equal(machine.isAttached('tap11'), false);
    assert.deepEqual(machine.ownNeighbors('br1'), []);
    assert.deepEqual(machine.ownNeighbors('br0'), ['10.1.0.1 02:00:00:00:00:01']);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1']);
    machine.assertIdle();
  });

  deepTest('a bridge that is deleted and created again starts empty', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    machine.run('ip', 'link', 'del', 'br0');
    const without = machine.snoopy.reconcile();
    assertExit(without, 1);
    assert.equal(without.report.errors[0]?.code, 'bridge_missing');
    assert.equal(machine.isAttached('tap1'), false);
    assert.deepEqual(machine.boundIps(), []);
    machine.addBridge('br0');
    machine.run('ip', 'link', 'set', 'tap1', 'master', 'br0');
    machine.reconcile();
    machine.assertIdle();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
  });
});

describe('objects of other owners on a port', () => {
  const FOREIGN = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];

  function filtersOfOthers(machine: Machine, side: string): string {
    const text = machine.run('tc', 'filter', 'show', 'dev', 'tap1', side);
    return text
      .split('\n')
      .filter((line) => line.includes('u32'))
      .join('\n');
  }

  deepTest('a clsact with filters on both sides survives reconcile and remove', async (t) => {
    const machine = new Machine(t, { config: BY_CLSACT });
    machine.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
    for (const side of ['ingress', 'egress'])
      machine.run('tc', 'filter', 'add', 'dev', 'tap1', side, 'pref', '20', ...FOREIGN);
    const before = ['ingress', 'egress'].map((side) => filtersOfOthers(machine, side));
    assert.ok(before.every((text) => text !== ''));
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
    machine.assertIdle();
    machine.remove();
    assert.equal(machine.hasClsact('tap1'), true);
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
    assert.deepEqual(
      ['ingress', 'egress'].map((side) => filtersOfOthers(machine, side)),
      before,
    );
  });

  deepTest('a clsact that was empty before survives remove, one of ours is deleted', (t) => {
    const machine = new Machine(t, { hosts: 2, config: BY_CLSACT });
    machine.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
    machine.reconcile();
    machine.assertIdle();
    machine.remove();
    assert.equal(machine.hasClsact('tap1'), true);
    assert.equal(machine.isAttached('tap2'), false);
    assert.deepEqual(listFilters(machine.netns, 'tap1'), []);
  });

  test('a clsact of ours that another program has begun to use survives remove', (t) => {
    const machine = new Machine(t, { config: BY_CLSACT });
    machine.reconcile();
    machine.run('tc', 'filter', 'add', 'dev', 'tap1', 'egress', 'pref', '20', ...FOREIGN);
    const before = filtersOfOthers(machine, 'egress');
    machine.remove();
    assert.equal(machine.hasClsact('tap1'), true);
    assert.equal(filtersOfOthers(machine, 'egress'), before);
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
  });

  deepTest(
    'a filter of another kind at our place stays, is reported, and the other ports are attached',
    (t) => {
      const machine = new Machine(t, { hosts: 2, config: BY_CLSACT });
      machine.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
      machine.run('tc', 'filter', 'add', 'dev', 'tap1', 'ingress', 'pref', '10', ...FOREIGN);
      const before = filtersOfOthers(machine, 'ingress');
      const run = machine.snoopy.reconcile();
      assertExit(run, 1);
      const failed = run.report.steps.filter(({ outcome }) => outcome.kind === 'failed');
      assert.deepEqual(
        failed.map(({ action, outcome }) => [action.port, outcome.code]),
        [['tap1', 'attach_failed']],
      );
      assert.match(failed[0]?.outcome.message ?? '', /tap1.*tc filter show/);
      assert.match(run.stderr, /^snoopy: .*tap1.*tc filter show.*\n$/, 'for those who discard stdout');
      assert.deepEqual(machine.attachedPrograms('tap2'), [machine.programId()]);
      assert.equal(filtersOfOthers(machine, 'ingress'), before);
      machine.remove();
      assert.equal(filtersOfOthers(machine, 'ingress'), before);
    },
  );

  deepTest('an eBPF filter of another owner at our place is neither replaced nor deleted', (t) => {
    const machine = new Machine(t, {
      hosts: 2,
      config: { ...BY_CLSACT, bridges: [{ name: 'br0', ports: { include: ['tap2'] } }] },
    });
    machine.reconcile();
    machine.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
    const place = ['pref', '10', 'handle', '0x73'];
    const program = ['bpf', 'direct-action', 'pinned', `${machine.pins}/program`];
    machine.run('tc', 'filter', 'add', 'dev', 'tap1', 'ingress', ...place, ...program);
    const before = JSON.stringify(listFilters(machine.netns, 'tap1'));
    assert.ok(!before.includes('"bpf_name":"snoopy'), before);
    machine.snoopy.configure(BY_CLSACT);
    const run = machine.snoopy.reconcile();
    assertExit(run, 1);
    assert.equal(JSON.stringify(listFilters(machine.netns, 'tap1')), before);
    machine.remove();
    assert.equal(JSON.stringify(listFilters(machine.netns, 'tap1')), before);
    assert.ok(!JSON.stringify(listAttached(machine.netns)).includes('tap2'));
  });
});

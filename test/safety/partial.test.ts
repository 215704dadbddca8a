// One part fails: everything else is done, the report names what failed, and the next run does that too.
import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, test } from 'node:test';
import { mapInfo } from '../../src/ffi/info.ts';
import { mapUpdateAll } from '../../src/ffi/map.ts';
import { objGet } from '../../src/ffi/pin.ts';
import { assertExit, bpftool, failureCodes, Machine } from '../kernel/machine.ts';
import { attachedPrograms, findNeighbor } from '../lib/oracles.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, withReport } from '../lib/snoopy.ts';
import { Sender } from './sender.ts';
import { makeTools, Site } from './site.ts';

/** Messages of all failures in a report. */
function failures(report: Report): string[] {
  const outcomes = [...report.steps, ...report.neighbors.changes].map(({ outcome }) => outcome);
  const failed = outcomes.filter(({ kind }) => kind === 'failed');
  return [...report.errors, ...failed].map(({ message }) => message ?? '');
}

describe('a run continues when', () => {
  test('a bridge is missing', async (t) => {
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0' }, { name: 'br9' }] } });
    const first = machine.snoopy.reconcile();
    assertExit(first, 1);
    assert.deepEqual(failureCodes(first.report), ['bridge_missing']);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    await machine.host(1).announceAndWait();
    const second = machine.snoopy.reconcile();
    assertExit(second, 1);
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
    machine.addBridge('br9');
    machine.reconcile();
    machine.assertIdle();
  });

  test('the map of ports is full', (t) => {
    const machine = new Machine(t, { hosts: 3 });
    machine.reconcile();
    machine.host(3).unplug();
    machine.reconcile();
    const late = [machine.addHost(4), machine.addHost(5)];
    // Unknown ports, which leave one free place.
    const fd = objGet(`${machine.pins}/ports`);
    assert.ok(fd !== undefined);
    const count = mapInfo(fd).maxEntries - 2 - 1;
    const keys = new Uint8Array(Uint32Array.from({ length: count }, (_, i) => 1_000_000 + i).buffer);
    const info = mapInfo(fd);
    mapUpdateAll(fd, info, { keys, values: new Uint8Array(count * info.valueSize), count });
    closeSync(fd);
    const result = machine.snoopy.reconcile();
    assertExit(result, 1);
    assert.deepEqual(failures(result.report), [
      `Cannot write to map "snoopy_ports": E2BIG (the map is full: ${info.maxEntries} entries); configure fewer ` +
        'ports, subnets or static entries, or raise runtime.max_bindings',
    ]);
    assert.match(result.stderr, /the map is full: 8192 entries/);
    for (const port of ['tap1', 'tap2', ...late.map((host) => host.port)]) {
      assert.equal(machine.attachedPrograms(port).length, 1, port);
    }
    machine.reconcile();
    machine.assertIdle();
  });

  test('there are more subnets than a table of 16,384 had room for', (t) => {
    const subnets = Array.from({ length: 17_000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0', subnets }] } });
    machine.reconcile();
    machine.assertIdle();
  });

  test('bpffs is read-only', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const remount = (how: string): string => run(['mount', '-o', `remount,${how}`, machine.snoopy.bpffs]);
    remount('ro');
    const first = machine.snoopy.reconcile();
    assertExit(first, 1);
    assert.deepEqual(
      first.report.errors.map(({ code }) => code),
      ['bpffs_unusable'],
    );
    assert.match(first.stderr, /EROFS; remount bpffs read-write/);
    remount('rw');
    machine.reconcile();
    await machine.host(1).announceAndWait();

    machine.reconcile();
    const before = machine.ownNeighbors();
    assert.equal(before.length, 1);

    const programId = machine.programId();
    // The kernel opens no object that is pinned there: nothing can be done, and nothing is removed.
    remount('ro');
    await machine.host(2).announceAndWait();
    for (const command of ['reconcile', 'remove', 'status']) {
      const result = machine.snoopy.run(command, '--format', 'json');
      assertExit(result, 1);
      assert.match(result.stderr, /pin ".*": EROFS; remount bpffs read-write/);
      // Nobody can open the pin of its link.
      assert.deepEqual(attachedPrograms(machine.netns, 'tap1'), [programId]);
      assert.deepEqual(machine.ownNeighbors(), before);
    }
    remount('rw');
    machine.reconcile();
    assert.equal(machine.ownNeighbors().length, 2);
    machine.assertIdle();
    machine.remove();
  });

  test('a pin is busy', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    await machine.host(1).announceAndWait();
    machine.reconcile();
    // Something is mounted over it: EBUSY until that is unmounted.
    run(['mount', '--bind', `${machine.pins}/layout`, `${machine.pins}/counters`]);
    const removal = machine.snoopy.run('remove', '--format', 'json');
    run(['umount', `${machine.pins}/counters`]);
    assertExit(removal, 1);
    assert.match(removal.stderr, /counters": EBUSY/);
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
    assert.deepEqual(machine.ownNeighbors(), []);
    machine.remove();
    assert.deepEqual(machine.remove().steps, []);
  });
});

test('any number of static entries fits, and so do those that replace them', (t) => {
  const machine = new Machine(t);
  machine.reconcile();
  const before = machine.programId();
  const room = (): number =>
    bpftool<{ max_entries: number }>('map', 'show', 'pinned', `${machine.pins}/statics`).max_entries;
  const provision = (network: number, count: number): void => {
    const entries = Array.from({ length: count }, (_, i) => ({
      ip: `10.${network}.${i >> 8}.${i & 255}`,
      mac: `02:bb:00:00:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`,
    }));
    machine.snoopy.configure({ bridges: [{ name: 'br0', static: entries }] });
    machine.reconcile();
    machine.assertIdle();
  };
  // 9,000 addresses are 18,000 keys, one for the address and one for its MAC; for a moment old and new keys exist
  // together.
  provision(100, 9000);
  const larger = machine.programId();
  assert.notEqual(larger, before);
  assert.equal(room(), 65_536);
  provision(101, 9000);
  assert.equal(machine.programId(), larger, 'other addresses need no other map');
  provision(101, 0);
  assert.equal(room(), 16_384);
});

test('without memory for new kernel objects, existing ones still work, and hosts get their neighbors', async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const site = new Site(t, 0, makeTools(scope));
  const { far, hosts } = site.machine;
  const sender = new Sender(scope, far, '10.7', hosts.slice(0, 2));
  assertExit(await site.run('reconcile'), 0);
  const program = site.machine.programId();
  site.set({ ...site.setting, size: 1, product: 1, bridge: { learn: ['arp-request'] } });
  const { addresses } = await sender.fresh();
  const injection = { at: 1, only: 'bpf:*', onwards: true, what: constants.errno.ENOMEM } as const;
  const starved = await site.run('reconcile', { counted: 'change', injection });
  assertExit(starved, 1);
  const { report } = withReport(starved);
  assert.ok(
    failures(report).every((message) => /ENOMEM|not loaded/.test(message)),
    outputOf(starved),
  );
  for (const port of ['tap1', 'tap2', 'tap3'])
    assert.deepEqual(site.machine.attachedPrograms(port), [program]);
  const known = sender.hosts(0, addresses);
  assert.deepEqual(site.machine.ownNeighbors().sort(), known.sort());
  assertExit(await site.run('reconcile'), 0);
  await site.assertIdle('reconcile');
  await site.assertWhole(known);
});

test('a port may vanish at any moment of a run', { timeout: 600_000 }, async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const site = new Site(t, 0, makeTools(scope));
  const { machine } = site;
  assertExit(await site.run('reconcile'), 0);
  for (const counted of ['look', 'change'] as const) {
    machine.addHost(9);
    const trace = await site.run('reconcile', { counted });
    assertExit(trace, 0);
    machine.run('ip', 'link', 'del', 'tap9');
    assertExit(await site.run('reconcile'), 0);
    const counts = new Map<string, number>();
    for (const call of trace.calls.filter((line) =>
      /^(send|bpf:MAP_UPDATE_ELEM snoopy_(ports|state))/.test(line),
    )) {
      counts.set(call, (counts.get(call) ?? 0) + 1);
    }
    assert.ok(counts.size > 0);
    for (const [only, count] of counts) {
      // The first and the last of the calls that look alike.
      for (const at of new Set([1, count])) {
        const host = machine.addHost(9);
        host.announce();
        const injection = { at, only, what: 'stop' } as const;
        const meanwhile = (): void => host.unplug();
        const launched = await site.run('reconcile', { counted, injection, meanwhile });
        const what = `gone before number ${at} of ${only}${outputOf(launched)}`;
        assert.ok(launched.code === 0 || launched.code === 1, what);
        assert.equal(machine.netns.tryRun(['ip', 'link', 'show', 'tap9']).code, 1, what);
        assert.doesNotMatch(launched.stdout + launched.stderr, /Internal error/, what);
        assert.equal(withReport(launched).report.ok, launched.code === 0, what);
        assert.deepEqual(site.attached(), ['tap1', 'tap2', 'tap3'], what);
        assertExit(await site.run('reconcile'), 0);
        await site.assertIdle('reconcile');
        assert.equal(findNeighbor(machine.netns, 'br0', host.ip), undefined, what);
      }
    }
  }
  await site.assertWhole([]);
});

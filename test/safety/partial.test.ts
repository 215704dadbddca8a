// A part that fails: all else is done, the report names what failed, and the next run does that too.
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, test } from 'node:test';
import { assertExit, bpftool, failureCodes, Machine, neighborChanges } from '../kernel/machine.ts';
import { findNeighbor } from '../lib/oracles.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { type Report, said, withReport } from '../lib/snoopy.ts';
import { Chatter } from './chatter.ts';
import { makeTools, Site } from './site.ts';

/** Messages of everything in a report that failed. */
function failures(report: Report): string[] {
  const outcomes = [...report.steps, ...report.neighbors.changes].map(({ outcome }) => outcome);
  const failed = outcomes.filter(({ kind }) => kind === 'failed');
  return [...report.errors, ...failed].map(({ message }) => message ?? '');
}

describe('a run goes on where', () => {
  test('a bridge is missing', async (t) => {
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0' }, { name: 'br9' }] } });
    const first = machine.snoopy.reconcile();
    assertExit(first, 1);
    assert.deepEqual(failureCodes(first.report), ['bridge_missing']);
    assert.deepEqual(machine.filterPrograms('tap1'), [machine.programId()]);
    await machine.host(1).speak();
    const second = machine.snoopy.reconcile();
    assertExit(second, 1);
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
    machine.addBridge('br9');
    machine.reconcile();
    machine.assertIdle();
  });

  test('the map of ports is full', (t) => {
    const machine = new Machine(t, { hosts: 3 });
    run(['mkdir', machine.pins]);
    const shape = ['type', 'hash', 'key', '4', 'value', '560', 'entries', '2', 'name', 'snoopy_ports'];
    run(['bpftool', 'map', 'create', `${machine.pins}/ports`, ...shape, 'flags', '1']);
    const result = machine.snoopy.reconcile();
    assertExit(result, 1);
    assert.deepEqual(failures(result.report), [
      'Cannot write to map "snoopy_ports": E2BIG; it is full: it has room for 2 entries',
    ]);
    assert.match(result.stderr, /room for 2 entries/);
    for (const { port } of machine.hosts) assert.equal(machine.filterPrograms(port).length, 1, port);
    machine.host(3).unplug();
    machine.reconcile();
    machine.assertIdle();
  });

  test('the trie of prefixes is full', async (t) => {
    const subnets = ['10.0.0.0/16', '10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16'];
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0', subnets }] } });
    run(['mkdir', machine.pins]);
    const shape = ['type', 'lpm_trie', 'key', '28', 'value', '1', 'entries', '4', 'name', 'snoopy_prefixes'];
    run(['bpftool', 'map', 'create', `${machine.pins}/prefixes`, ...shape, 'flags', '1']);
    const result = machine.snoopy.reconcile();
    assertExit(result, 1);
    const messages = failures(result.report);
    assert.ok(messages.length > 0);
    for (const message of messages) {
      assert.match(message, /"snoopy_prefixes": ENOSPC; it is full: it has room for 4 entries$/);
    }
    assert.deepEqual(machine.filterPrograms('tap1'), [machine.programId()]);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    // What is new is set before what is old is dropped: room there is one run later.
    machine.snoopy.reconcile();
    machine.reconcile();
    machine.assertIdle();
    await machine.host(1).speak();
    assert.deepEqual(neighborChanges(machine.reconcile()), ['add 10.1.0.1 02:00:00:00:00:01']);
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
    assert.match(first.stderr, /EROFS/);
    remount('rw');
    machine.reconcile();
    await machine.host(1).speak();

    // What is pinned already can still be read and written: only the note of the success cannot be made.
    remount('ro');
    const steady = machine.snoopy.reconcile();
    assertExit(steady, 1);
    assert.match(failures(steady.report).join('\n'), /layout": EROFS/);
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);

    const program = machine.programId();
    machine.snoopy.configure({ runtime: { max_bindings: 1024 }, bridges: [{ name: 'br0' }] });
    await machine.host(2).speak();
    const upgrade = machine.snoopy.reconcile();
    assertExit(upgrade, 1);
    assert.match(failures(upgrade.report).join('\n'), /EROFS/);
    assert.deepEqual(machine.filterPrograms('tap1'), [program]);
    assert.equal(machine.ownNeighbors().length, 2);

    const removal = machine.snoopy.run('remove', '--format', 'json');
    assertExit(removal, 1);
    assert.match(removal.stderr, /EROFS/);
    assert.deepEqual(machine.filterPrograms('tap1'), []);
    remount('rw');
    machine.reconcile();
    machine.assertIdle();
    machine.remove();
  });

  test('a pin is busy', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    await machine.host(1).speak();
    machine.reconcile();
    // Something is mounted over it: EBUSY, until it is not.
    run(['mount', '--bind', `${machine.pins}/layout`, `${machine.pins}/counters`]);
    const removal = machine.snoopy.run('remove', '--format', 'json');
    run(['umount', `${machine.pins}/counters`]);
    assertExit(removal, 1);
    assert.match(removal.stderr, /counters": EBUSY/);
    assert.deepEqual(machine.filterPrograms('tap1'), []);
    assert.deepEqual(machine.ownNeighbors(), []);
    machine.remove();
    assert.deepEqual(machine.remove().steps, []);
  });
});

test('static entries of any number have room', (t) => {
  const machine = new Machine(t);
  machine.reconcile();
  const before = machine.programId();
  const entries = Array.from({ length: 9000 }, (_, i) => ({
    ip: `10.${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
    mac: `02:bb:00:00:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`,
  }));
  machine.snoopy.configure({ bridges: [{ name: 'br0', static: entries }] });
  machine.reconcile();
  machine.assertIdle();
  assert.notEqual(machine.programId(), before);
  const path = `${machine.pins}/statics`;
  assert.equal(bpftool<{ max_entries: number }>('map', 'show', 'pinned', path).max_entries, 32_768);
  machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
  machine.reconcile();
  machine.assertIdle();
  assert.equal(bpftool<{ max_entries: number }>('map', 'show', 'pinned', path).max_entries, 16_384);
});

test('no memory for anything new in the kernel: what there is goes on, and hosts get their neighbors', async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const site = new Site(t, 0, makeTools(scope));
  const { far, hosts } = site.machine;
  const chatter = new Chatter(scope, far, '10.7', hosts.slice(0, 2));
  assertExit(await site.run('reconcile'), 0);
  const program = site.machine.programId();
  site.set({ ...site.setting, size: 1, product: 1, bridge: { learn: ['arp-request'] } });
  const { addresses } = await chatter.fresh();
  const mishap = { at: 1, only: 'bpf:*', onwards: true, what: constants.errno.ENOMEM } as const;
  const starved = await site.run('reconcile', { counted: 'change', mishap });
  assertExit(starved, 1);
  const { report } = withReport(starved);
  assert.ok(
    failures(report).every((message) => /ENOMEM|not loaded/.test(message)),
    said(starved),
  );
  for (const port of ['tap1', 'tap2', 'tap3']) assert.deepEqual(site.machine.filterPrograms(port), [program]);
  const known = chatter.hosts(0, addresses);
  assert.deepEqual(site.machine.ownNeighbors().sort(), known.sort());
  assertExit(await site.run('reconcile'), 0);
  await site.assertIdle('reconcile');
  await site.assertWhole(known);
});

test('a port that vanishes at any moment of a run', { timeout: 600_000 }, async (t) => {
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
      for (let at = 1; at <= count; at++) {
        const host = machine.addHost(9);
        host.announce();
        const mishap = { at, only, what: 'stop' } as const;
        const meanwhile = (): void => host.unplug();
        const landed = await site.run('reconcile', { counted, mishap, meanwhile });
        const what = `gone before number ${at} of ${only}${said(landed)}`;
        assert.ok(landed.code === 0 || landed.code === 1, what);
        assert.equal(machine.netns.tryRun(['ip', 'link', 'show', 'tap9']).code, 1, what);
        assert.doesNotMatch(landed.stdout + landed.stderr, /Internal error/, what);
        assert.equal(withReport(landed).report.ok, landed.code === 0, what);
        assert.deepEqual(site.attached(), ['tap1', 'tap2', 'tap3'], what);
        assertExit(await site.run('reconcile'), 0);
        await site.assertIdle('reconcile');
        assert.equal(findNeighbor(machine.netns, 'br0', host.ip), undefined, what);
      }
    }
  }
  await site.assertWhole([]);
});

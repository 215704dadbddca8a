// The life of the pins: created, locked, upgraded, damaged, used by listening runs, removed.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { describe, test } from 'node:test';
import { listPins } from '../lib/bpffs.ts';
import { deepTest } from '../lib/depth.ts';
import { arpFrame } from '../lib/frames.ts';
import { Netns } from '../lib/netns.ts';
import { findNeighbor, listFilters } from '../lib/oracles.ts';
import { type Background, run } from '../lib/run.ts';
import { outputOf, Snoopy, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import {
  assertExit,
  bpftool,
  type Host,
  Machine,
  neighborChanges,
  portSteps,
  stepKinds,
  TUNNEL,
  traces,
  withNeighbors,
} from './machine.ts';

/** Every mount of bpffs, including repeated ones. */
function mountsAt(path: string): string[] {
  const lines = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return lines.filter((line) => line.split(' ')[1] === path);
}

describe('remove', () => {
  test('leaves nothing: no pin, no filter, no clsact, no neighbor; a second run has nothing to do', async (t) => {
    const machine = new Machine(t, { tunnel: true, hosts: 2 });
    const before = traces(machine);
    machine.reconcile();
    const [one, two] = [machine.host(1), machine.host(2)];
    await one.announceAndWait();
    two.advertise();
    await two.forwarded();
    machine.reconcile();
    machine.run('ip', ...`neigh add 10.1.0.99 lladdr 02:aa:00:00:00:99 dev br0 nud permanent`.split(' '));

    const report = machine.remove();
    assert.equal(report.changed, true);
    assert.deepEqual(portSteps(report).sort(), ['detach tap1', 'detach tap2']);
    assert.deepEqual(stepKinds(report), ['detach', 'unpin']);
    assert.deepEqual(neighborChanges(report), [
      `remove ${one.ip} ${one.mac}`,
      `remove ${two.ip6} ${two.mac}`,
    ]);
    assert.equal(traces(machine), before);
    assert.deepEqual(readdirSync(machine.snoopy.bpffs).includes('snoopy'), false);
    assert.ok(findNeighbor(machine.netns, 'br0', '10.1.0.99'), 'the neighbor of another owner is gone');

    const again = machine.remove();
    assert.equal(again.changed, false);
    assert.deepEqual(again.steps, []);
    assert.deepEqual(again.neighbors.changes, []);
    const text = machine.snoopy.run('remove');
    assertExit(text, 0);
    assert.match(text.stdout, /nothing to do/);
  });

  test('deletes what is ours by name, and names what is left: the pins of another namespace below, and of others', async (t) => {
    const tcx = { attach: 'tcx' };
    const machine = await withNeighbors(t, 2, { runtime: tcx, bridges: [{ name: 'br0' }] });
    const other = new Netns(machine.scope, 'other');
    other.ipBatch([
      'link add br0 type bridge',
      'link add tap9 type veth peer name far9',
      'link set tap9 master br0 up',
    ]);
    const inner = new Snoopy(machine.scope, other);
    inner.configure({
      runtime: { bpffs: machine.snoopy.bpffs, pin_dir: 'snoopy/blue', ...tcx },
      bridges: [{ name: 'br0' }],
    });
    assertExit(inner.run('reconcile'), 0);
    const { pins } = machine;
    mkdirSync(`${pins}/theirs`);
    mkdirSync(`${pins}/theirs/within`);
    for (const name of ['ports_other', 'links/theirs'])
      run(['bpftool', 'map', 'pin', 'pinned', `${pins}/ports`, `${pins}/${name}`]);
    const below = listPins(`${pins}/blue`);

    for (const again of [false, true]) {
      const result = machine.snoopy.run('remove', '--format', 'json');
      assertExit(result, 1);
      const { report } = withReport(result);
      assert.equal(report.changed, !again);
      const step = report.steps.find(({ action }) => action.kind === 'unpin');
      assert.equal(step?.outcome.code, 'pin_unusable');
      assert.equal(
        step?.outcome.message,
        `Cannot delete the pin directory "${pins}": it is not empty (left to another owner: "blue", "links", "ports_other", ` +
          '"theirs"); move that away; if it is the pin directory of another network namespace, run `snoopy remove` there first',
      );
      assert.deepEqual(machine.ownNeighbors(), []);
      assert.deepEqual(machine.attachedPrograms('tap1'), []);
      assert.deepEqual(readdirSync(pins).sort(), ['blue', 'links', 'ports_other', 'theirs']);
      assert.deepEqual(readdirSync(`${pins}/links`), ['theirs']);
      assert.deepEqual(readdirSync(`${pins}/theirs`), ['within']);
      assert.deepEqual(listPins(`${pins}/blue`), below);
    }
    assertExit(inner.run('reconcile', '--check', '--detailed-exitcode'), 0);
    assertExit(inner.run('remove'), 0);
    assert.deepEqual(readdirSync(pins).sort(), ['links', 'ports_other', 'theirs']);
    for (const name of ['ports_other', 'links/theirs', 'theirs'])
      rmSync(`${pins}/${name}`, { recursive: true });
    machine.remove();
    assert.equal(existsSync(pins), false);
  });

  test('deletes what interrupted loads and other objects at names of its own have left', async (t) => {
    const machine = await withNeighbors(t);
    const { pins } = machine;
    mkdirSync(`${pins}/replaced`);
    for (const name of ['bindings_next', 'program_next', 'replaced/4711'])
      run(['bpftool', 'map', 'pin', 'pinned', `${pins}/ports`, `${pins}/${name}`]);
    rmSync(`${pins}/hints`);
    mkdirSync(`${pins}/hints`);
    rmSync(`${pins}/seen`);
    symlinkSync('/nowhere', `${pins}/seen`);
    rmSync(`${pins}/links`, { recursive: true, force: true });
    symlinkSync(machine.snoopy.bpffs, `${pins}/links`);
    machine.remove();
    assert.equal(existsSync(pins), false);
  });

  test('--check reports what it would remove, and removes nothing', async (t) => {
    const machine = await withNeighbors(t);
    const before = traces(machine);
    const report = machine.remove('--check');
    assert.equal(report.check, true);
    assert.deepEqual(stepKinds(report), ['detach', 'unpin']);
    assert.equal(report.neighbors.changes.length, 2);
    const outcomes = [...report.steps, ...report.neighbors.changes].map(({ outcome }) => outcome.kind);
    assert.ok(outcomes.every((kind) => kind === 'planned'));
    assert.equal(traces(machine), before);
    machine.assertIdle();
  });

  deepTest('--keep-neighbors leaves them, and the next reconcile recovers them', async (t) => {
    const machine = await withNeighbors(t);
    const before = machine.ownNeighbors();
    assert.deepEqual(machine.remove('--keep-neighbors').neighbors.changes, []);
    assert.deepEqual(machine.ownNeighbors(), before);
    assert.equal(machine.isAttached('tap1'), false);
    assert.deepEqual(machine.reconcile().neighbors.changes, []);
    assert.deepEqual(machine.ownNeighbors(), before);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);
    machine.assertIdle();
  });

  test('finds the attachments when the pins are lost', async (t) => {
    const machine = await withNeighbors(t);
    rmSync(machine.pins, { recursive: true });
    machine.remove();
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
    assert.deepEqual(machine.ownNeighbors(), []);
  });
});

describe('bpffs', () => {
  test('is mounted where it is missing, as a step of the run, and is private to root', (t) => {
    const machine = new Machine(t);
    const bpffs = createTempDir(machine.scope, 'unmounted');
    machine.snoopy.privileged().configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
    const report = machine.reconcile();
    assert.deepEqual(report.steps[0], {
      action: { kind: 'mount', path: bpffs },
      outcome: { kind: 'applied' },
    });
    assert.match(mountsAt(bpffs).join('\n'), /^\S+ \S+ bpf /);
    assert.equal(statSync(`${bpffs}/snoopy`).mode & 0o777, 0o700);
    machine.assertIdle();
    machine.remove();
    assert.equal(readdirSync(bpffs).includes('snoopy'), false);
  });

  test('is mounted once when two runs start at the same time', async (t) => {
    const machine = new Machine(t);
    const bpffs = createTempDir(machine.scope, 'unmounted');
    machine.snoopy.privileged().configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
    const runs = [1, 2].map(() => machine.snoopy.startReconcile());
    const results = await Promise.all(runs.map((one) => one.ended()));
    for (const result of results) assertExit(result, 0);
    const mounts = results.flatMap((result) =>
      withReport(result).report.steps.map(({ action }) => action.kind),
    );
    assert.equal(mounts.filter((kind) => kind === 'mount').length, 1);
    assert.equal(mounts.filter((kind) => kind === 'load').length, 1);
    assert.equal(mountsAt(bpffs).length, 1);
    machine.assertIdle();
  });

  test('is an error with its fix when the mount point is missing', (t) => {
    const machine = new Machine(t);
    const bpffs = `${createTempDir(machine.scope, 'nowhere')}/bpf`;
    machine.snoopy.configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
    const result = machine.snoopy.run('reconcile');
    assertExit(result, 1);
    assert.ok(result.stderr.includes(bpffs), outputOf(result));
    assert.match(result.stderr, /create it|runtime\.bpffs/);
  });
});

describe('the lock', () => {
  /** A process that holds the lock until it is stopped. */
  async function holdLock(machine: Machine): Promise<Background> {
    const holder = machine.netns.start('flock', machine.pins, 'sh', '-c', 'echo held; exec sleep 60');
    await holder.printed(/held/);
    return holder;
  }

  deepTest(
    'a run that cannot get it in time exits with 75 and says why; a killed holder releases it',
    async (t) => {
      const machine = new Machine(t);
      machine.reconcile();
      const holder = await holdLock(machine);
      for (const [timeout, least] of [
        ['0ms', 0],
        ['200ms', 200],
      ] as const) {
        const start = performance.now();
        const result = machine.snoopy.run('reconcile', '--lock-timeout', timeout);
        assertExit(result, 75);
        assert.ok(performance.now() - start >= least);
        assert.ok(result.stderr.includes(machine.pins), outputOf(result));
        assert.match(result.stderr, /lock/);
        assert.equal(result.stdout, '');
      }
      assertExit(machine.snoopy.run('remove', '--lock-timeout', '0s'), 75);
      assertExit(machine.snoopy.run('reconcile', '--check', '--lock-timeout', '0s'), 75);
      assertExit(machine.snoopy.run('status'), 0);
      const json = machine.snoopy.run('reconcile', '--lock-timeout', '0s', '--format', 'json');
      assertExit(json, 75);
      assert.equal(withReport(json).report.errors[0]?.code, 'locked');
      await holder.stop('SIGKILL');
      // flock(1) passed its descriptor on to the shell, so that is killed as well.
      run(['sh', '-c', `for pid in $(ip netns pids ${machine.netns.name}); do kill -9 $pid; done`]);
      assert.equal(machine.snoopy.run('reconcile', '--lock-timeout', '5s').code, 0);
    },
  );

  deepTest('a waiting run continues as soon as the lock is free', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    const first = machine.snoopy.startReconcile('--listen', '1s');
    await until(
      'the lock to be held',
      () => machine.netns.tryRun(['flock', '--nonblock', machine.pins, 'true']).code,
      (code) => code === 1,
      { everyMs: 5 },
    );
    const second = machine.reconcile('--lock-timeout', '10s');
    assert.deepEqual(second.steps, []);
    assertExit(await first.ended(), 0);
  });

  deepTest('ten runs at once all succeed, and the result is right', async (t) => {
    const machine = new Machine(t, { hosts: 3 });
    const runs = Array.from({ length: 10 }, () => machine.snoopy.startReconcile('--lock-timeout', '60s'));
    const results = await Promise.all(runs.map((one) => one.ended(60_000)));
    const reports = results.map((result) => {
      assertExit(result, 0);
      return withReport(result).report;
    });
    assert.equal(reports.filter(({ changed }) => changed).length, 1);
    for (const { port } of machine.hosts)
      assert.deepEqual(machine.attachedPrograms(port), [machine.programId()]);
    for (const host of machine.hosts) await host.announceAndWait();
    assert.equal(machine.reconcile().neighbors.total, 3);
    machine.assertIdle();
  });
});

describe('an upgrade', () => {
  /** The layout record as bytes in hex, as bpftool accepts them. */
  function layoutBytes(machine: Machine): string[] {
    const [line] = bpftool<{ value: string[] }[]>('map', 'dump', 'pinned', `${machine.pins}/layout`);
    assert.ok(line);
    return line.value.map((byte) => byte.replace(/^0x/, ''));
  }

  function writeLayout(machine: Machine, bytes: readonly string[]): void {
    const key = ['key', 'hex', '00', '00', '00', '00'];
    run(['bpftool', 'map', 'update', 'pinned', `${machine.pins}/layout`, ...key, 'value', 'hex', ...bytes]);
  }

  test('another size of the bindings map migrates the bindings, and no port is ever without a filter', async (t) => {
    const clsact = { attach: 'clsact' };
    const machine = await withNeighbors(t, 2, { runtime: clsact, bridges: [{ name: 'br0' }] });
    const program = machine.programId();
    const before = listFilters(machine.netns, 'tap1');
    const monitor = machine.netns.start('tc', 'monitor');
    await until(
      'tc monitor to listen',
      () => {
        machine.run('tc', 'qdisc', 'replace', 'dev', TUNNEL, 'clsact');
        machine.run('tc', 'qdisc', 'del', 'dev', TUNNEL, 'clsact');
        return monitor.stdout;
      },
      (text) => text.includes(TUNNEL),
    );
    machine.snoopy.configure({ runtime: { ...clsact, max_bindings: 1024 }, bridges: [{ name: 'br0' }] });
    const report = machine.reconcile();
    assert.deepEqual(stepKinds(report), ['load', 'attach']);
    assert.deepEqual(report.neighbors.changes, []);
    assert.notEqual(machine.programId(), program);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    const place = (lines: typeof before) =>
      lines.map(({ pref, kind, options }) => [pref, kind, options?.handle]);
    assert.deepEqual(place(listFilters(machine.netns, 'tap1')), place(before));
    await until(
      'tc monitor to report the new filters',
      () => monitor.stdout,
      (text) => /filter dev tap2/.test(text),
    );
    const changes = (await monitor.stop()).stdout.split('\n').filter((line) => / tap\d /.test(line));
    assert.ok(changes.length > 0);
    assert.deepEqual(
      changes.filter((line) => line.includes('deleted')),
      [],
    );
    const { max_entries: size } = bpftool<{ max_entries: number }>(
      'map',
      'show',
      'pinned',
      `${machine.pins}/bindings`,
    );
    assert.equal(size, 1024);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);
    machine.assertIdle();
    machine.host(1).announce('10.1.0.111');
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add 10.1.0.111 ${machine.host(1).mac}`]);
    machine.assertIdle();
  });

  deepTest('hosts that send their first message during the upgrade are not lost', async (t) => {
    const limits = { bindings_per_port: 40_000, new_bindings_per_second: 100_000 };
    const bridges = [{ name: 'br0', limits }];
    const machine = new Machine(t, { config: { bridges } });
    machine.reconcile();
    const host = machine.host(1);
    const ips = Array.from({ length: 30_000 }, (_, i) => `10.2.${i >> 8}.${i & 255}`);
    const frames = ips.map((senderIp) =>
      arpFrame({ operation: 'request', senderMac: host.mac, senderIp, targetIp: '10.2.255.1' }),
    );
    machine.snoopy.configure({ runtime: { max_bindings: 40_000 }, bridges });
    const upgrade = machine.snoopy.startReconcile();
    host.send(...frames);
    const run = withReport(await upgrade.ended());
    assertExit(run, 0);
    assert.ok(stepKinds(run.report).includes('load'));
    const after = machine.reconcile();
    assert.equal(after.counters.sightings, ips.length);
    assert.equal(after.bridges[0]?.bindings, ips.length);
  });

  deepTest(
    'a bindings map smaller than its content keeps as many bindings as fit, and every valid neighbor',
    async (t) => {
      const machine = await withNeighbors(t);
      machine.snoopy.configure({ runtime: { max_bindings: 1 }, bridges: [{ name: 'br0' }] });
      machine.reconcile();
      assert.equal(machine.boundIps().length, 1);
      machine.reconcile();
      machine.assertIdle();
      assert.equal(machine.ownNeighbors().length, 1);
    },
  );

  deepTest('another size of the ring, or another program, keeps bindings and neighbors', async (t) => {
    const machine = await withNeighbors(t);
    const neighbors = machine.ownNeighbors();
    machine.snoopy.configure({ runtime: { ring_size: '8KiB' }, bridges: [{ name: 'br0' }] });
    assert.deepEqual(stepKinds(machine.reconcile()), ['load', 'attach']);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);
    machine.assertIdle();

    const before = machine.programId();
    const bytes = layoutBytes(machine);
    writeLayout(machine, [...bytes.slice(0, 16), ...bytes.slice(16).map(() => 'ee')]);
    const report = machine.reconcile();
    assert.deepEqual(
      report.steps.map(({ action: { as: _, ...action } }) => action),
      [
        { kind: 'load', reason: 'program' },
        { kind: 'attach', bridge: 'br0', port: 'tap1' },
        { kind: 'attach', bridge: 'br0', port: 'tap2' },
      ],
    );
    assert.notEqual(machine.programId(), before);
    assert.deepEqual(machine.attachedPrograms('tap2'), [machine.programId()]);
    assert.deepEqual(report.neighbors.changes, []);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);
    assert.deepEqual(machine.ownNeighbors(), neighbors);
    assert.deepEqual(layoutBytes(machine), bytes);
    machine.assertIdle();
  });

  deepTest('a load that did not finish is repeated', async (t) => {
    const machine = await withNeighbors(t);
    const bytes = layoutBytes(machine);
    writeLayout(machine, [...bytes.slice(0, 16), ...bytes.slice(16).map(() => '00')]);
    const report = machine.reconcile();
    assert.deepEqual(report.steps[0]?.action, { kind: 'load', reason: 'incomplete' });
    assert.deepEqual(report.neighbors.changes, []);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);
    machine.assertIdle();
  });

  deepTest('any single lost pin is created again, and no neighbor is removed', async (t) => {
    const machine = await withNeighbors(t, 1);
    const neighbors = machine.ownNeighbors();
    for (const name of readdirSync(machine.pins).filter((name) => name !== 'links')) {
      rmSync(`${machine.pins}/${name}`);
      const report = machine.reconcile();
      assert.ok(stepKinds(report).includes('load'), name);
      assert.deepEqual(report.neighbors.changes, [], name);
      assert.deepEqual(machine.ownNeighbors(), neighbors, name);
      assert.deepEqual(machine.boundIps(), ['10.1.0.1'], name);
      assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()], name);
      machine.assertIdle();
    }
    machine.host(1).announce('10.1.0.111');
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add 10.1.0.111 ${machine.host(1).mac}`]);
    machine.remove();
    assert.deepEqual(machine.attachedPrograms('tap1'), []);
  });

  test('when all pins are lost the bindings are recovered from the neighbors, and none is withdrawn', async (t) => {
    const machine = await withNeighbors(t);
    const neighbors = machine.ownNeighbors();
    rmSync(machine.pins, { recursive: true });
    const report = machine.reconcile();
    assert.deepEqual(report.steps[0]?.action, { kind: 'load', reason: 'absent' });
    assert.deepEqual(report.neighbors.changes, []);
    assert.deepEqual(machine.ownNeighbors(), neighbors);
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.assertIdle();
  });

  deepTest('--bridge migrates all bridges: the next whole run withdraws nothing', async (t) => {
    const machine = await withNeighbors(t);
    machine.addBridge('br1');
    const other = machine.addHost(9, 'br1');
    machine.snoopy.configure({ bridges: [{ name: 'br0' }, { name: 'br1' }] });
    machine.reconcile();
    await other.announceAndWait();
    machine.reconcile();
    assert.equal(machine.ownNeighbors('br1').length, 1);
    rmSync(machine.pins, { recursive: true });
    machine.reconcile('--bridge', 'br0');
    const report = machine.reconcile();
    assert.deepEqual(report.neighbors.changes, []);
    assert.equal(machine.ownNeighbors('br1').length, 1);
  });

  deepTest('a kill at any moment of the migration withdraws nothing', async (t) => {
    const machine = await withNeighbors(t, 3);
    const neighbors = machine.ownNeighbors();
    for (let delayMs = 60; delayMs <= 300; delayMs += 20) {
      rmSync(machine.pins, { recursive: true, force: true });
      const argv = machine.snoopy.argv('reconcile', '--format', 'json');
      machine.netns.tryRun(['timeout', '-s', 'KILL', String(delayMs / 1000), ...argv]);
      machine.reconcile();
      assert.deepEqual(machine.ownNeighbors(), neighbors, `killed after ${delayMs} ms`);
    }
  });

  deepTest('more neighbors than the table has room for are no failure', async (t) => {
    const machine = await withNeighbors(t, 3);
    rmSync(machine.pins, { recursive: true });
    machine.snoopy.configure({ runtime: { max_bindings: 2 }, bridges: [{ name: 'br0' }] });
    machine.reconcile();
    assert.equal(machine.boundIps().length, 2);
    machine.reconcile();
  });

  deepTest('our ownership of clsact outlives the pins: remove deletes it', async (t) => {
    const config = { runtime: { attach: 'clsact' }, bridges: [{ name: 'br0' }] };
    const machine = await withNeighbors(t, 2, config);
    rmSync(`${machine.pins}/ports`);
    machine.reconcile();
    machine.remove();
    assert.deepEqual([machine.hasClsact('tap1'), machine.hasClsact('tap2')], [false, false]);
    machine.reconcile();
    rmSync(machine.pins, { recursive: true });
    const report = machine.reconcile();
    assert.match(
      report.warnings.join(),
      /nothing is pinned here: the pins were lost, or this run looks in another place/,
    );
    machine.remove();
    assert.deepEqual([machine.hasClsact('tap1'), machine.hasClsact('tap2')], [false, false]);
  });

  deepTest('a map of another owner under the name of a pin is replaced', async (t) => {
    const machine = await withNeighbors(t);
    for (const name of ['bindings', 'ports', 'layout']) {
      const path = `${machine.pins}/${name}`;
      rmSync(path);
      const shape = ['type', 'hash', 'key', '8', 'value', '8', 'entries', '16', 'name', 'other_owner'];
      run(['bpftool', 'map', 'create', path, ...shape]);
      machine.reconcile();
      assert.notEqual(bpftool<{ name?: string }>('map', 'show', 'pinned', path).name, 'other_owner', name);
      assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2'], name);
      assert.equal(machine.ownNeighbors().length, 2, name);
      machine.assertIdle();
    }
  });

  deepTest(
    'a program under the name of a map, and a map under the name of the program, are replaced or named',
    async (t) => {
      const machine = await withNeighbors(t);
      for (const [from, to] of [
        ['program', 'state'],
        ['counters', 'program'],
      ] as const) {
        rmSync(`${machine.pins}/${to}`);
        const kind = from === 'program' ? 'prog' : 'map';
        run(['bpftool', kind, 'pin', 'pinned', `${machine.pins}/${from}`, `${machine.pins}/${to}`]);
        const result = machine.snoopy.reconcile();
        if (result.code !== 0) {
          assertExit(result, 1);
          assert.ok(result.stderr.includes(`${machine.pins}/${to}`), outputOf(result));
          rmSync(`${machine.pins}/${to}`);
          machine.reconcile();
        }
        machine.assertIdle();
        assert.equal(machine.ownNeighbors().length, 2);
      }
    },
  );

  deepTest('a directory with content in place of a pin is named, and everything else stays', async (t) => {
    const machine = await withNeighbors(t);
    for (const name of ['bindings', 'program', 'layout']) {
      const path = `${machine.pins}/${name}`;
      rmSync(path);
      mkdirSync(`${path}/theirs`, { recursive: true });
      const result = machine.snoopy.reconcile();
      assertExit(result, 1);
      assert.ok((result.stdout + result.stderr).includes(path), outputOf(result));
      assert.doesNotMatch(result.stdout + result.stderr, /Internal error/);
      assert.equal(machine.attachedPrograms('tap1').length, 1, name);
      assert.equal(machine.ownNeighbors().length, 2, name);
      rmSync(path, { recursive: true });
      machine.reconcile();
      machine.assertIdle();
    }
  });

  test('pins of a newer version are refused with 69, and left alone', async (t) => {
    const machine = await withNeighbors(t);
    const bytes = layoutBytes(machine);
    writeLayout(machine, ['63', ...bytes.slice(1)]);
    const before = traces(machine);
    for (const command of ['reconcile', 'remove', 'status']) {
      const result = machine.snoopy.run(command);
      assertExit(result, 69);
      assert.match(result.stderr, /newer snoopy/);
      assert.ok(result.stderr.includes(machine.pins));
    }
    assert.equal(traces(machine), before);
  });

  deepTest('pins of another network namespace are refused, and left alone', async (t) => {
    const machine = await withNeighbors(t);
    const before = traces(machine);
    const other = new Netns(machine.scope, 'other');
    other.run('ip', 'link', 'add', 'br0', 'type', 'bridge');
    for (const command of ['reconcile', 'remove', 'status']) {
      const result = other.tryRun(machine.snoopy.argv(command));
      assertExit(result, 1);
      assert.match(result.stderr, /another network namespace/);
      assert.match(result.stderr, /pin_dir/);
    }
    assert.equal(traces(machine), before);
    const own = ['reconcile', '--config'];
    const config = createTempDir(machine.scope, 'other');
    run([
      'sh',
      '-c',
      `sed 's/^runtime:/runtime:\\n  pin_dir: other/' ${machine.snoopy.configFile} > ${config}/own.yaml`,
    ]);
    const argv = machine.snoopy.argv('x');
    assertExit(other.tryRun([...argv.slice(0, argv.indexOf('x')), ...own, `${config}/own.yaml`]), 0);
    machine.assertIdle();
  });
});

describe('reconcile --listen', () => {
  async function neighborOf(machine: Machine, host: Host, ip = host.ip): Promise<void> {
    await until(
      `the neighbor ${ip}`,
      () => findNeighbor(machine.netns, 'br0', ip),
      (line) => line?.protocol === '115' && line.lladdr === host.mac,
      { timeoutMs: 5_000, everyMs: 10 },
    );
  }

  /** CPU time of a process so far, user and system, in ms. */
  function cpuMs(pid: number): number {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return (ticks * 1000) / Number(run(['getconf', 'CLK_TCK']));
  }

  deepTest(
    'handles ports and hosts as they come, restores what is deleted, and sleeps in between',
    async (t) => {
      const machine = new Machine(t, { tunnel: true });
      const host = machine.host(1);
      const bpffs = createTempDir(machine.scope, 'unmounted');
      const runtime = { bpffs, attach: 'clsact' };
      machine.snoopy.privileged().configure({ runtime, bridges: [{ name: 'br0' }] });
      const listening = machine.snoopy.startReconcile('--listen', '6s');
      await until(
        'a filter on tap1',
        () => machine.attachedPrograms('tap1').length,
        (count) => count === 1,
      );
      host.announce();
      await neighborOf(machine, host);

      const late = machine.addHost(5);
      await until(
        'a filter on tap5',
        () => machine.attachedPrograms('tap5').length,
        (count) => count === 1,
      );
      late.announce();
      await neighborOf(machine, late);

      machine.run('ip', 'neigh', 'flush', 'dev', 'br0', 'nud', 'noarp');
      await neighborOf(machine, host);
      await neighborOf(machine, late);
      machine.run('tc', 'filter', 'del', 'dev', 'tap1', 'ingress');
      await until(
        'the filter on tap1 to be put back',
        () => machine.attachedPrograms('tap1').length,
        (count) => count === 1,
      );
      machine.run(
        'bridge',
        ...`fdb replace ${late.mac} dev ${TUNNEL} master dynamic extern_learn`.split(' '),
      );
      await until(
        'the neighbor of the host that left',
        () => findNeighbor(machine.netns, 'br0', late.ip),
        (line) => line === undefined,
        { timeoutMs: 5_000 },
      );

      // Events that do not concern it: known hosts, and MACs that other bridges learn.
      const [started, before] = [performance.now(), cpuMs(listening.pid)];
      await until(
        'a second to pass',
        () => {
          host.announce();
          return performance.now() - started;
        },
        (passed) => passed > 1_000,
        { everyMs: 200 },
      );
      const share = (cpuMs(listening.pid) - before) / (performance.now() - started);
      assert.ok(share < 0.3, `an idle listener used ${(share * 100).toFixed(0)} % of a core`);
      assert.ok(listening.running, 'it ended too early, and nothing was measured');

      const result = withReport(await listening.ended());
      assertExit(result, 0);
      assert.equal(result.report.changed, true);
      const kinds = result.report.steps.map(({ action }) => action.kind);
      assert.equal(kinds.filter((kind) => kind === 'mount').length, 1, 'the mount is reported once');
      assert.equal(kinds.filter((kind) => kind === 'load').length, 1);
      assert.ok(portSteps(result.report).includes('attach tap5'));
      assert.ok(result.report.ring.records >= 2);
      machine.assertIdle();
    },
  );

  deepTest('puts a pin back that was deleted, in the pass for the next host', async (t) => {
    const machine = new Machine(t);
    const host = machine.host(1);
    const layout = `${machine.pins}/layout`;
    const listening = machine.snoopy.startReconcile('--listen', '1m');
    await until(
      'the program on tap1',
      () => machine.attachedPrograms('tap1').length,
      (count) => count === 1,
    );
    host.announce();
    await neighborOf(machine, host);
    rmSync(layout);
    host.announce('10.1.0.77');
    await neighborOf(machine, host, '10.1.0.77');
    await until(
      'the pin to be back',
      () => existsSync(layout),
      (isThere) => isThere,
    );
    await listening.stop();
  });

  deepTest('ends when its pin directory is deleted, and the next run sets everything up', async (t) => {
    const machine = new Machine(t);
    const host = machine.host(1);
    const listening = machine.snoopy.startReconcile('--listen', '1m');
    await until(
      'the program on tap1',
      () => machine.attachedPrograms('tap1').length,
      (count) => count === 1,
    );
    rmSync(machine.pins, { recursive: true });
    // bpffs notifies of nothing, and with the pins of links the program is gone from the ports.
    machine.addHost(5);
    const { report, ...result } = withReport(await listening.ended());
    assertExit(result, 1);
    assert.deepEqual(
      report.errors.map(({ code, object }) => ({ code, object })),
      [{ code: 'pin_unusable', object: machine.pins }],
    );
    machine.reconcile();
    host.announce();
    machine.reconcile();
    assert.equal(machine.ownNeighbors().length, 1);
    machine.assertIdle();
  });

  deepTest('leaves the work to the next run when it is killed at any time', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    for (const host of machine.hosts) {
      const listening = machine.snoopy.startReconcile('--listen', '30s');
      await until(
        `a filter on ${host.port}`,
        () => machine.attachedPrograms(host.port).length,
        (count) => count === 1,
      );
      host.announce();
      if (host.port === 'tap1') await neighborOf(machine, host);
      listening.kill();
    }
    for (const host of machine.hosts) await host.forwarded();
    const report = machine.reconcile('--lock-timeout', '0s');
    assert.equal(report.neighbors.total, 2);
    assert.equal(machine.ownNeighbors().length, 2);
    machine.assertIdle();
  });

  test('does not listen with --check', (t) => {
    const machine = new Machine(t);
    const start = performance.now();
    machine.reconcile('--check', '--listen', '30s');
    assert.ok(performance.now() - start < 15_000);
  });
});

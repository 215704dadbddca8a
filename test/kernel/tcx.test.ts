// attach: tcx. Pinned links, first in the chain; from clsact to tcx and back; and other programs on the port.
import assert from 'node:assert/strict';
import { closeSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { describe, test } from 'node:test';
import { programInfo } from '../../src/ffi/info.ts';
import { BPF_TCX_INGRESS, tcxAttach, tcxPrograms } from '../../src/ffi/link.ts';
import { objGet } from '../../src/ffi/pin.ts';
import { deepTest } from '../lib/depth.ts';
import { parseJson, run, tryRun } from '../lib/run.ts';
import { enterNetns } from '../lib/setns.ts';
import { until } from '../lib/wait.ts';
import { assertExit, type Host, Machine, portSteps, TUNNEL, traces, withNeighbors } from './machine.ts';
import { loadEnder, NEEDS_TCX } from './probe.ts';

describe('attach: tcx', () => {
  const TCX = { runtime: { attach: 'tcx' }, bridges: [{ name: 'br0' }] };
  const CLSACT = { runtime: { attach: 'clsact' }, bridges: [{ name: 'br0' }] };

  /** IDs of the programs in the pinned links. */
  function linkPrograms(machine: Machine): number[] {
    const directory = `${machine.pins}/links`;
    const names = existsSync(directory) ? readdirSync(directory) : [];
    return names.map((name) => {
      const argv = ['bpftool', '--json', 'link', 'show', 'pinned', `${directory}/${name}`];
      // bpftool 7.5 ends with 255 when it does not find the device, which is in another namespace.
      return parseJson<{ prog_id: number }>(tryRun(argv).stdout, argv.join(' ')).prog_id;
    });
  }

  /** Asserts that exactly one program sees a host: each attachment would count its message once. */
  async function assertSeenOnce(machine: Machine, host: Host): Promise<void> {
    type PerCpu = { readonly values: readonly { readonly value: number }[] };
    const sightings = (): number =>
      (machine.dump<PerCpu>('counters')[0]?.values ?? []).reduce((sum, { value }) => sum + value, 0);
    const before = sightings();
    host.announce();
    const after = await until(`a sighting of ${host.ip}`, sightings, (count) => count > before);
    assert.equal(after, before + 1);
  }

  test(
    'links are pinned, a second run has nothing to do, and remove leaves nothing',
    NEEDS_TCX,
    async (t) => {
      const machine = new Machine(t, { tunnel: true, hosts: 2, config: TCX });
      const before = traces(machine);
      assert.deepEqual(portSteps(machine.reconcile()), [
        'set-port tap1',
        'set-port tap2',
        'attach tap1',
        'attach tap2',
      ]);
      const id = machine.programId();
      assert.deepEqual(linkPrograms(machine), [id, id]);
      assert.equal(machine.hasClsact('tap1'), false);
      assert.equal(machine.hasClsact(TUNNEL), false);
      for (const host of machine.hosts) await assertSeenOnce(machine, host);
      machine.reconcile();
      machine.assertIdle();
      assert.equal(machine.ownNeighbors().length, 2);

      machine.host(2).unplug();
      machine.reconcile();
      assert.equal(linkPrograms(machine).length, 1);
      machine.assertIdle();

      machine.snoopy.configure({ ...TCX, runtime: { attach: 'tcx', max_bindings: 1024 } });
      assert.deepEqual(portSteps(machine.reconcile()), ['attach tap1']);
      const program = machine.programId();
      assert.notEqual(program, id);
      assert.deepEqual(linkPrograms(machine), [program]);
      await assertSeenOnce(machine, machine.host(1));
      assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
      machine.assertIdle();

      machine.addHost(2);
      machine.reconcile();
      machine.remove();
      assert.equal(traces(machine), before);
      await until(
        'the program to be gone',
        () => machine.netns.tryRun(['bpftool', 'prog', 'show', 'id', String(program)]).code,
        (code) => code !== 0,
      );
    },
  );

  test(
    'our program is first in the chain, sees frames that another program ends, and leaves that program alone',
    NEEDS_TCX,
    async (t) => {
      const machine = new Machine(t, { config: TCX });
      enterNetns(machine.scope, machine.netns);
      const [port] = machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'tap1');
      const ifIndex = port?.ifindex ?? 0;
      const ender = loadEnder(machine.scope);
      tcxAttach(ender, ifIndex, BPF_TCX_INGRESS);
      const theirs = programInfo(ender).id;
      machine.reconcile();
      assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [machine.programId(), theirs]);
      await assertSeenOnce(machine, machine.host(1));

      machine.snoopy.configure({ ...TCX, runtime: { attach: 'tcx', max_bindings: 1024 } });
      machine.reconcile();
      assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [machine.programId(), theirs]);
      await assertSeenOnce(machine, machine.host(1));
      assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);

      machine.snoopy.configure(CLSACT);
      machine.reconcile();
      assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [theirs]);
      machine.snoopy.configure(TCX);
      machine.reconcile();
      machine.remove();
      assert.deepEqual(tcxPrograms(ifIndex, BPF_TCX_INGRESS), [theirs]);
    },
  );

  deepTest(
    'a clsact and filters of other owners stay unchanged from clsact to tcx and back',
    NEEDS_TCX,
    (t) => {
      const machine = new Machine(t, { hosts: 2, config: CLSACT });
      machine.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
      const match = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];
      for (const side of ['ingress', 'egress'])
        machine.run('tc', 'filter', 'add', 'dev', 'tap1', side, 'pref', '20', ...match);
      const filtersOfOthers = (): string[] =>
        ['ingress', 'egress'].map((side) =>
          machine.run('tc', 'filter', 'show', 'dev', 'tap1', side, 'pref', '20'),
        );
      const before = filtersOfOthers();
      for (const config of [CLSACT, TCX, CLSACT, TCX]) {
        machine.snoopy.configure(config);
        machine.reconcile();
        machine.assertIdle();
        assert.deepEqual(filtersOfOthers(), before);
        assert.deepEqual([machine.hasClsact('tap1'), machine.hasClsact('tap2')], [true, config === CLSACT]);
      }
      machine.remove();
      assert.deepEqual(filtersOfOthers(), before);
      assert.equal(machine.hasClsact('tap1'), true);
    },
  );

  deepTest('a port that accepts no TCX program keeps its filter', NEEDS_TCX, async (t) => {
    const machine = new Machine(t, { config: CLSACT });
    machine.reconcile();
    enterNetns(machine.scope, machine.netns);
    const [port] = machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'tap1');
    const program = objGet(`${machine.pins}/program`);
    assert.ok(port !== undefined && program !== undefined);
    // The kernel attaches a program only once.
    const link = tcxAttach(program, port.ifindex, BPF_TCX_INGRESS);
    machine.snoopy.configure(TCX);
    const run = machine.snoopy.reconcile();
    assertExit(run, 1);
    assert.deepEqual(
      run.report.steps.map(({ action, outcome }) => `${action.kind} ${outcome.kind}`),
      ['attach failed', 'detach skipped', 'set-port skipped'],
    );
    assert.deepEqual(machine.filterPrograms('tap1'), [machine.programId()]);
    closeSync(link);
    machine.reconcile();
    assert.deepEqual(machine.filterPrograms('tap1'), []);
    machine.assertIdle();
  });

  test('from clsact to tcx and back there is always exactly one attachment', NEEDS_TCX, async (t) => {
    const machine = await withNeighbors(t, 1, CLSACT);
    const neighbors = machine.ownNeighbors();
    machine.snoopy.configure(TCX);
    assert.deepEqual(portSteps(machine.reconcile()), ['attach tap1', 'detach tap1', 'set-port tap1']);
    assert.deepEqual(linkPrograms(machine), [machine.programId()]);
    assert.equal(machine.hasClsact('tap1'), false);
    await assertSeenOnce(machine, machine.host(1));
    machine.assertIdle();

    machine.snoopy.configure(CLSACT);
    machine.reconcile();
    assert.deepEqual(machine.filterPrograms('tap1'), [machine.programId()]);
    assert.deepEqual(linkPrograms(machine), []);
    await assertSeenOnce(machine, machine.host(1));
    machine.assertIdle();
    assert.deepEqual(machine.ownNeighbors(), neighbors);
    machine.remove();
    assert.equal(machine.hasClsact('tap1'), false);
  });

  deepTest('a clsact of ours is deleted even if its filter is gone already', NEEDS_TCX, (t) => {
    const machine = new Machine(t, { config: CLSACT });
    machine.reconcile();
    machine.run('tc', 'filter', 'del', 'dev', 'tap1', 'ingress');
    machine.snoopy.configure(TCX);
    machine.reconcile();
    assert.equal(machine.hasClsact('tap1'), false);
    machine.assertIdle();
  });

  test('a link that was detached, or whose pin was deleted, is created again', NEEDS_TCX, async (t) => {
    const machine = new Machine(t, { config: TCX });
    machine.reconcile();
    const [link = ''] = readdirSync(`${machine.pins}/links`);
    run(['bpftool', 'link', 'detach', 'pinned', `${machine.pins}/links/${link}`]);
    assert.deepEqual(portSteps(machine.reconcile()), ['attach tap1']);
    await assertSeenOnce(machine, machine.host(1));
    machine.reconcile();
    machine.assertIdle();

    rmSync(`${machine.pins}/links/${link}`);
    assert.deepEqual(portSteps(machine.reconcile()), ['attach tap1']);
    await assertSeenOnce(machine, machine.host(1));
    machine.assertIdle();
  });
});

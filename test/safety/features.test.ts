// A kernel without one of the features that snoopy uses: the calls are answered as such a kernel answers them. The
// README says what is lost; all other tests run with the feature.
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, test } from 'node:test';
import { assertExit, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { deepTest, sample } from '../lib/depth.ts';
import { listFilters, listQdiscs } from '../lib/oracles.ts';
import { RATE_LIMITS } from '../lib/rate-limit.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, withReport } from '../lib/snoopy.ts';
import { sleepSync, until } from '../lib/wait.ts';
import { buildShim, type Injection, type Launched, Launcher, type Way } from './shim.ts';

const TCX = { runtime: { attach: 'tcx' }, bridges: [{ name: 'br0' }] };
const CLSACT = { runtime: { attach: 'clsact' }, bridges: [{ name: 'br0' }] };
const AUTO = { bridges: [{ name: 'br0' }] };

/** Every such call fails, as on a kernel that does not know it. */
function without(only: string): Way {
  const injection: Injection = { at: 1, only, onwards: true, what: constants.errno.EINVAL };
  return { counted: 'all', injection };
}

const WITHOUT_BATCHES = without('bpf:MAP_*_BATCH *');
const WITHOUT_RING = without('bpf:MAP_CREATE ring buffer');
const WITHOUT_BTF = without('bpf:BTF_LOAD *');
const WITHOUT_TCX = without('bpf:LINK_CREATE *');
/** The query of a device that shows whether the kernel has TCX. */
const WITHOUT_QUERY = without('bpf:PROG_QUERY *');
const WITHOUT_CLSACT: Way = { counted: 'all', hide: 'clsact' };

/** A machine on a kernel of our choice. */
class Kernel {
  readonly machine: Machine;
  readonly #launcher: Launcher;

  constructor(t: { after(undo: () => void): void }, config: Readonly<Record<string, unknown>> = CLSACT) {
    const scope = new Scope();
    t.after(() => scope.close());
    this.machine = new Machine(t, { config, hosts: 2 });
    const { netns, snoopy } = this.machine;
    this.#launcher = new Launcher(scope, netns, buildShim(scope), [snoopy.bpffs]);
  }

  run(way: Way, ...args: string[]): Promise<Launched> {
    return this.#launcher.launch({ args, config: this.machine.snoopy.configFile, ...way });
  }

  /** A run that succeeds, and that has tried the missing feature. */
  async lacking(way: Way, ...args: string[]): Promise<Launched> {
    const launched = await this.run(way, ...args);
    assertExit(launched, 0);
    assert.ok(launched.met, outputOf(launched));
    return launched;
  }

  /** Messages of the steps that failed, all of them for want of a feature. */
  missing(launched: Launched): string[] {
    assertExit(launched, 69);
    const failed = withReport(launched)
      .report.steps.map(({ outcome }) => outcome)
      .filter(({ kind }) => kind === 'failed');
    return failed.flatMap(({ code, message = '' }) => (code === 'unsupported' ? [message] : []));
  }
}

describe('a kernel', () => {
  test('without batches of map operations (5.6) maps are read and written entry by entry, with the same result', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    for (const host of machine.hosts) await host.announceAndWait();
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01', '10.1.0.2 02:00:00:00:00:02']);
    machine.assertIdle();

    // Another table size, for which the bindings are migrated.
    machine.snoopy.configure({ runtime: { max_bindings: 1024 }, ...AUTO });
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);

    // A port that is deleted takes its binding along.
    machine.host(2).unplug();
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    assert.deepEqual(machine.boundIps(), ['10.1.0.1']);
    machine.assertIdle();
    await kernel.lacking(WITHOUT_BATCHES, 'remove');
    assert.deepEqual([...machine.ownNeighbors(), ...listPins(machine.snoopy.bpffs)], []);
  });

  deepTest('with batches no entry is read by itself', (t) => {
    const { machine } = new Kernel(t);
    machine.reconcile();
    const { bpfCommands } = machine.snoopy.privileged().trace();
    assert.ok(bpfCommands.includes('BPF_MAP_LOOKUP_BATCH'));
    assert.ok(!bpfCommands.includes('BPF_MAP_GET_NEXT_KEY'));
  });

  deepTest(
    'without the ring buffer (5.8) nothing is done, and the version that has it is named',
    async (t) => {
      const kernel = new Kernel(t);
      const { machine } = kernel;
      const launched = await kernel.run(WITHOUT_RING, 'reconcile');
      assert.ok(launched.met);
      const [load = '', ...others] = kernel.missing(launched);
      assert.match(load, /^Cannot load .*no ring buffer for eBPF; boot Linux 5\.8 or later$/);
      assert.deepEqual(others, []);
      assert.equal(machine.isAttached('tap1'), false);
      const doctor = await kernel.run(WITHOUT_RING, 'doctor');
      assertExit(doctor, 1);
      assert.match(doctor.stdout, /no ring buffer for eBPF/);
      machine.reconcile();
      machine.assertIdle();
    },
  );

  deepTest(
    'without memory for a ring buffer the error does not blame the version of the kernel',
    async (t) => {
      const kernel = new Kernel(t);
      const injection: Injection = {
        ...WITHOUT_RING.injection,
        at: 1,
        onwards: true,
        what: constants.errno.ENOMEM,
      };
      const launched = await kernel.run({ ...WITHOUT_RING, injection }, 'reconcile');
      assertExit(launched, 1);
      assert.match(launched.stdout, /ENOMEM/);
    },
  );

  deepTest('without BTF (CONFIG_DEBUG_INFO_BTF) nothing is lost', async (t) => {
    const kernel = new Kernel(t);
    await kernel.lacking(WITHOUT_BTF, 'reconcile');
    for (const host of kernel.machine.hosts) await host.announceAndWait();
    assert.equal(kernel.machine.reconcile().neighbors.total, 2);
    kernel.machine.assertIdle();
  });

  test('without clsact (4.5, and modules) the modules are named, and attach: tcx works', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    const messages = kernel.missing(await kernel.run(WITHOUT_CLSACT, 'reconcile'));
    assert.deepEqual(
      messages.map((message) => /port "(tap\d)": ENOENT.*CONFIG_NET_SCH_INGRESS/.exec(message)?.[1]),
      ['tap1', 'tap2'],
    );
    machine.snoopy.configure(TCX);
    assertExit(await kernel.run(WITHOUT_CLSACT, 'reconcile'), 0);
    for (const host of machine.hosts) await host.announceAndWait();
    machine.reconcile();
    assert.equal(machine.ownNeighbors().length, 2);
    machine.assertIdle();
  });

  deepTest('without TCX (6.6) the version is named, and clsact attachments stay', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    machine.reconcile();
    machine.snoopy.configure(TCX);
    const messages = kernel.missing(await kernel.run(WITHOUT_TCX, 'reconcile'));
    assert.equal(messages.length, 2);
    for (const message of messages)
      assert.match(message, /by TCX: EINVAL; use "attach: auto", as TCX needs Linux 6\.6/);
    for (const host of machine.hosts) await host.announceAndWait();
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.snoopy.configure(CLSACT);
    assert.deepEqual(machine.reconcile().steps, []);
    assert.equal(machine.ownNeighbors().length, 2);
  });

  for (const [name, limit] of Object.entries(RATE_LIMITS).slice(0, sample(1, 2))) {
    test(`without TCX (6.6) auto takes an ingress qdisc, which gives way to a rate limit of ${name}`, async (t) => {
      const kernel = new Kernel(t, AUTO);
      const { machine } = kernel;
      const { netns } = machine;
      limit(netns, 'tap2');
      await kernel.lacking(WITHOUT_QUERY, 'reconcile');
      const kinds = (port: string): string[] =>
        listQdiscs(netns, port).flatMap(({ kind }) => (['clsact', 'ingress'].includes(kind) ? [kind] : []));
      assert.deepEqual([kinds('tap1'), kinds('tap2')], [['ingress'], ['ingress']]);
      for (let turn = 0; turn < 2; turn++) {
        limit(netns, 'tap1');
        assert.deepEqual(machine.attachedPrograms('tap1'), []);
        await kernel.lacking(WITHOUT_QUERY, 'reconcile');
        assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
      }
      await machine.host(1).announceAndWait();
      await kernel.lacking(WITHOUT_QUERY, 'reconcile');
      assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);

      const listening = kernel.run(WITHOUT_QUERY, 'reconcile', '--listen', '8s');
      await until(
        'the run to listen',
        () => machine.snoopy.run('reconcile', '--check', '--lock-timeout', '0s').code,
        (code) => code === 75,
      );
      // A run that took the place at once would make the next command fail.
      const { port: added } = machine.addHost(3);
      for (const port of [added, 'tap1', 'tap2']) limit(netns, port, () => sleepSync(250));
      await until(
        'the listening run to attach to the new qdiscs',
        () => [added, 'tap1', 'tap2'].flatMap((port) => machine.attachedPrograms(port)).length,
        (count) => count === 3,
      );
      assertExit(await listening, 0);

      const before = listFilters(netns, 'tap1').filter(({ kind }) => kind !== 'bpf');
      assert.ok(before.length > 0);
      await kernel.lacking(WITHOUT_QUERY, 'remove');
      assert.deepEqual([kinds('tap1'), kinds('tap2')], [['ingress'], ['ingress']]);
      assert.deepEqual(listFilters(netns, 'tap1'), before);
    });
  }

  test('without TCX (6.6) a qdisc that another program creates while a run gives way stays its own', async (t) => {
    const kernel = new Kernel(t, AUTO);
    const { machine } = kernel;
    const running = kernel.run(WITHOUT_QUERY, 'reconcile');
    await until(
      'the run to have planned',
      () => listPins(machine.snoopy.bpffs),
      (pins) => pins.includes('snoopy/program'),
    );
    machine.run('tc', 'qdisc', 'add', 'dev', 'tap1', 'clsact');
    assertExit(await running, 0);
    const names = (port: string): string[] =>
      listFilters(machine.netns, port).flatMap(({ options }) => options?.bpf_name ?? []);
    assert.deepEqual([names('tap1'), names('tap2')], [['snoopy'], ['snoopy:clsact']]);
    const again = withReport(await kernel.lacking(WITHOUT_QUERY, 'reconcile'));
    assert.deepEqual(again.report.steps, []);
    await kernel.lacking(WITHOUT_QUERY, 'remove');
    assert.ok(machine.hasClsact('tap1'));
    assert.deepEqual(
      listQdiscs(machine.netns, 'tap2').filter(({ kind }) => kind === 'ingress'),
      [],
    );
  });

  test('without TCX (6.6) an upgrade replaces a clsact qdisc of ours, unless another program uses it', async (t) => {
    const kernel = new Kernel(t, CLSACT);
    const { machine } = kernel;
    machine.reconcile();
    machine.run('tc', 'filter', 'add', 'dev', 'tap2', 'egress', 'u32', 'match', 'u32', '0', '0');
    // Another size of a map: the program is loaded anew, as by an upgrade.
    machine.snoopy.configure({ ...AUTO, runtime: { max_bindings: 1024 } });
    await kernel.lacking(WITHOUT_QUERY, 'reconcile');
    for (const [port, kind] of [
      ['tap1', 'ingress'],
      ['tap2', 'clsact'],
    ] as const) {
      assert.ok(
        listQdiscs(machine.netns, port).some((line) => line.kind === kind),
        port,
      );
      assert.deepEqual(machine.attachedPrograms(port), [machine.programId()]);
    }
    const again = withReport(await kernel.lacking(WITHOUT_QUERY, 'reconcile'));
    assert.deepEqual(again.report.steps, []);
  });
});

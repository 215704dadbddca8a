// A kernel without one of the features that snoopy asks for: the calls are answered as such a kernel answers them. What
// one loses is what the README says; with the feature, every other test has it.
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, test } from 'node:test';
import { assertExit, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { deepTest } from '../lib/depth.ts';
import { Scope } from '../lib/scope.ts';
import { said, withReport } from '../lib/snoopy.ts';
import { buildShim, type Landed, Launcher, type Mishap, type Way } from './shim.ts';

const TCX = { runtime: { attach: 'tcx' }, bridges: [{ name: 'br0' }] };
const CLSACT = { bridges: [{ name: 'br0' }] };

/** Every such call is refused, as a kernel does that does not know it. */
function without(only: string): Way {
  const mishap: Mishap = { at: 1, only, onwards: true, what: constants.errno.EINVAL };
  return { counted: 'all', mishap };
}

const WITHOUT_BATCHES = without('bpf:MAP_*_BATCH *');
const WITHOUT_RING = without('bpf:MAP_CREATE ring buffer');
const WITHOUT_BTF = without('bpf:BTF_LOAD *');
const WITHOUT_TCX = without('bpf:LINK_CREATE *');
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

  run(way: Way, ...args: string[]): Promise<Landed> {
    return this.#launcher.launch({ args, config: this.machine.snoopy.configFile, ...way });
  }

  /** A run that succeeds, and that has asked for what the kernel lacks. */
  async lacking(way: Way, ...args: string[]): Promise<Landed> {
    const landed = await this.run(way, ...args);
    assertExit(landed, 0);
    assert.ok(landed.met, said(landed));
    return landed;
  }

  /** Messages of the steps that failed, all of them for want of something. */
  missing(landed: Landed): string[] {
    assertExit(landed, 69);
    const failed = withReport(landed)
      .report.steps.map(({ outcome }) => outcome)
      .filter(({ kind }) => kind === 'failed');
    return failed.flatMap(({ code, message = '' }) => (code === 'unsupported' ? [message] : []));
  }
}

describe('without', () => {
  test('batches of map operations (5.6) all is read and written one by one, and the result is the same', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    for (const host of machine.hosts) await host.speak();
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01', '10.1.0.2 02:00:00:00:00:02']);
    machine.assertIdle();

    // Another table, to which the bindings are migrated.
    machine.snoopy.configure({ runtime: { max_bindings: 1024 }, ...CLSACT });
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    assert.deepEqual(machine.boundIps(), ['10.1.0.1', '10.1.0.2']);

    // A port that goes takes its binding along.
    machine.host(2).unplug();
    await kernel.lacking(WITHOUT_BATCHES, 'reconcile');
    assert.deepEqual(machine.boundIps(), ['10.1.0.1']);
    machine.assertIdle();
    await kernel.lacking(WITHOUT_BATCHES, 'remove');
    assert.deepEqual([...machine.ownNeighbors(), ...listPins(machine.snoopy.bpffs)], []);
  });

  deepTest('with them no entry is walked to', (t) => {
    const { machine } = new Kernel(t);
    machine.reconcile();
    const { bpfCommands } = machine.snoopy.privileged().trace();
    assert.ok(bpfCommands.includes('BPF_MAP_LOOKUP_BATCH'));
    assert.ok(!bpfCommands.includes('BPF_MAP_GET_NEXT_KEY'));
  });

  test('the ring buffer (5.8) nothing is done, and the version that has it is named', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    const landed = await kernel.run(WITHOUT_RING, 'reconcile');
    assert.ok(landed.met);
    const [load = '', ...others] = kernel.missing(landed);
    assert.match(load, /^Cannot load .*no ring buffer for eBPF; boot Linux 5\.8 or later$/);
    assert.deepEqual(others, []);
    assert.equal(machine.hasClsact('tap1'), false);
    const doctor = await kernel.run(WITHOUT_RING, 'doctor');
    assertExit(doctor, 1);
    assert.match(doctor.stdout, /no ring buffer for eBPF/);
    machine.reconcile();
    machine.assertIdle();
  });

  deepTest('a ring buffer for want of memory is no such kernel', async (t) => {
    const kernel = new Kernel(t);
    const mishap: Mishap = { ...WITHOUT_RING.mishap, at: 1, onwards: true, what: constants.errno.ENOMEM };
    const landed = await kernel.run({ ...WITHOUT_RING, mishap }, 'reconcile');
    assertExit(landed, 1);
    assert.match(landed.stdout, /ENOMEM/);
  });

  test('BTF (CONFIG_DEBUG_INFO_BTF) nothing is lost', async (t) => {
    const kernel = new Kernel(t);
    await kernel.lacking(WITHOUT_BTF, 'reconcile');
    for (const host of kernel.machine.hosts) await host.speak();
    assert.equal(kernel.machine.reconcile().neighbors.total, 2);
    kernel.machine.assertIdle();
  });

  test('clsact (4.5, and modules) the modules are named; attach: tcx does without', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    const messages = kernel.missing(await kernel.run(WITHOUT_CLSACT, 'reconcile'));
    assert.deepEqual(
      messages.map((message) => /port "(tap\d)": ENOENT.*CONFIG_NET_SCH_INGRESS/.exec(message)?.[1]),
      ['tap1', 'tap2'],
    );
    machine.snoopy.configure(TCX);
    assertExit(await kernel.run(WITHOUT_CLSACT, 'reconcile'), 0);
    for (const host of machine.hosts) await host.speak();
    machine.reconcile();
    assert.equal(machine.ownNeighbors().length, 2);
    machine.assertIdle();
  });

  deepTest('TCX (6.6) the version is named, and what is attached by clsact stays', async (t) => {
    const kernel = new Kernel(t);
    const { machine } = kernel;
    machine.reconcile();
    machine.snoopy.configure(TCX);
    const messages = kernel.missing(await kernel.run(WITHOUT_TCX, 'reconcile'));
    assert.equal(messages.length, 2);
    for (const message of messages) assert.match(message, /by TCX: EINVAL; TCX needs Linux 6\.6; use clsact/);
    for (const host of machine.hosts) await host.speak();
    assert.deepEqual(machine.filterPrograms('tap1'), [machine.programId()]);
    machine.snoopy.configure(CLSACT);
    assert.deepEqual(machine.reconcile().steps, []);
    assert.equal(machine.ownNeighbors().length, 2);
  });
});

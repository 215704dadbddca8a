// A listening run beside ports that come, change and go: it looks at these alone.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import type { Background } from '../lib/run.ts';
import { type Config, type Report, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { assertExit, Machine, portSteps, stepKinds } from './machine.ts';

/** A dump, as strace prints its request. */
const DUMP = /nlmsg_type=(RTM_GET\w+), nlmsg_flags=NLM_F_REQUEST\|(?:NLM_F_ACK\|)?NLM_F_DUMP/g;

/** Three ports, a host at the first, and a run that listens and has made its first pass. */
class Listening {
  readonly machine: Machine;
  readonly #file: string;
  readonly #run: Background;
  #first = 0;

  private constructor(t: TestContext, config: Config) {
    // Nothing else makes a pass over everything due.
    const machine = new Machine(t, {
      config: { frr: { verify: 'never' }, ...config },
      tunnel: true,
      hosts: 3,
    });
    machine.reconcile();
    machine.host(1).announce();
    this.machine = machine;
    this.#file = join(createTempDir(machine.scope, 'strace'), 'requests');
    this.#run = machine.netns.start(
      ...['strace', '-f', '-o', this.#file, '-e', 'trace=sendto'],
      ...machine.snoopy.argv('reconcile', '--format', 'json', '--listen', '20s'),
    );
  }

  static async start(t: TestContext, config: Config = {}): Promise<Listening> {
    const listening = new Listening(t, { bridges: [{ name: 'br0' }], ...config });
    await listening.hasHosts(1);
    listening.forgetDumps();
    return listening;
  }

  /** From now on `dumps` are those that follow. */
  forgetDumps(): void {
    this.#first = this.#requests().length;
  }

  /** Waits until this many hosts have neighbors. */
  async hasHosts(count: number): Promise<void> {
    await until(
      `${count} neighbors`,
      () => this.machine.ownNeighbors(),
      (neighbors) => neighbors.length === count,
    );
  }

  /** Waits until the program is attached to a port. */
  async isAttached(port: string): Promise<void> {
    await until(
      `the program on ${port}`,
      () => this.machine.attachedPrograms(port),
      ([program]) => program === this.machine.programId(),
    );
  }

  /** Waits until this many ports have policies. */
  async hasPolicies(count: number): Promise<void> {
    await until(
      `policies for ${count} ports`,
      () => this.machine.dump('ports').length,
      (found) => found === count,
    );
  }

  /** The dumps that the run has requested since its first pass; one of filters is of one device. */
  get dumps(): (string | undefined)[] {
    const dumps = [...this.#requests().slice(this.#first).matchAll(DUMP)].map(([, type]) => type);
    return dumps.filter((type) => type !== 'RTM_GETTFILTER');
  }

  /** The report at the end, after which another run finds nothing to do. */
  async ended(): Promise<Report> {
    const result = withReport(await this.#run.ended(60_000));
    assertExit(result, 0);
    assert.deepEqual(result.report.errors, []);
    this.machine.assertIdle();
    return result.report;
  }

  #requests(): string {
    return existsSync(this.#file) ? readFileSync(this.#file, 'utf8') : '';
  }
}

deepTest(
  'a port that comes is attached, one that goes leaves nothing, and no other is looked at',
  async (t) => {
    const listening = await Listening.start(t);
    const { machine } = listening;
    const host = machine.addHost(4);
    await listening.isAttached(host.port);
    host.announce();
    await listening.hasHosts(2);
    // Its MAC has aged, so that no notification names its host.
    host.forgetMac();
    host.unplug();
    await listening.hasHosts(1);
    await listening.hasPolicies(3);
    assert.deepEqual(listening.dumps, []);

    const [set, attach, ...others] = portSteps(await listening.ended());
    assert.deepEqual([set, attach], [`set-port ${host.port}`, `attach ${host.port}`]);
    assert.deepEqual(
      others.map((step) => step.split(' ')[0]),
      ['detach', 'drop-port'],
    );
  },
);

deepTest('a filter that is deleted is restored, and a port that leaves the bridge is detached', async (t) => {
  const listening = await Listening.start(t, { runtime: { attach: 'clsact' } });
  const { machine } = listening;
  const [one, two, three] = [machine.host(1), machine.host(2), machine.host(3)];
  machine.run('tc', 'qdisc', 'del', 'dev', two.port, 'clsact');
  await listening.isAttached(two.port);
  machine.run('ip', 'link', 'set', one.port, 'nomaster');
  await listening.hasHosts(0);
  await until(
    'the end of the attachment',
    () => machine.hasClsact(one.port),
    (has) => !has,
  );
  // No reason for a step.
  machine.run('bridge', 'link', 'set', 'dev', three.port, 'isolated', 'on');
  await listening.hasPolicies(2);
  assert.deepEqual(listening.dumps, []);

  const report = await listening.ended();
  assert.deepEqual(portSteps(report), [`attach ${two.port}`, `detach ${one.port}`, `drop-port ${one.port}`]);
  machine.remove();
  for (const { port } of machine.hosts) assert.equal(machine.hasClsact(port), false, port);
});

deepTest(
  'a port that comes back has its bindings counted, and a renamed one its provisioned host',
  async (t) => {
    const bridge = {
      name: 'br0',
      ports: { include: ['tap*'] },
      limits: { bindings_per_port: 2 },
      static: [{ ip: '10.1.0.99', mac: '02:00:00:00:00:99' }],
    };
    const listening = await Listening.start(t, { bridges: [bridge] });
    const { machine } = listening;
    const host = machine.host(1);
    host.announce('10.1.0.11');
    await listening.hasHosts(2);
    machine.run('ip', 'link', 'set', host.port, 'nomaster');
    await listening.hasHosts(0);
    await listening.hasPolicies(2);
    machine.run('ip', 'link', 'set', host.port, 'master', 'br0');
    await listening.isAttached(host.port);
    await until(
      'the count of its bindings',
      () => machine.dump<{ value: { released: number } }>('ports').map(({ value }) => value.released),
      (released) => released.some((count) => count !== 0),
    );
    await until(
      'the port to forward',
      () => machine.run('bridge', 'link', 'show', 'dev', host.port),
      (line) => line.includes('state forwarding'),
    );
    for (const n of [21, 22, 23]) host.announce(`10.1.0.${n}`);
    host.announce();
    await listening.hasHosts(2);
    assert.equal(machine.boundIps().length, 2);

    machine.run('ip', 'link', 'set', 'tap3', 'name', 'other3');
    machine.run('bridge', 'fdb', 'add', '02:00:00:00:00:99', 'dev', 'other3', 'master', 'static');
    await listening.hasPolicies(2);
    machine.run('ip', 'link', 'set', 'other3', 'name', 'tap3');
    await listening.hasHosts(3);
    await listening.ended();
  },
);

deepTest('the bridge that a firewall has for one guest is no reason to look at others', async (t) => {
  const listening = await Listening.start(t);
  const { machine } = listening;
  // As Proxmox VE starts a guest with a firewall: its tap is a port of a bridge of its own, which is linked to the node's.
  machine.addBridge('fwbr9i0');
  const host = machine.addHost(9, 'fwbr9i0');
  machine.netns.ipBatch([
    'link add fwln9i0 type veth peer name fwpr9p0',
    'link set fwln9i0 master fwbr9i0 addrgenmode none up',
    'link set fwpr9p0 master br0 addrgenmode none up',
  ]);
  await listening.isAttached('fwpr9p0');
  host.announce();
  await listening.hasHosts(2);
  machine.netns.ipBatch(['link del fwln9i0', 'link del fwbr9i0', `link del ${host.port}`]);
  await listening.hasHosts(1);
  await listening.hasPolicies(3);
  assert.deepEqual(listening.dumps, []);
  await listening.ended();
});

deepTest('another address of one bridge is no reason to look at the hosts of another one', async (t) => {
  const listening = await Listening.start(t, {
    bridges: [{ name: 'br0' }, { name: 'br1', required: false }],
  });
  const { machine } = listening;
  const onOther = (count: number): Promise<unknown> =>
    until(
      `${count} neighbors on br1`,
      () => machine.ownNeighbors('br1'),
      (own) => own.length === count,
    );
  machine.addBridge('br1');
  const host = machine.addHost(4, 'br1');
  await listening.isAttached(host.port);
  host.announce();
  await onOther(1);
  listening.forgetDumps();

  // Its subnet is another one then.
  machine.run('ip', 'address', 'add', '10.9.0.254/24', 'dev', 'br1');
  await onOther(0);
  host.announce('10.9.0.4');
  await onOther(1);
  assert.ok(listening.dumps.includes('RTM_GETADDR'), 'the addresses');
  assert.ok(!listening.dumps.includes('RTM_GETNEIGH'), 'all hosts');
  assert.equal(machine.ownNeighbors().length, 1);
  await listening.ended();
});

deepTest('a filter of a block that devices share is none of ours', async (t) => {
  const listening = await Listening.start(t);
  const { machine } = listening;
  machine.run('ip', 'link', 'add', 'other0', 'type', 'veth');
  machine.run('tc', 'qdisc', 'add', 'dev', 'other0', 'ingress_block', '7', 'ingress');
  const pass = ['bpf', 'bytecode', '1,6 0 0 4294967295'];
  machine.run('tc', 'filter', 'add', 'block', '7', 'protocol', 'all', 'pref', '20', ...pass);
  machine.run('tc', 'filter', 'del', 'block', '7', 'pref', '20');
  machine.host(2).announce();
  await listening.hasHosts(2);
  assert.deepEqual(listening.dumps, []);
  assert.deepEqual(stepKinds(await listening.ended()), []);
});

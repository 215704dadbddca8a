// A bridge, hosts that send only on request, and snoopy itself: shared by the tests of its commands.
import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { listPins } from '../lib/bpffs.ts';
import { arpFrame, naFrame, sendFrames } from '../lib/frames.ts';
import { Netns } from '../lib/netns.ts';
import { Node, type NodeOptions } from '../lib/node.ts';
import {
  findFdb,
  findNeighbor,
  listAttached,
  listFilters,
  listOwnNeighbors,
  listQdiscs,
} from '../lib/oracles.ts';
import { type Background, runJson } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { type Config, outputOf, type ReconcileResult, type Report, Snoopy } from '../lib/snoopy.ts';
import { sleepSync, until } from '../lib/wait.ts';

/** The tunnel port of a machine that has one. */
export const TUNNEL = 'vxlan100';

export interface MachineOptions {
  readonly config?: Config;
  /** Addresses of the bridge itself; none by default. */
  readonly addresses?: NodeOptions['addresses'];
  /** True: with a VXLAN port, which receives nothing. */
  readonly tunnel?: boolean;
  /** Number of hosts at the start; one by default. */
  readonly hosts?: number;
}

/** A hypervisor in a namespace of its own, which ends with the test. */
export class Machine {
  readonly scope = new Scope();
  readonly node: Node;
  readonly netns: Netns;
  readonly snoopy: Snoopy;
  readonly hosts: readonly Host[];
  /** The namespace of the hosts' devices. */
  readonly far: Netns;

  constructor(t: Pick<TestContext, 'after'>, options: MachineOptions = {}) {
    t.after(() => this.scope.close());
    const { addresses = [], tunnel = false, hosts = 1 } = options;
    const vxlan = tunnel ? { vxlan: { vni: 100, local: '192.0.2.1' } } : {};
    this.node = new Node(this.scope, { name: 'node', addresses, ...vxlan });
    this.netns = this.node.netns;
    // A MAC of its own: otherwise the bridge takes a port's, and changes it when that port goes. Then the kernel
    // flushes all neighbors.
    this.run('ip', 'link', 'set', this.node.bridge, 'address', '02:ff:00:00:00:01');
    // An address that is set before this sends Duplicate Address Detection a second later.
    this.run('ip', '-6', 'address', 'flush', 'scope', 'link');
    this.far = new Netns(this.scope, 'hosts');
    this.hosts = Array.from({ length: hosts }, (_, i) => this.addHost(i + 1));
    this.snoopy = new Snoopy(this.scope, this.netns, options.config);
  }

  /** Directory of all pins. */
  get pins(): string {
    return `${this.snoopy.bpffs}/snoopy`;
  }

  /** Adds a port with a host behind it. Neither sends anything by itself. */
  addHost(id: number, bridge = this.node.bridge): Host {
    return new Host(this.netns, this.far, id, bridge);
  }

  /** Host `index` of those at the start. */
  host(index: number): Host {
    const host = this.hosts[index - 1];
    assert.ok(host, `no host ${index}`);
    return host;
  }

  /** Adds another bridge, like that of Node. */
  addBridge(name: string): void {
    this.netns.ipBatch([
      `link add ${name} address 02:ff:00:00:00:02 type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${name} addrgenmode none`,
      `link set ${name} up`,
    ]);
  }

  /** A run that must succeed. */
  reconcile(...args: string[]): Report {
    const run = this.snoopy.reconcile(...args);
    assert.equal(run.code, 0, outputOf(run));
    assert.equal(run.report.ok, true, outputOf(run));
    return run.report;
  }

  /** A run that must find nothing to do. */
  assertIdle(...args: string[]): void {
    const report = this.reconcile(...args);
    assert.deepEqual(report.steps, []);
    assert.deepEqual(report.neighbors.changes, []);
    assert.equal(report.changed, false);
    assert.equal(report.neighbors.changed, false);
    assert.deepEqual(report.remaining, []);
  }

  /** A removal that must succeed. */
  remove(...args: string[]): Report {
    const run = this.snoopy.run('remove', '--format', 'json', ...args);
    assert.equal(run.code, 0, outputOf(run));
    return JSON.parse(run.stdout) as Report;
  }

  /** IP and MAC of snoopy's neighbors on the bridge. */
  ownNeighbors(device = this.node.bridge): string[] {
    return listOwnNeighbors(this.netns, device).map((line) => `${line.dst} ${line.lladdr}`);
  }

  /** The MAC of a neighbor on the bridge, whichever program wrote it. */
  macOf(ip: string): string | undefined {
    return findNeighbor(this.netns, this.node.bridge, ip)?.lladdr;
  }

  /** IDs of the programs in snoopy's filters on a port. */
  filterPrograms(port: string): number[] {
    return listFilters(this.netns, port)
      .filter((line) => /^snoopy(:clsact)?$/.test(line.options?.bpf_name ?? ''))
      .map((line) => line.options?.prog?.id ?? 0);
  }

  hasClsact(port: string): boolean {
    return listQdiscs(this.netns, port).some((line) => line.kind === 'clsact');
  }

  /** IDs of snoopy's programs on a port: in its filters, and in its pinned link. */
  attachedPrograms(port: string): number[] {
    const [link] = this.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'dev', port);
    const pin = `${this.pins}/links/${link?.ifindex}`;
    const linked = existsSync(pin)
      ? [bpftool<{ prog_id: number }>('link', 'show', 'pinned', pin).prog_id]
      : [];
    return [...this.filterPrograms(port), ...linked];
  }

  /** True when snoopy has a program or a qdisc on a port. */
  isAttached(port: string): boolean {
    return this.hasClsact(port) || this.attachedPrograms(port).length > 0;
  }

  /** Detaches the program as another program on the node may: by deleting the pin of the link, or the filter. */
  detachByHand(port: string): void {
    const [link] = this.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'dev', port);
    const pin = `${this.pins}/links/${link?.ifindex}`;
    if (existsSync(pin)) rmSync(pin);
    else this.run('tc', 'filter', 'del', 'dev', port, 'ingress');
  }

  /** ID of the pinned program. */
  programId(): number {
    return bpftool<{ id: number }>('prog', 'show', 'pinned', `${this.pins}/program`).id;
  }

  /** The entries of a pinned map, as bpftool decodes them. */
  dump<Entry>(map: string): Entry[] {
    return bpftool<{ readonly formatted: Entry }[]>('map', 'dump', 'pinned', `${this.pins}/${map}`).map(
      ({ formatted }) => formatted,
    );
  }

  /** IPv4 addresses that the bindings map has, sorted. */
  boundIps(): string[] {
    return this.dump<{ readonly key: { readonly family: number; readonly ip: readonly number[] } }>(
      'bindings',
    )
      .filter(({ key }) => key.family === 2)
      .map(({ key }) => key.ip.slice(0, 4).join('.'))
      .sort();
  }

  /** Runs a tool in the machine's namespace. */
  run(...argv: string[]): string {
    return this.netns.run(...argv);
  }
}

/** Everything on a machine that snoopy may leave behind, as text. */
export function traces(machine: Machine): string {
  const ports = [...machine.hosts.map(({ port }) => port), 'br0'];
  return JSON.stringify([
    listPins(machine.snoopy.bpffs),
    ports.map((port) => [listQdiscs(machine.netns, port), listFilters(machine.netns, port)]),
    machine.run('ip', '-d', 'neigh', 'show', 'nud', 'all', 'proto', '115'),
    listAttached(machine.netns),
  ]);
}

/** A machine whose hosts have neighbors. */
export async function withNeighbors(
  t: Pick<TestContext, 'after'>,
  hosts = 2,
  config?: Config,
): Promise<Machine> {
  const machine = new Machine(t, { tunnel: true, hosts, ...(config && { config }) });
  machine.reconcile();
  for (const host of machine.hosts) await host.announceAndWait();
  machine.reconcile();
  assert.equal(machine.ownNeighbors().length, hosts);
  return machine;
}

/** A host behind a port of its own. Its device has no address, so its kernel never sends anything. */
export class Host {
  readonly port: string;
  readonly mac: string;
  readonly ip: string;
  readonly ip6: string;
  readonly bridge: string;
  /** The other end of the port. */
  readonly device: string;
  readonly #node: Netns;
  readonly #far: Netns;

  constructor(node: Netns, far: Netns, id: number, bridge: string) {
    this.#node = node;
    this.#far = far;
    this.device = `e${id}`;
    this.bridge = bridge;
    this.port = `tap${id}`;
    this.mac = `02:00:00:00:00:${String(id).padStart(2, '0')}`;
    this.ip = `10.1.0.${id}`;
    this.ip6 = `2001:db8:1::${id}`;
    node.ipBatch([
      `link add ${this.port} type veth peer name ${this.device} address ${this.mac} netns ${far.name}`,
      `link set ${this.port} addrgenmode none`,
      `link set ${this.port} master ${bridge} up`,
    ]);
    far.ipBatch([`link set ${this.device} addrgenmode none`, `link set ${this.device} up`]);
    awaitForwarding(node, this.port);
  }

  /** Gratuitous ARP. */
  announce(ip = this.ip, mac = this.mac): void {
    this.send(arpFrame({ operation: 'request', senderMac: mac, senderIp: ip, targetIp: ip }));
  }

  /** ARP request for another address. */
  ask(targetIp: string): void {
    this.send(arpFrame({ operation: 'request', senderMac: this.mac, senderIp: this.ip, targetIp }));
  }

  /** ARP reply to all hosts. */
  answer(targetIp: string): void {
    this.send(arpFrame({ operation: 'reply', senderMac: this.mac, senderIp: this.ip, targetIp }));
  }

  /** Unsolicited Neighbor Advertisement. */
  advertise(ip = this.ip6): void {
    this.send(naFrame({ target: ip, targetMac: this.mac }));
  }

  /** Sends frames unchanged. */
  send(...frames: Buffer[]): void {
    sendFrames(this.#far, this.device, frames);
  }

  /** Starts a program behind the port; the host's device is its last argument. */
  start(...argv: string[]): Background {
    return this.#far.start(...argv, this.device);
  }

  /** Waits until the bridge has learned the host's MAC. By then the program has seen the frame. */
  async forwarded(mac = this.mac): Promise<void> {
    await until(
      `${mac} in the FDB on ${this.port}`,
      () => findFdb(this.#node, this.bridge, mac),
      (lines) => lines.some((line) => line.ifname === this.port),
    );
  }

  /** Announces its address, and waits until the program has seen it. */
  async announceAndWait(): Promise<void> {
    this.announce();
    await this.forwarded();
  }

  /** Deletes the bridge's FDB entry for the host, as if it had aged out. */
  forgetMac(): void {
    this.#node.run('bridge', 'fdb', 'del', this.mac, 'dev', this.port, 'master');
  }

  unplug(): void {
    this.#node.run('ip', 'link', 'del', this.port);
  }
}

/** Blocks until a port that has just come up forwards: until then the bridge drops the host's frames. */
function awaitForwarding(node: Netns, port: string): void {
  const deadline = performance.now() + 5_000;
  while (!node.run('bridge', 'link', 'show', 'dev', port).includes('state forwarding')) {
    if (performance.now() > deadline) throw new Error(`Port ${port} does not forward after 5 s`);
    sleepSync(5);
  }
}

/** The JSON output of bpftool. */
export function bpftool<T>(...args: string[]): T {
  return runJson<T>(['bpftool', '--json', ...args]);
}

/** `kind port`, for the steps of a report that are about a port. */
export function portSteps(report: Report): string[] {
  return report.steps.flatMap(({ action: { kind, port } }) =>
    port === undefined ? [] : [`${kind} ${port}`],
  );
}

/** The kinds of a report's steps, each once. */
export function stepKinds(report: Report): string[] {
  return [...new Set(report.steps.map(({ action }) => action.kind))];
}

/** `kind ip mac`, for each change of a neighbor, sorted. */
export function neighborChanges(report: Report): string[] {
  return report.neighbors.changes.map(({ kind, ip, mac }) => `${kind} ${ip} ${mac}`).sort();
}

/** Codes of a report's errors, and of the outcomes that failed. */
export function failureCodes(report: Report): string[] {
  const outcomes = [...report.steps, ...report.neighbors.changes].map(({ outcome }) => outcome);
  const failed = outcomes.flatMap(({ kind, code }) => (kind === 'failed' ? [code ?? '?'] : []));
  return [...report.errors.map(({ code }) => code), ...failed];
}

/** Asserts the exit code of a run; a failure shows all of its output. */
export function assertExit(
  run: Pick<ReconcileResult, 'argv' | 'code' | 'stdout' | 'stderr'>,
  code: number,
): void {
  assert.equal(run.code, code, outputOf(run));
}

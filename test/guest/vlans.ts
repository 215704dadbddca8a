// A hypervisor whose bridge has VLANs, which the kernels of the guests support and a host's may not.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { arpFrame, markerFrame, naFrame, sendFrames } from '../lib/frames.ts';
import type { Netns } from '../lib/netns.ts';
import { Node, Vm } from '../lib/node.ts';
import { findFdb, listOwnNeighbors } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { type Config, outputOf, type Report, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';

export interface VlanNodeOptions {
  /** True: the bridge filters by VLAN, and no port is in a VLAN until it is put there. */
  readonly aware: boolean;
  readonly config?: Config;
}

export interface HostOptions {
  /** 1 to 99; names, addresses and the MAC are derived from it. */
  readonly id: number;
  /** VLAN of the frames that the host sends without a tag. */
  readonly pvid?: number;
  /** VLANs that the port accepts with a tag. */
  readonly tagged?: readonly number[];
  readonly ip?: string;
}

/** A hypervisor in a namespace of its own, which ends with the test. */
export class VlanNode {
  readonly scope = new Scope();
  readonly netns: Netns;
  readonly snoopy: Snoopy;
  readonly #node: Node;
  #aware = false;

  constructor(t: Pick<TestContext, 'after'>, options: VlanNodeOptions) {
    t.after(() => this.scope.close());
    this.#node = new Node(this.scope, { name: 'node' });
    this.netns = this.#node.netns;
    if (options.aware) this.filterByVlan();
    this.snoopy = new Snoopy(this.scope, this.netns, options.config);
  }

  /** Makes the bridge VLAN-aware, with its ports in no VLAN. */
  filterByVlan(): void {
    this.netns.ipBatch([`link set ${BRIDGE} type bridge vlan_default_pvid 0 vlan_filtering 1`]);
    this.#aware = true;
  }

  /** Adds a host with a port of its own. */
  addHost(options: HostOptions): Host {
    const { id, ip = `10.1.0.${id}`, pvid, tagged = [] } = options;
    const host = new Host(this.netns, new Vm(this.#node, { id, ip }));
    if (pvid !== undefined) this.setPvid(host.port, pvid);
    for (const vlan of tagged) this.vlan('add', host.port, vlan);
    return host;
  }

  /** Sets the VLAN of untagged frames, on a port or on the bridge itself. */
  setPvid(port: string, vlan: number): void {
    this.vlan('add', port, vlan, 'pvid', 'untagged');
  }

  /** `bridge vlan add|del` for a port, or for the bridge itself. */
  vlan(command: 'add' | 'del', port: string, vlan: number, ...flags: string[]): void {
    const self = port === BRIDGE ? ['self'] : [];
    this.netns.run('bridge', 'vlan', command, 'dev', port, 'vid', String(vlan), ...flags, ...self);
  }

  /**
   * Adds the VLAN device above the bridge and returns its name; on a VLAN-aware bridge, adds the bridge to the VLAN.
   */
  addSvi(vlan: number, ...addresses: string[]): string {
    const name = `${BRIDGE}.${vlan}`;
    this.netns.ipBatch([
      `link add link ${BRIDGE} name ${name} type vlan id ${vlan}`,
      `link set ${name} addrgenmode none up`,
      ...addresses.map((address) => `address add ${address} dev ${name}`),
    ]);
    if (this.#aware) this.vlan('add', BRIDGE, vlan);
    return name;
  }

  /** Adds a VXLAN port of one VNI, which carries the VLAN with the same number. */
  addVxlan(vlan: number, local: string): string {
    const name = `vxlan${vlan}`;
    this.#addTunnel(name, `id ${vlan} local ${local} nolearning`);
    this.setPvid(name, vlan);
    return name;
  }

  /**
   * Adds a single VXLAN device with one VNI for each VLAN: a thousand times the number of the VLAN. With `vnifilter` the
   * device has a list of its VNIs.
   */
  addSingleVxlan(vlans: readonly number[], local: string, vnifilter = ''): string {
    const name = 'vxlan0';
    this.#addTunnel(name, `external ${vnifilter} local ${local} nolearning`);
    this.netns.run('bridge', 'link', 'set', 'dev', name, 'vlan_tunnel', 'on');
    for (const vlan of vlans) {
      const vni = String(vlan * 1000);
      this.vlan('add', name, vlan);
      this.vlan('add', name, vlan, 'tunnel_info', 'id', vni);
      if (vnifilter !== '') this.netns.run('bridge', 'vni', 'add', 'vni', vni, 'dev', name);
    }
    return name;
  }

  #addTunnel(name: string, what: string): void {
    this.netns.ipBatch([
      `link add ${name} type vxlan dstport 4789 ${what}`,
      `link set ${name} master ${BRIDGE} addrgenmode none up`,
    ]);
    this.netns.run('bridge', 'link', 'set', 'dev', name, 'neigh_suppress', 'on', 'learning', 'off');
  }

  /** Puts the port of a host below a bond, which becomes a port of the bridge in its place. */
  addBond(name: string, host: Host): void {
    this.netns.ipBatch([
      `link add ${name} type bond mode active-backup`,
      `link set ${host.port} nomaster down`,
      `link set ${host.port} master ${name}`,
      `link set ${name} addrgenmode none up`,
      `link set ${name} master ${BRIDGE}`,
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
  assertIdle(): void {
    const { steps, changed, neighbors } = this.reconcile();
    assert.deepEqual(steps, []);
    assert.deepEqual(neighbors.changes, []);
    assert.deepEqual([changed, neighbors.changed], [false, false]);
  }

  /** `ip mac` of snoopy's neighbors on a device. */
  own(device: string): string[] {
    return listOwnNeighbors(this.netns, device).map(({ dst, lladdr }) => `${dst} ${lladdr}`);
  }

  /** `vlan ip state` of the bindings that `status` lists, sorted. */
  states(): string[] {
    return this.snoopy
      .bindings()
      .map(({ vlan, ip, state }) => `${vlan} ${ip} ${state}`)
      .sort();
  }
}

/** A host that sends only on request, on its interface or with the tag of a VLAN. */
export class Host {
  readonly port: string;
  readonly mac: string;
  readonly ip: string;
  readonly ip6: string;
  readonly vm: Vm;
  readonly #node: Netns;
  readonly #tagging = new Set<number>();

  constructor(node: Netns, vm: Vm) {
    this.#node = node;
    this.vm = vm;
    this.port = vm.port;
    this.mac = vm.mac;
    this.ip = vm.ip;
    this.ip6 = vm.ip6;
  }

  /** `ip mac`, as VlanNode.own has it. */
  get line(): string {
    return `${this.ip} ${this.mac}`;
  }

  /** Sends frames, with the tag of a VLAN unless that is 0. The host's kernel adds the tag. */
  send(vlan: number, ...frames: Buffer[]): void {
    const device = vlan === 0 ? 'eth0' : `eth0.${vlan}`;
    if (vlan !== 0 && !this.#tagging.has(vlan)) {
      this.vm.netns.ipBatch([
        `link add link eth0 name ${device} type vlan id ${vlan}`,
        `link set ${device} addrgenmode none up`,
      ]);
      this.#tagging.add(vlan);
    }
    sendFrames(this.vm.netns, device, frames);
  }

  /** Gratuitous ARP. */
  announce(vlan = 0, ip = this.ip): void {
    this.send(vlan, arpFrame({ operation: 'request', senderMac: this.mac, senderIp: ip, targetIp: ip }));
  }

  /** Unsolicited Neighbor Advertisement. */
  advertise(vlan: number, options: { readonly router?: boolean } = {}): void {
    this.send(vlan, naFrame({ target: this.ip6, targetMac: this.mac, ...options }));
  }

  /** A frame that claims no address. */
  mark(vlan: number): void {
    this.send(vlan, markerFrame(this.mac));
  }

  /** VLANs in which the bridge forwards the host's MAC to its port (or `port`); 0 on a plain bridge. */
  forwardedIn(port = this.port): number[] {
    return findFdb(this.#node, BRIDGE, this.mac)
      .filter((line) => line.ifname === port)
      .map((line) => line.vlan ?? 0)
      .sort((a, b) => a - b);
  }

  /** Waits until the bridge has learned the MAC in a VLAN. By then the program has seen the frame. */
  async forwarded(vlan: number, port = this.port): Promise<void> {
    await until(
      `${this.mac} in the FDB of VLAN ${vlan}`,
      () => this.forwardedIn(port),
      (vlans) => vlans.includes(vlan),
    );
  }
}

// A hypervisor in a namespace: a bridge, optionally a VXLAN port, and VMs in namespaces of their own.
import { randomBytes } from 'node:crypto';
import { arpFrame, markerFrame, naFrame, sendFrames } from './frames.ts';
import { Netns } from './netns.ts';
import type { Result } from './run.ts';
import type { Scope } from './scope.ts';

export interface VxlanOptions {
  readonly vni: number;
  /** Address of the tunnel's near end. */
  readonly local: string;
  /** True by default: ARP and ND are answered from the bridge's neighbors. */
  readonly neighSuppress?: boolean;
}

export interface NodeOptions {
  readonly name: string;
  readonly bridge?: string;
  /** Addresses of the bridge itself, with prefix length; a pure layer-2 bridge has none. */
  readonly addresses?: readonly string[];
  readonly vxlan?: VxlanOptions;
}

export interface VmOptions {
  /**
   * 1 to 9999; names and addresses are derived from it: 101 is tap101i0, 02:00:00:00:01:01, 10.1.1.1,
   * 2001:db8:1::101.
   */
  readonly id: number;
  readonly port?: string;
  readonly mac?: string;
  readonly ip?: string;
  readonly ip6?: string;
}

/** A hypervisor with one bridge. */
export class Node {
  readonly name: string;
  readonly bridge: string;
  readonly netns: Netns;
  readonly scope: Scope;
  /** The tunnel port's name, when there is one. */
  readonly tunnel: string | undefined;
  /** Called when a VM's port is in the bridge, before the VM can send. */
  whenPlugged: (port: string) => void = () => undefined;

  constructor(scope: Scope, options: NodeOptions) {
    this.scope = scope;
    this.name = options.name;
    this.bridge = options.bridge ?? 'br0';
    this.netns = new Netns(scope, options.name);
    // A MAC of its own: otherwise the bridge takes a port's, and changes it when that port goes, which flushes every
    // neighbor.
    const mac = `02:fe:${randomBytes(4)
      .toString('hex')
      .replace(/(..)(?!$)/g, '$1:')}`;
    // No IPv6 link-local address on the bridge and no multicast snooping: only the VMs send.
    const lines = [
      `link add ${this.bridge} address ${mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      // Mode and state in one request bring the link up first, and then it has an address.
      `link set ${this.bridge} addrgenmode none`,
      `link set ${this.bridge} up`,
      ...(options.addresses ?? []).map((address) => addressLine(address, this.bridge)),
    ];
    this.netns.ipBatch(lines);
    this.tunnel = options.vxlan === undefined ? undefined : this.#addTunnel(options.vxlan);
  }

  #addTunnel(vxlan: VxlanOptions): string {
    const name = `vxlan${vxlan.vni}`;
    this.netns.ipBatch([
      `link add ${name} type vxlan id ${vxlan.vni} local ${vxlan.local} dstport 4789 nolearning`,
      `link set ${name} master ${this.bridge} addrgenmode none`,
      `link set ${name} up`,
    ]);
    const suppress = vxlan.neighSuppress === false ? 'off' : 'on';
    this.netns.run('bridge', 'link', 'set', 'dev', name, 'neigh_suppress', suppress, 'learning', 'off');
    return name;
  }

  /** A VM on this node, with one interface and its addresses. */
  addVm(options: VmOptions): Vm {
    return new Vm(this, options);
  }
}

/** A virtual machine: a namespace, whose eth0 is the peer of a port of its node's bridge. */
export class Vm {
  readonly netns: Netns;
  readonly port: string;
  readonly mac: string;
  readonly ip: string;
  readonly ip6: string;
  #node: Node;

  constructor(node: Node, options: VmOptions) {
    const { id } = options;
    const high = Math.floor(id / 100);
    const low = id % 100;
    this.port = options.port ?? `tap${id}i0`;
    this.mac = options.mac ?? `02:00:00:00:${twoDigits(high)}:${twoDigits(low)}`;
    this.ip = options.ip ?? `10.1.${high}.${low}`;
    this.ip6 = options.ip6 ?? `2001:db8:1::${id}`;
    this.netns = new Netns(node.scope, `vm${id}`);
    this.#node = node;
    this.#plug();
  }

  /** The node on which the VM runs now. */
  get node(): Node {
    return this.#node;
  }

  /** Deletes the VM's port, as a hypervisor does when a VM is stopped. */
  unplug(): void {
    this.#node.netns.run('ip', 'link', 'del', this.port);
  }

  /** Live migration: the port is deleted here and created there, with the same MAC and addresses. */
  moveTo(node: Node): void {
    this.unplug();
    this.#node = node;
    this.#plug();
  }

  /**
   * Resolves an address by ARP. True when it is answered. The sender is this VM, so this is a sighting of it as well.
   */
  arping(ip: string, timeoutS = 1): boolean {
    const argv = ['arping', '-q', '-i', 'eth0', '-S', this.ip, '-C', '1', '-c', '3', '-W', '0.2'];
    const result = this.netns.tryRun([...argv, '-w', String(timeoutS), ip]);
    return result.code === 0;
  }

  /** Sends one ARP request for `ip`, without waiting for the answer. */
  ask(ip: string): void {
    this.send(arpFrame({ operation: 'request', senderMac: this.mac, senderIp: this.ip, targetIp: ip }));
  }

  /** Announces the VM's IPv4 address: a gratuitous ARP, as hosts send it when they come up or have moved. */
  gratuitous(ip = this.ip): void {
    this.send(arpFrame({ operation: 'request', senderMac: this.mac, senderIp: ip, targetIp: ip }));
  }

  /** Announces the VM's IPv6 address: an unsolicited Neighbor Advertisement to all nodes. */
  sendNa(ip = this.ip6): void {
    this.send(naFrame({ target: ip, targetMac: this.mac }));
  }

  /** Resolves an IPv6 address by a Neighbor Solicitation (ndisc6). True when it is answered. */
  ndisc(ip: string, timeoutMs = 500): boolean {
    const argv = ['ndisc6', '-q', '-1', '-r', '2', '-w', String(timeoutMs), '-s', this.ip6, ip, 'eth0'];
    return this.netns.tryRun(argv).code === 0;
  }

  /** Sends a frame that reaches every port of the segment. Earlier frames have arrived when it does. */
  sendMarker(): void {
    this.send(markerFrame(this.mac));
  }

  /** Sends frames unchanged. */
  send(...frames: Buffer[]): void {
    sendFrames(this.netns, 'eth0', frames);
  }

  run(...argv: string[]): Result {
    return this.netns.tryRun(argv);
  }

  #plug(): void {
    this.#node.netns.ipBatch([
      `link add ${this.port} type veth peer name eth0 address ${this.mac} netns ${this.netns.name}`,
      `link set ${this.port} master ${this.#node.bridge} addrgenmode none`,
      `link set ${this.port} up`,
    ]);
    this.#node.whenPlugged(this.port);
    this.netns.ipBatch([
      'link set eth0 up',
      addressLine(`${this.ip}/16`, 'eth0'),
      addressLine(`${this.ip6}/64`, 'eth0'),
    ]);
  }
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

/** IPv6 without Duplicate Address Detection, which would take a second. */
function addressLine(address: string, device: string): string {
  return `address add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`;
}

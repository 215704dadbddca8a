// Where most tests about hosts begin: VMs on a node with a tunnel port, or on the nodes of a fabric, and snoopy attached
// to their ports.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Fabric, type FabricOptions } from './fabric.ts';
import type { MacIpRoute } from './frr.ts';
import { Node, type Vm } from './node.ts';
import { findNeighbor, type NeighborLine } from './oracles.ts';
import { Scope } from './scope.ts';
import { type Config, outputOf, type Report, Snoopy } from './snoopy.ts';
import { until } from './wait.ts';

const BRIDGE = 'br0';

type Test = Pick<TestContext, 'after'>;

export interface SceneOptions {
  /** Addresses of the bridge itself; none by default. */
  readonly addresses?: readonly string[];
  /** The configuration of the bridge, without its name. */
  readonly bridge?: Config;
  readonly runtime?: Config;
  /** Number of VMs at the start; none by default. VM 1 has the id 101. */
  readonly vms?: number;
}

/** A node with a VXLAN port. `writeRemote` stands for zebra and the other nodes. */
export class Scene {
  readonly scope = new Scope();
  readonly node: Node;
  readonly snoopy: Snoopy;
  readonly vms: readonly Vm[];

  /** Ends with the test. A first run has attached to the ports. */
  constructor(t: Test, { addresses = [], bridge = {}, runtime = {}, vms = 0 }: SceneOptions = {}) {
    t.after(() => this.scope.close());
    this.node = new Node(this.scope, { name: 'n1', addresses, vxlan: { vni: 100, local: '192.0.2.1' } });
    this.vms = Array.from({ length: vms }, (_, i) => this.node.addVm({ id: 101 + i }));
    this.snoopy = new Snoopy(this.scope, this.node.netns, {
      runtime,
      bridges: [{ name: BRIDGE, ...bridge }],
    });
    this.run();
  }

  /** VM `number` of those at the start, from 1 on. */
  vm(number: number): Vm {
    const vm = this.vms[number - 1];
    assert.ok(vm, `no VM ${number}`);
    return vm;
  }

  /** A run that must succeed. */
  run(...args: string[]): Report {
    return succeed(this.snoopy, ...args);
  }

  neighbor(ip: string): NeighborLine | undefined {
    return findNeighbor(this.node.netns, BRIDGE, ip);
  }

  macOf(ip: string): string | undefined {
    return this.neighbor(ip)?.lladdr;
  }

  /** Waits until the neighbor of an address has a MAC, or until there is none. */
  async has(ip: string, mac: string | undefined): Promise<void> {
    await until(
      `${mac ?? 'no neighbor'} for ${ip}`,
      () => this.macOf(ip),
      (found) => found === mac,
    );
  }

  /** What zebra writes for a host of another node. */
  writeRemote(mac: string, ...ips: readonly string[]): void {
    const { netns, tunnel = '' } = this.node;
    netns.run('bridge', ...`fdb replace ${mac} dev ${tunnel} master dynamic extern_learn`.split(' '));
    for (const ip of ips) {
      const entry = `neigh replace ${ip} lladdr ${mac} dev ${BRIDGE} nud noarp extern_learn proto zebra`;
      netns.run('ip', ...entry.split(' '));
    }
  }

  /** What zebra does when the MAC of such a host is seen on a local port: within a fifth of a second. */
  withdrawRemote(...ips: readonly string[]): void {
    for (const ip of ips) this.node.netns.run('ip', 'neigh', 'del', ip, 'dev', BRIDGE);
  }
}

/** A fabric with snoopy on each node. */
export class FabricScene {
  readonly fabric: Fabric;
  readonly #snoopies: readonly Snoopy[];

  private constructor(fabric: Fabric) {
    this.fabric = fabric;
    this.#snoopies = fabric.nodes.map(({ node }) => new Snoopy(fabric.scope, node.netns));
  }

  /** Ends with the test. A first run on each node has attached to the ports. */
  static async start(t: Test, options: FabricOptions = {}): Promise<FabricScene> {
    const fabric = await Fabric.start(options);
    t.after(() => fabric.close());
    const scene = new FabricScene(fabric);
    for (const { number } of fabric.nodes) scene.run(number);
    return scene;
  }

  vm(node: number, number: number): Vm {
    return this.fabric.vm(node, number);
  }

  snoopy(node: number): Snoopy {
    const snoopy = this.#snoopies[node - 1];
    assert.ok(snoopy, `no node ${node}`);
    return snoopy;
  }

  /** A run on a node that must succeed. */
  run(node: number, ...args: string[]): Report {
    return succeed(this.snoopy(node), ...args);
  }

  neighbor(node: number, ip: string): NeighborLine | undefined {
    return findNeighbor(this.fabric.node(node).node.netns, BRIDGE, ip);
  }

  /** Waits until every node has exactly one route to an address, by a node, or none. */
  async routedBy(ip: string, node: number | undefined): Promise<void> {
    const expected = node === undefined ? '' : this.fabric.node(node).address;
    for (const { frr, number } of this.fabric.nodes) {
      await until<MacIpRoute[]>(
        `node ${number} to have ${node === undefined ? 'no route' : `one route by node ${node}`} to ${ip}`,
        () => frr.routesTo(ip),
        (routes) => routes.map(({ nextHop }) => nextHop).join() === expected,
      );
    }
  }

  /** Waits until the kernel of a node has zebra's entry for an address, with this MAC. */
  async zebraHas(node: number, ip: string, mac: string): Promise<void> {
    await until(
      `zebra's entry for ${ip} of ${mac} at node ${node}`,
      () => this.neighbor(node, ip),
      (line) => line?.protocol === 'zebra' && line.lladdr === mac,
    );
  }
}

function succeed(snoopy: Snoopy, ...args: string[]): Report {
  const result = snoopy.reconcile(...args);
  assert.equal(result.code, 0, outputOf(result));
  return result.report;
}

/** `kind IP MAC` of each change, in the order of the addresses. */
export function changesOf({ neighbors }: Report): string[] {
  return neighbors.changes.map(({ kind, ip, mac }) => `${kind} ${ip} ${mac}`).sort();
}

/** A VM opens a connection to each address: it resolves it, and answers when it is resolved. */
export function speakTo(vm: Vm, ...ips: readonly string[]): void {
  for (const ip of ips) vm.run('bash', '-c', `echo >/dev/udp/${ip}/9`);
}

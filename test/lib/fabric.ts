// A small EVPN fabric: nodes with FRR and one VNI, an underlay between them, VMs on each.
import { Frr } from './frr.ts';
import { Netns } from './netns.ts';
import { Node, type Vm } from './node.ts';
import { floodList } from './oracles.ts';
import { Scope } from './scope.ts';
import { until } from './wait.ts';

export interface FabricOptions {
  /** 2 by default. */
  readonly nodes?: number;
  /** VMs on each node; 2 by default. */
  readonly vms?: number;
  readonly vni?: number;
  readonly neighSuppress?: boolean;
  /** Addresses of each node's bridge by the node's number, from 1 on. */
  readonly addresses?: (node: number) => readonly string[];
}

/** A node of a fabric: node `number` (from 1 on) has the tunnel address 192.0.2.<number>. */
export interface FabricNode {
  readonly number: number;
  readonly address: string;
  readonly node: Node;
  readonly frr: Frr;
  /** VM number m of node n has the id n * 100 + m: 10.1.n.m and 02:00:00:00:0n:0m. */
  readonly vms: readonly Vm[];
}

const ASN = 65_000;

/** Nodes that have each other's routes. */
export class Fabric {
  readonly scope: Scope;
  readonly vni: number;
  readonly nodes: readonly FabricNode[];

  private constructor(scope: Scope, vni: number, nodes: readonly FabricNode[]) {
    this.scope = scope;
    this.vni = vni;
    this.nodes = nodes;
  }

  /** Builds a fabric and waits until every node floods to every other. */
  static async start(options: FabricOptions = {}): Promise<Fabric> {
    const scope = new Scope();
    try {
      const count = options.nodes ?? 2;
      const vni = options.vni ?? 100;
      const underlay = new Netns(scope, 'underlay');
      underlay.ipBatch(['link add br0 type bridge', 'link set br0 addrgenmode none up']);
      const nodes: FabricNode[] = [];
      for (let number = 1; number <= count; number++) {
        nodes.push(await addNode(scope, underlay, number, count, vni, options));
      }
      for (const { frr } of nodes) await frr.established(count - 1);
      for (const { node } of nodes) {
        await until(
          `${node.name} to flood to ${count - 1} tunnel ends`,
          () => floodList(node.netns, `vxlan${vni}`),
          (list) => list.length === count - 1,
        );
      }
      return new Fabric(scope, vni, nodes);
    } catch (error) {
      scope.close();
      throw error;
    }
  }

  /** What kernel and FRR of each node have, to explain a failure. */
  describe(): string {
    const parts = this.nodes.flatMap(({ node: { name, netns }, frr }) => [
      `${name}:`,
      netns.run('ip', '-details', 'neigh', 'show', 'dev', 'br0', 'nud', 'all'),
      netns.run('bridge', 'fdb', 'show', 'br', 'br0'),
      frr.show('show evpn arp-cache vni all'),
      frr.show('show evpn mac vni all'),
      frr.show('show bgp l2vpn evpn route type macip'),
    ]);
    return parts.join('\n');
  }

  /** Node `number`, from 1 on. */
  node(number: number): FabricNode {
    const node = this.nodes[number - 1];
    if (node === undefined) throw new RangeError(`there is no node ${number}`);
    return node;
  }

  /** VM `number` of node `node`, both from 1 on. */
  vm(node: number, number: number): Vm {
    const vm = this.node(node).vms[number - 1];
    if (vm === undefined) throw new RangeError(`node ${node} has no VM ${number}`);
    return vm;
  }

  close(): void {
    this.scope.close();
  }
}

async function addNode(
  scope: Scope,
  underlay: Netns,
  number: number,
  count: number,
  vni: number,
  options: FabricOptions,
): Promise<FabricNode> {
  const address = tunnelAddress(number);
  const node = new Node(scope, {
    name: `n${number}`,
    addresses: options.addresses?.(number) ?? [],
    vxlan: { vni, local: address, neighSuppress: options.neighSuppress ?? true },
  });
  underlay.ipBatch([
    `link add n${number} type veth peer name underlay netns ${node.netns.name}`,
    `link set n${number} master br0 addrgenmode none up`,
  ]);
  node.netns.ipBatch([`address add ${address}/24 dev underlay`, 'link set underlay up']);
  const peers = [];
  for (let other = 1; other <= count; other++) {
    if (other !== number) peers.push({ address: tunnelAddress(other), asn: ASN, passive: number < other });
  }
  const frr = await Frr.start(scope, node.netns, { asn: ASN, routerId: address, peers });
  node.whenPlugged = (port) => frr.awaitPort(port);
  const vms = Array.from({ length: options.vms ?? 2 }, (_, i) => node.addVm({ id: number * 100 + i + 1 }));
  return { number, address, node, frr, vms };
}

function tunnelAddress(number: number): string {
  return `192.0.2.${number}`;
}

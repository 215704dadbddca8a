// EVPN multihoming: two leafs with a bond each, which are one Ethernet segment, a host on that segment, and a remote node.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type Check, complaintsOf } from '../lib/doctor.ts';
import { Frr, type FrrVersion } from '../lib/frr.ts';
import { Netns } from '../lib/netns.ts';
import { listNeighbors } from '../lib/oracles.ts';
import type { Background } from '../lib/run.ts';
import { outputOf, type StatusBinding } from '../lib/snoopy.ts';
import { PATIENCE, until } from '../lib/wait.ts';
import { VlanNode } from './vlans.ts';

const ASN = 65_000;
const VLAN = 10;
const COUNT = 3;
/** The same LACP system on both leafs, so that the host takes them for one switch. */
const SYSTEM = '44:38:39:ff:00:01';

/** Seconds. A host that is silent for so long may lose its route at the earliest after the first, and must after all three. */
export const AGEING_S = 20;
export const MAX_AGE_S = 30;
export const HOLD_S = 10;

const BRIDGE = { name: 'br0', max_age: `${MAX_AGE_S}s`, probe: { after: '10s' } };

/** Sends a gratuitous ARP every two seconds: on each device in turn, below the bond, so that its hash does not choose. */
const SENDER = `
import itertools, socket, sys, time
mac, ip = bytes.fromhex(sys.argv[1].replace(':', '')), socket.inet_aton(sys.argv[2])
frame = b'\\xff' * 6 + mac + bytes.fromhex('08060001080006040001') + mac + ip + bytes(6) + ip + bytes(18)
sockets = []
for device in sys.argv[3:]:
    sockets.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    sockets[-1].bind((device, 0))
for one in itertools.cycle(sockets):
    one.send(frame)
    time.sleep(2)
`;

/** A leaf. Its port of the segment is bond1, its neighbor device br0.10. */
export interface Leaf {
  readonly node: VlanNode;
  readonly frr: Frr;
  readonly address: string;
  /** The host's end of the link to this leaf. */
  readonly device: string;
  /** Changes of the neighbor table. */
  readonly monitor: Background;
}

/** A host's story, as `explain` tells it. */
interface Story {
  readonly vlan: number;
  readonly ok: boolean;
  readonly state: string;
  readonly frr: { readonly neighbor: { readonly isProxy: boolean } | null } | null;
}

/** What happened in the neighbor tables of the leafs and at the remote node. */
export interface Events {
  readonly neighbors: number;
  readonly updates: number;
}

export class Segment {
  readonly ip = '10.1.0.1';
  readonly mac = '02:00:00:00:aa:01';
  readonly leafs: readonly [Leaf, Leaf];
  readonly host: Netns;
  readonly #remote: Frr;
  #sender: Background | undefined;

  private constructor(leafs: readonly [Leaf, Leaf], host: Netns, remote: Frr) {
    this.leafs = leafs;
    this.host = host;
    this.#remote = remote;
  }

  /** Builds the fabric, with snoopy listening on both leafs. It ends with the test. */
  static async start(t: Pick<TestContext, 'after'>, version: FrrVersion): Promise<Segment> {
    const config = { bridges: [BRIDGE] };
    const nodes = Array.from({ length: COUNT }, () => new VlanNode(t, { aware: true, config }));
    const [first, second, third] = nodes;
    assert.ok(first && second && third);
    const { scope } = first;
    const underlay = new Netns(scope, 'underlay');
    underlay.ipBatch(['link add br0 type bridge', 'link set br0 addrgenmode none up']);
    const host = new Netns(scope, 'host');
    const bond = 'mode 802.3ad miimon 100 lacp_rate fast';
    host.ipBatch([`link add bond0 address 02:00:00:00:aa:01 type bond ${bond}`]);
    const frrs: Frr[] = [];
    for (const [i, node] of nodes.entries()) frrs.push(await startNode(node, underlay, i + 1, version));
    const leafs = [first, second].map((node, i): Leaf => {
      const frr = frrs[i];
      assert.ok(frr);
      const device = `eth${i + 1}`;
      node.netns.ipBatch([
        `link set br0 type bridge ageing_time ${AGEING_S * 100}`,
        `link add bond1 type bond ${bond} ad_actor_system ${SYSTEM}`,
        `link add member type veth peer name ${device} netns ${host.name}`,
        'link set member master bond1',
        'link set bond1 master br0 addrgenmode none',
        'link set bond1 up',
        'link set member up',
      ]);
      node.setPvid('bond1', VLAN);
      host.ipBatch([`link set ${device} master bond0`, `link set ${device} up`]);
      const hold = [`evpn mh mac-holdtime ${HOLD_S}`, `evpn mh neigh-holdtime ${HOLD_S}`];
      const segment = ['interface bond1', 'evpn mh es-id 1', `evpn mh es-sys-mac ${SYSTEM}`];
      frr.configure('evpn mh startup-delay 0', ...hold, ...segment);
      node.snoopy.beside(frr);
      node.reconcile();
      node.snoopy.startReconcile('--listen', '2h');
      const monitor = node.netns.start('ip', 'monitor', 'neigh', 'dev', `br0.${VLAN}`);
      return { node, frr, address: addressOf(i + 1), device, monitor };
    });
    host.ipBatch([
      'link set bond0 addrgenmode none',
      'address add 10.1.0.1/24 dev bond0',
      'link set bond0 up',
    ]);
    const [one, two] = leafs;
    const remote = frrs[2];
    assert.ok(one && two && remote);
    return new Segment([one, two], host, remote);
  }

  /** Has the host announce its address through these leafs in turn, until it is told otherwise. */
  async announceThrough(...leafs: readonly Leaf[]): Promise<void> {
    await this.#sender?.stop('SIGKILL');
    const devices = leafs.map(({ device }) => device);
    this.#sender =
      devices.length === 0
        ? undefined
        : this.host.start('python3', '-c', SENDER, this.mac, this.ip, ...devices);
  }

  /** The nodes whose MAC/IP routes for the host the remote node has, with the MAC if it is not the host's. */
  advertisers(): string[] {
    return this.#remote
      .routesTo(this.ip)
      .map(({ nextHop, mac }) => (mac === this.mac ? nextHop : `${nextHop} with ${mac}`))
      .sort();
  }

  async advertisedBy(...leafs: readonly Leaf[]): Promise<void> {
    const addresses = leafs.map(({ address }) => address).join();
    const what = `routes by ${addresses === '' ? 'no leaf' : addresses}`;
    // Real seconds: FRR's timers are no slower where the processor is emulated.
    const timeoutMs = (4 * 60_000) / PATIENCE;
    await until(
      what,
      () => this.advertisers().join(),
      (found) => found === addresses,
      { timeoutMs, everyMs: 500 },
    );
  }

  /** Counts what happens in a time in which nothing is to happen. */
  async count(seconds: number): Promise<Events> {
    const before = this.#events();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const after = this.#events();
    return { neighbors: after.neighbors - before.neighbors, updates: after.updates - before.updates };
  }

  #events(): Events {
    interface Peer {
      readonly messageStats: { readonly updatesRecv: number };
    }
    const lines = this.leafs.flatMap(({ monitor }) => monitor.stdout.split('\n'));
    const peers = Object.values(this.#remote.json<Record<string, Peer>>('show bgp neighbors json'));
    return {
      neighbors: lines.filter((line) => line.includes(`${this.ip} `)).length,
      updates: peers.reduce((sum, { messageStats }) => sum + (messageStats?.updatesRecv ?? 0), 0),
    };
  }

  /** The host's binding at a leaf, if it has one. */
  binding({ node }: Leaf): StatusBinding | undefined {
    const result = node.snoopy.run('status', '--format', 'json');
    assert.equal(result.code, 0, outputOf(result));
    const { bindings } = JSON.parse(result.stdout) as { readonly bindings: StatusBinding[] };
    return bindings.find(({ ip }) => ip === this.ip);
  }

  /** What `doctor` complains about at a leaf, once FRR answers it in time. */
  async complaints({ node }: Leaf): Promise<string[]> {
    const read = (): readonly Check[] =>
      (JSON.parse(node.snoopy.run('doctor', '--format', 'json').stdout) as { checks: Check[] }).checks;
    const hasAnswered = (checks: readonly Check[]): boolean =>
      !checks.some(({ id, status }) => id === 'frr' && status === 'failure');
    return complaintsOf(await until('FRR to answer doctor', read, hasAnswered));
  }

  /** The state of the host's story at a leaf, and whether the leaf is a proxy for it, once nothing is wrong with it. */
  async told({ node }: Leaf): Promise<readonly [string | undefined, boolean | undefined]> {
    const read = (): Story | undefined => {
      const { stdout } = node.snoopy.run('explain', this.ip, '--format', 'json');
      return (JSON.parse(stdout) as { stories: Story[] }).stories.find(({ vlan }) => vlan === VLAN);
    };
    const story = await until('the story to be right', read, (found) => found?.ok === true);
    return [story?.state, story?.frr?.neighbor?.isProxy];
  }

  /** `STATE by PROTOCOL` of the host's neighbor at a leaf. */
  entry({ node }: Leaf): string | undefined {
    const line = listNeighbors(node.netns, `br0.${VLAN}`).find(({ dst }) => dst === this.ip);
    return line && `${line.state} by ${line.protocol ?? 'the kernel'}`;
  }

  /** The sequence numbers that the leafs have for the host: they grow when it is taken for moved. */
  sequences(): number[] {
    interface Entry {
      readonly localSequence?: number;
      readonly remoteSequence?: number;
    }
    return this.leafs.flatMap(({ frr }) => {
      const entry = frr.json<Entry>(`show evpn arp-cache vni ${VLAN} ip ${this.ip} json`);
      return [entry.localSequence ?? 0, entry.remoteSequence ?? 0];
    });
  }
}

function addressOf(number: number): string {
  return `192.0.2.${number}`;
}

async function startNode(node: VlanNode, underlay: Netns, number: number, version: FrrVersion): Promise<Frr> {
  const address = addressOf(number);
  underlay.ipBatch([
    `link add n${number} type veth peer name underlay netns ${node.netns.name}`,
    `link set n${number} master br0 addrgenmode none up`,
  ]);
  node.netns.ipBatch([`address add ${address}/24 dev underlay`, 'link set underlay up']);
  node.addSvi(VLAN);
  node.addVxlan(VLAN, address);
  const others = Array.from({ length: COUNT }, (_, i) => i + 1).filter((other) => other !== number);
  const peers = others.map((other) => ({ address: addressOf(other), asn: ASN, passive: number < other }));
  return await Frr.start(node.scope, node.netns, { asn: ASN, routerId: address, peers, version });
}

// Two nodes, a tunnel between them, and ports with hosts that exist only as frames.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { arpFrame, naFrame } from '../lib/frames.ts';
import { Netns } from '../lib/netns.ts';
import { Node } from '../lib/node.ts';
import type { Background } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';
import { sleepSync } from '../lib/wait.ts';
import type { Place } from './soak-model.ts';

const PYTHON = '/usr/bin/python3';
const HOSTS = fileURLToPath(new URL('../../../test/safety/hosts.py', import.meta.url));
const VNI = 100;

const SENDER = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
for line in sys.stdin:
    device, frame = line.split()
    s.sendto(bytes.fromhex(frame), (device, 0))
`;

/** A message of a host behind a port. */
export interface Announcement {
  readonly place: Place;
  readonly mac: string;
  readonly ip: string;
}

/** Two nodes whose bridges learn through the tunnel, without FRR: frames sent on one are seen on the other. */
export function joinNodes(scope: Scope, addresses: readonly (readonly string[])[]): Node[] {
  const nodes = addresses.map((own, at) => {
    const vxlan = { vni: VNI, local: tunnelAddress(at), neighSuppress: false };
    return new Node(scope, { name: `n${at + 1}`, addresses: own, vxlan });
  });
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new RangeError('there must be two nodes');
  first.netns.ipBatch([`link add underlay type veth peer name underlay netns ${second.netns.name}`]);
  for (const [at, { netns, tunnel = '' }] of nodes.entries()) {
    netns.ipBatch([`address add ${tunnelAddress(at)}/24 dev underlay`, 'link set underlay up']);
    netns.run('bridge', 'link', 'set', 'dev', tunnel, 'learning', 'on');
    const flood = ['00:00:00:00:00:00', 'dev', tunnel, 'dst', tunnelAddress(1 - at)];
    netns.run('bridge', 'fdb', 'append', ...flood);
  }
  return nodes;
}

function tunnelAddress(at: number): string {
  return `192.0.2.${at + 1}`;
}

export class World {
  readonly nodes: readonly Node[];
  readonly #far: Netns;
  readonly #table: string;
  readonly #answerer: Background;

  /** `ageingS`: how long the bridges remember a MAC. */
  constructor(scope: Scope, nodes: readonly Node[], ageingS: number) {
    this.nodes = nodes;
    for (const { netns, bridge } of nodes) {
      netns.run('ip', 'link', 'set', bridge, 'type', 'bridge', 'ageing_time', String(ageingS * 100));
    }
    this.#far = new Netns(scope, 'hosts');
    // The kernel itself sends nothing.
    this.#far.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1, 'net/ipv6/conf/default/disable_ipv6': 1 });
    this.#table = join(createTempDir(scope, 'hosts'), 'table.json');
    this.setAnswers([]);
    this.#answerer = this.#far.start(PYTHON, HOSTS, this.#table);
  }

  async ready(): Promise<void> {
    await this.#answerer.printed(/listening/);
  }

  node(at: number): Node {
    const node = this.nodes[at];
    if (node === undefined) throw new RangeError(`there is no node ${at}`);
    return node;
  }

  addPort({ node, port }: Place): void {
    const { netns, bridge } = this.node(node);
    const device = deviceOf({ node, port });
    netns.ipBatch([
      `link add ${port} type veth peer name ${device} netns ${this.#far.name}`,
      `link set ${port} addrgenmode none`,
      `link set ${port} master ${bridge} up`,
    ]);
    this.#far.ipBatch([`link set ${device} up`]);
    this.#awaitForwarding({ node, port });
  }

  deletePort({ node, port }: Place): void {
    this.node(node).netns.run('ip', 'link', 'del', port);
  }

  /** Sets the link of a port down and up again; the bridge forgets the hosts behind it. */
  flapPort({ node, port }: Place): void {
    this.node(node).netns.ipBatch([`link set ${port} down`, `link set ${port} up`]);
    this.#awaitForwarding({ node, port });
  }

  /** Hosts announce themselves, in this order: gratuitous ARP, or an unsolicited Neighbor Advertisement. */
  announce(announcements: readonly Announcement[]): void {
    if (announcements.length === 0) return;
    const lines = announcements.map(({ place, mac, ip }) => {
      const frame = ip.includes(':')
        ? naFrame({ target: ip, targetMac: mac })
        : arpFrame({ operation: 'request', senderMac: mac, senderIp: ip, targetIp: ip });
      return `${deviceOf(place)} ${frame.toString('hex')}`;
    });
    const sent = this.#far.tryRun([PYTHON, '-c', SENDER], { input: lines.join('\n') });
    if (sent.code !== 0) throw new Error(`Cannot send: ${sent.stderr}`);
  }

  /** The hosts that answer from now on, and their addresses. */
  setAnswers(hosts: readonly Announcement[]): void {
    const table: Record<string, Record<string, string[]>> = {};
    for (const { place, mac, ip } of hosts) {
      const device = deviceOf(place);
      table[device] ??= {};
      const macs = table[device];
      macs[mac] = [...(macs[mac] ?? []), ip];
    }
    writeFileSync(`${this.#table}.new`, JSON.stringify(table));
    renameSync(`${this.#table}.new`, this.#table);
  }

  /** Blocks until a port that has just come up forwards: until then the bridge drops a host's frames. */
  #awaitForwarding({ node, port }: Place): void {
    const deadline = performance.now() + 5_000;
    while (!this.node(node).netns.run('bridge', 'link', 'show', 'dev', port).includes('state forwarding')) {
      if (performance.now() > deadline) throw new Error(`Port ${port} does not forward after 5 s`);
      sleepSync(5);
    }
  }
}

/** The hosts' end of a port. */
function deviceOf({ node, port }: Place): string {
  return `n${node + 1}-${port}`;
}

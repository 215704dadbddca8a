// A container with a bridge, a tunnel, and a host behind a port, for the role and the module.
import { cpSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Host } from '../kernel/machine.ts';
import { type BootOptions, Container } from '../lib/container.ts';
import { arpFrame } from '../lib/frames.ts';
import { Netns } from '../lib/netns.ts';
import { attachedPrograms, listOwnNeighbors } from '../lib/oracles.ts';
import type { Background } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { PRODUCT } from '../lib/snoopy.ts';

const NODE_MODULES = fileURLToPath(new URL('../../../node_modules', import.meta.url));

export const BRIDGE = 'vmbr0';
export const TUNNEL = 'vxlan100';
export const PORT = 'tap1';
/** Of the host behind the port. */
export const HOST = { ip: '10.1.0.1', mac: '02:00:00:00:00:01' };

const TALKER = `
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
while True:
    s.send(bytes.fromhex(sys.argv[2]))
    time.sleep(0.1)
`;

/** A booted node. */
export class EvpnNode {
  readonly container: Container;
  readonly #far: Netns;
  readonly #host: Host;

  private constructor(container: Container, far: Netns) {
    this.container = container;
    this.#far = far;
    this.#host = new Host(container.netns, far, 1, BRIDGE);
  }

  static async boot(scope: Scope, name: string, options: BootOptions = {}): Promise<EvpnNode> {
    const container = await Container.boot(scope, name, options);
    const far = new Netns(scope, `${name}-host`);
    container.netns.ipBatch([
      `link add ${BRIDGE} address 02:ff:00:00:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${BRIDGE} addrgenmode none`,
      `link set ${BRIDGE} up`,
      `link add ${TUNNEL} type vxlan id 100 local 192.0.2.1 dstport 4789 nolearning`,
      `link set ${TUNNEL} addrgenmode none`,
      `link set ${TUNNEL} master ${BRIDGE} up`,
    ]);
    return new EvpnNode(container, far);
  }

  /** The host announces its address by a gratuitous ARP; returns when the bridge has seen it. */
  async announce(): Promise<void> {
    await this.#host.announceAndWait();
  }

  /** The host announces it ten times a second, until the process is killed. */
  announceAgainAndAgain(): Background {
    const { ip, mac } = HOST;
    const frame = arpFrame({ operation: 'request', senderMac: mac, senderIp: ip, targetIp: ip });
    return this.#far.start('/usr/bin/python3', '-c', TALKER, 'e1', frame.toString('hex'));
  }

  /** Whether a program is attached to the port. */
  get isAttached(): boolean {
    return attachedPrograms(this.container.netns, PORT).length > 0;
  }

  /** Addresses of snoopy's neighbors on the bridge, by ip. */
  get neighbors(): string[] {
    return listOwnNeighbors(this.container.netns, BRIDGE).map((line) => `${line.dst} ${line.lladdr}`);
  }

  /** Serves a directory by HTTP to the node itself. */
  serve(directory: string, port: number): void {
    this.container.netns.start(
      ...this.container.argv([
        'python3',
        '-m',
        'http.server',
        '--bind',
        '127.0.0.1',
        '--directory',
        directory,
        `${port}`,
      ]),
    );
  }

  /** Copies the built product itself into the node, without a package, and returns its path inside. */
  putProduct(): string {
    const inside = '/opt/snoopy/dist/snoopy.cjs';
    const path = join(this.container.root, inside);
    mkdirSync(dirname(path), { recursive: true });
    cpSync(PRODUCT, path);
    for (const name of ['koffi', '@koromix']) {
      cpSync(join(NODE_MODULES, name), join(this.container.root, 'opt/snoopy/node_modules', name), {
        recursive: true,
      });
    }
    return inside;
  }
}

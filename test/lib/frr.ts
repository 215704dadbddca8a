// FRR's zebra and bgpd inside a namespace, and their JSON output.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Netns } from './netns.ts';
import { type Background, type Result, run } from './run.ts';
import type { Scope } from './scope.ts';
import { createTempDir } from './temp.ts';
import { sleepSync, until } from './wait.ts';

/** Debian 12's FRR 8.4, which is installed, or Debian 13's. */
export type FrrVersion = '8.4' | '10.3';

/** What tests run beside unless they choose one: the switch is the variable SNOOPY_FRR. */
const FRR_VERSION = readVersion(process.env['SNOOPY_FRR'] ?? '8.4');

/** Debian 13's FRR with its libraries, as test/setup.sh has unpacked it. */
const DEBIAN_13 = fileURLToPath(new URL('../../../dist/roots/frr', import.meta.url));

export interface Peer {
  readonly address: string;
  readonly asn: number;
  /** True: waits for the other end to connect. If both ends connect at once, the session can take seconds longer. */
  readonly passive: boolean;
}

export interface FrrOptions {
  readonly asn: number;
  readonly routerId: string;
  readonly peers: readonly Peer[];
  /** Options of zebra, such as the size of its netlink buffer. */
  readonly zebra?: readonly string[];
  /** What SNOOPY_FRR names by default, else 8.4. */
  readonly version?: FrrVersion;
}

/** A type-2 route with an IP address. */
export interface MacIpRoute {
  readonly mac: string;
  readonly ip: string;
  /** The node that advertises it, by its tunnel address; 0.0.0.0 for a route of this node. */
  readonly nextHop: string;
}

/** A line of zebra's ARP cache for EVPN. */
export interface ArpCacheLine {
  readonly ip: string;
  readonly type: 'local' | 'remote';
  readonly state: string;
  readonly mac: string;
}

/** A running FRR. */
export class Frr {
  readonly #dir: string;
  readonly #netns: Netns;
  readonly version: FrrVersion;
  readonly #daemons: Background[] = [];

  private constructor(dir: string, netns: Netns, version: FrrVersion) {
    this.#dir = dir;
    this.#netns = netns;
    this.version = version;
  }

  /** Starts zebra and bgpd; returns when bgpd answers. */
  static async start(scope: Scope, netns: Netns, options: FrrOptions): Promise<Frr> {
    const dir = createTempDir(scope, 'frr');
    for (const name of ['vty', 'run']) mkdirSync(join(dir, name));
    writeFileSync(join(dir, 'zebra.conf'), '');
    writeFileSync(join(dir, 'bgpd.conf'), configText(options));
    writeFileSync(join(dir, 'vtysh.conf'), '');
    run(['chown', '-R', 'frr:frr', dir]);
    const frr = new Frr(dir, netns, options.version ?? FRR_VERSION);
    if (frr.version === '10.3') {
      // From 10 on vtysh gives it zebra's configuration. It has none of its own in a file.
      frr.#startDaemon('mgmtd', [], []);
      await frr.#answers('mgmtd', 'show version');
    }
    // A bgpd that does not find zebra's socket tries again only after ten seconds.
    frr.#startDaemon('zebra', options.zebra);
    await frr.#answers('zebra', 'show evpn json');
    frr.#startDaemon('bgpd');
    await frr.#answers('bgpd', 'show bgp summary json');
    return frr;
  }

  #startDaemon(
    daemon: string,
    more: readonly string[] = [],
    file = ['-f', join(this.#dir, `${daemon}.conf`)],
  ): void {
    const sockets = ['-z', join(this.#dir, 'zserv.api'), '--vty_socket', join(this.#dir, 'vty'), '-P', '0'];
    const pid = ['-i', join(this.#dir, `${daemon}.pid`)];
    const argv = [...program(this.version, `/usr/lib/frr/${daemon}`), ...sockets, ...pid, ...file, ...more];
    // mgmtd has its sockets there, whatever the options are.
    const apart = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /run/frr && exec "$@"'];
    this.#daemons.push(this.#netns.start(...apart, join(this.#dir, 'run'), ...argv));
  }

  async #answers(daemon: string, command: string): Promise<void> {
    await until(
      `${daemon} in ${this.#netns.name} to answer`,
      () => this.#vtysh('-d', daemon, '-c', command),
      (result) => result.code === 0 || this.#daemons.some(({ running }) => !running),
    );
    for (const { running, argv, stderr } of this.#daemons) {
      if (!running) throw new Error(`\`${argv.join(' ')}\` has ended: ${stderr}`);
    }
  }

  /** Waits until `count` BGP sessions for EVPN are up. */
  async established(count: number): Promise<void> {
    await until(
      `${count} BGP sessions of ${this.#netns.name}`,
      () => this.json<{ peers?: Record<string, { state: string }> }>('show bgp l2vpn evpn summary json'),
      ({ peers = {} }) =>
        Object.values(peers).filter((peer) => peer.state === 'Established').length === count,
      { timeoutMs: 30_000, everyMs: 50 },
    );
  }

  /**
   * Blocks until zebra knows a port of a bridge: the MAC of a host that sends before that, as no VM does so soon, 10.3 can miss
   * for good (docs/known-interactions.md).
   */
  awaitPort(port: string): void {
    if (this.version !== '10.3') return;
    const deadline = performance.now() + 10_000;
    while (!/^ *Master interface: /m.test(this.#vtysh('-c', `show interface ${port}`).stdout)) {
      if (performance.now() > deadline) throw new Error(`zebra of ${this.#netns.name} does not know ${port}`);
      sleepSync(10);
    }
  }

  /** The output of a command, as text. */
  show(command: string): string {
    const result = this.#vtysh('-c', command);
    if (result.code !== 0) throw new Error(`vtysh \`${command}\`: ${result.stderr}${result.stdout}`);
    return result.stdout;
  }

  json<T>(command: string): T {
    const text = this.show(command);
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new Error(`vtysh \`${command}\` printed no JSON: ${text}`, { cause: error });
    }
  }

  /** The EVPN type-2 MAC/IP routes that this node knows, its own included. */
  macIpRoutes(): MacIpRoute[] {
    return readMacIpRoutes(this.json('show bgp l2vpn evpn route type macip json'));
  }

  /** The MAC/IP routes for one IP address. */
  routesTo(ip: string): MacIpRoute[] {
    return this.macIpRoutes().filter((route) => route.ip === ip);
  }

  /** zebra's view of the neighbors of a VNI. */
  arpCache(vni: number): ArpCacheLine[] {
    return readArpCache(this.json(`show evpn arp-cache vni ${vni} json`));
  }

  /** Gives bgpd or zebra lines of configuration. */
  configure(...lines: string[]): void {
    const result = this.#vtysh(...['configure terminal', ...lines].flatMap((line) => ['-c', line]));
    if (result.code !== 0) throw new Error(`vtysh: ${result.stderr}${result.stdout}`);
  }

  /** Stops zebra's process until the returned function is called: it neither reads from the kernel nor answers. */
  pauseZebra(): () => void {
    const zebra = this.#find('zebra');
    if (zebra === undefined) throw new Error('zebra does not run');
    process.kill(zebra.pid, 'SIGSTOP');
    return () => process.kill(zebra.pid, 'SIGCONT');
  }

  /** Ends a daemon. */
  async stop(daemon: 'zebra' | 'bgpd'): Promise<void> {
    await this.#find(daemon)?.stop('SIGTERM');
  }

  #find(daemon: string): Background | undefined {
    return this.#daemons.find(({ argv }) => argv.some((word) => word.endsWith(`/usr/lib/frr/${daemon}`)));
  }

  /** A directory for the PATH, in which `vtysh` queries these daemons instead of the host's. */
  binDirectory(): string {
    const bin = join(this.#dir, 'bin');
    if (!existsSync(bin)) {
      mkdirSync(bin);
      const script = `#!/bin/sh\nexec ${this.#vtyshCommand().join(' ')} "$@"\n`;
      writeFileSync(join(bin, 'vtysh'), script, { mode: 0o755 });
    }
    return bin;
  }

  #vtyshCommand(): string[] {
    const options = ['--vty_socket', join(this.#dir, 'vty'), '--config_dir', this.#dir];
    return [...program(this.version, '/usr/bin/vtysh'), ...options];
  }

  #vtysh(...args: string[]): Result {
    return this.#netns.tryRun([...this.#vtyshCommand(), ...args]);
  }
}

function readVersion(text: string): FrrVersion {
  if (text === '8.4' || text === '10.3') return text;
  throw new RangeError(`SNOOPY_FRR=${text}: the tests know FRR 8.4 and 10.3`);
}

/** The command that runs a program of a version: Debian 13's run with the libraries beside them. */
function program(version: FrrVersion, path: string): string[] {
  if (version === '8.4') return [path];
  if (!existsSync(DEBIAN_13)) throw new Error(`${DEBIAN_13} is missing: run \`bash test/setup.sh\``);
  const find = (dir: string, name: RegExp): string =>
    join(dir, readdirSync(dir).find((entry) => name.test(entry)) ?? name.source);
  const libraries = find(join(DEBIAN_13, 'usr/lib'), /-linux-gnu$/);
  const loader = find(libraries, /^ld-linux.*\.so/);
  return [loader, '--library-path', `${libraries}:${join(libraries, 'frr')}`, join(DEBIAN_13, path)];
}

function configText(options: FrrOptions): string {
  const peers = options.peers.flatMap(({ address, asn, passive }) => [
    ` neighbor ${address} remote-as ${asn}`,
    ` neighbor ${address} timers 1 3`,
    ` neighbor ${address} timers connect 1`,
    ` neighbor ${address} advertisement-interval 0`,
    ...(passive ? [` neighbor ${address} passive`] : []),
  ]);
  const lines = [
    'frr defaults datacenter',
    `router bgp ${options.asn}`,
    ` bgp router-id ${options.routerId}`,
    ' no bgp ebgp-requires-policy',
    ' no bgp default ipv4-unicast',
    ...peers,
    ' address-family l2vpn evpn',
    ...options.peers.map(({ address }) => `  neighbor ${address} activate`),
    '  advertise-all-vni',
    // Tests move a host more often in a minute than FRR accepts as moves.
    '  no dup-addr-detection',
    ' exit-address-family',
    '',
  ];
  return lines.join('\n');
}

interface RouteTable {
  readonly paths?: readonly (readonly PathLine[])[];
}

interface PathLine {
  readonly routeType?: number;
  readonly valid?: boolean;
  readonly mac?: string;
  readonly ip?: string;
  readonly nexthops?: readonly { readonly ip: string }[];
}

/** bgpd: route distinguisher -> prefix -> paths, with plain values and counts between them. */
function readMacIpRoutes(json: Readonly<Record<string, unknown>>): MacIpRoute[] {
  const routes: MacIpRoute[] = [];
  for (const table of Object.values(json).filter(isRecord)) {
    for (const prefix of Object.values(table).filter(isRecord)) {
      for (const path of (prefix as RouteTable).paths?.flat() ?? []) {
        const { valid, mac, ip } = path;
        if (valid !== true || mac === undefined || ip === undefined) continue;
        routes.push({ mac, ip, nextHop: path.nexthops?.[0]?.ip ?? '' });
      }
    }
  }
  return routes;
}

/** zebra: address -> entry, with a count between them. */
function readArpCache(json: Readonly<Record<string, unknown>>): ArpCacheLine[] {
  return Object.entries(json)
    .filter(([, value]) => isRecord(value))
    .map(([ip, value]) => ({ ...(value as Omit<ArpCacheLine, 'ip'>), ip }));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

// A node with as many ports, hosts and neighbors as a row needs, without real hosts behind the ports.
import { writeFileSync } from 'node:fs';
import { Netns } from '../lib/netns.ts';
import { parseJson, type RunOptions, tryRun } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { type Config, Snoopy } from '../lib/snoopy.ts';
import { sleepSync } from '../lib/wait.ts';
import type { Tools } from './measure.ts';

/** A bridge accepts 1,023 ports. */
const PORTS_PER_BRIDGE = 1000;
/** For long work: ten thousand ports, fifty thousand neighbors. */
const LONG: RunOptions = { timeoutMs: 600_000 };
/** How long a change of a device takes at most where nothing else changes the network, and until when that is waited for. */
const QUICK_MS = 200;
const SETTLES_MS = 180_000;

/** The address and the MAC of host `i`, as in test/bench/hosts.c. */
export function hostIp(i: number): string {
  return `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
}

export function hostMac(i: number): string {
  const bytes = [2, 0, 0, (i >> 16) & 255, (i >> 8) & 255, i & 255];
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** A hypervisor in a namespace: bridges br0, br1 ... with ports of the cheapest kind. */
export class Site {
  readonly scope = new Scope();
  readonly netns: Netns;
  readonly snoopy: Snoopy;
  readonly #tools: Tools;
  readonly #runtime: Config;
  #ports = 0;
  #hosts = 0;
  #others = 0;

  /** `runtime`: keys of its configuration, besides bpffs. */
  constructor(tools: Tools, ports: number, runtime: Config = {}) {
    this.#tools = tools;
    this.#runtime = runtime;
    this.netns = new Netns(this.scope, 'site');
    // Otherwise the kernel would send from every port, and have addresses there.
    this.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1, 'net/ipv6/conf/default/disable_ipv6': 1 });
    this.snoopy = new Snoopy(this.scope, this.netns);
    this.addPorts(ports);
  }

  /** The kernel takes a namespace with thousands of ports apart later, for a minute: nothing is to be measured meanwhile. */
  close(): void {
    this.scope.close();
    const deadline = performance.now() + SETTLES_MS;
    for (let quick = 0; quick < 3 && performance.now() < deadline; ) {
      sleepSync(500);
      const startedMs = performance.now();
      tryRun(['unshare', '--net', 'ip', 'link', 'set', 'lo', 'up'], LONG);
      quick = performance.now() - startedMs < QUICK_MS ? quick + 1 : 0;
    }
  }

  get ports(): number {
    return this.#ports;
  }

  /** Adds ports until there are `count`, and configures their bridges. */
  addPorts(count: number): void {
    const lines: string[] = [];
    for (let i = this.#ports; i < count; i++) {
      const bridge = `br${Math.floor(i / PORTS_PER_BRIDGE)}`;
      if (i % PORTS_PER_BRIDGE === 0) {
        lines.push(`link add ${bridge} address ${hostMac(0xff0000 + i)} type bridge mcast_snooping 0`);
        lines.push(`link set ${bridge} up`);
      }
      lines.push(`link add tap${i} type ifb`, `link set tap${i} master ${bridge} up`);
    }
    this.#ports = count;
    this.batch('ip', lines);
    const bridges = Array.from({ length: Math.ceil(count / PORTS_PER_BRIDGE) }, (_, i) => ({
      name: `br${i}`,
    }));
    this.snoopy.configure({
      runtime: this.#runtime,
      defaults: {
        subnets: 'any',
        max_age: 'never',
        limits: { bindings_per_port: 100_000, new_bindings_per_second: 1_000_000 },
      },
      bridges,
    });
  }

  /** The FDB keeps hosts up to `count` on their ports, as if each had just sent a frame. */
  placeHosts(count: number): void {
    const lines: string[] = [];
    for (let i = this.#hosts; i < count; i++) {
      lines.push(`fdb add ${hostMac(i)} dev ${this.#portOf(i)} master static`);
    }
    this.#hosts = Math.max(this.#hosts, count);
    this.batch('bridge', lines);
  }

  /** The hosts from `first` on announce themselves. Returns nanoseconds in the program for each. */
  announce(first: number, count: number): number {
    return this.#tools.json<{ ns: number }>(this.netns, 'hosts', ...this.#announcement(first, count, 0)).ns;
  }

  /** The same with a pause after each. Returns when each did, in milliseconds since the epoch. */
  announceSlowly(first: number, count: number, pauseMs: number): readonly number[] {
    const argv = this.#announcement(first, count, pauseMs).map(String);
    const { stdout } = this.netns.tryRun([this.#tools.path('hosts'), ...argv], LONG);
    return parseJson<{ at: number[] }>(stdout, 'hosts').at;
  }

  #announcement(first: number, count: number, pauseMs: number): (string | number)[] {
    return [`${this.snoopy.bpffs}/snoopy/program`, first, count, pauseMs, ...this.#portIndices()];
  }

  /** Neighbors of another owner on another device, until there are `count`. */
  addOthers(count: number): void {
    const lines: string[] = [];
    if (this.#others === 0) lines.push('link add other0 type ifb', 'link set other0 up');
    for (let i = this.#others; i < count; i++) {
      lines.push(
        `neigh add ${hostIp(0x800000 + i)} lladdr ${hostMac(0x800000 + i)} dev other0 nud permanent`,
      );
    }
    this.#others = count;
    this.batch('ip', lines);
  }

  /** Runs lines of `ip -batch`, `tc -batch` or `bridge -batch`. */
  batch(tool: 'ip' | 'tc' | 'bridge', lines: readonly string[]): void {
    const result = tryRun(this.netns.argv(this.batchArgv(tool, 'setup', lines)), LONG);
    if (result.code !== 0) throw new Error(`${tool} -batch ended with ${result.code}: ${result.stderr}`);
  }

  /** The command line that runs these lines, from a file with the name `name`. */
  batchArgv(tool: string, name: string, lines: readonly string[]): string[] {
    const file = this.#tools.path(`${name}.batch`);
    writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
    return [tool, '-batch', file];
  }

  /** Runs a command of snoopy that must succeed; returns its output. */
  must(command: string, ...args: string[]): string {
    const result = tryRun(this.netns.argv(this.argv(command, ...args)), LONG);
    if (result.code !== 0) {
      const output = (result.stderr + result.stdout).slice(-2_000);
      throw new Error(`snoopy ${command} ended with ${result.code}: ${output}`);
    }
    return result.stdout;
  }

  /** The command line of a command of snoopy. */
  argv(command: string, ...args: string[]): string[] {
    return this.snoopy.argv(command, ...args);
  }

  /** How many neighbors have snoopy's protocol number. */
  countNeighbors(): number {
    return this.netns
      .run('ip', 'neigh', 'show', 'nud', 'all')
      .split('\n')
      .filter((line) => line.includes('proto 115')).length;
  }

  #portOf(host: number): string {
    return `tap${host % this.#ports}`;
  }

  #portIndices(): number[] {
    const links = this.netns.json<{ ifname: string; ifindex: number }[]>('ip', '-j', 'link', 'show');
    const indices = new Map(links.map(({ ifname, ifindex }) => [ifname, ifindex]));
    return Array.from({ length: this.#ports }, (_, i) => indices.get(`tap${i}`) ?? 0);
  }

  /** ifindex of a device. */
  indexOf(device: string): number {
    const [link] = this.netns.json<{ ifindex: number }[]>('ip', '-j', 'link', 'show', device);
    return link?.ifindex ?? 0;
  }
}

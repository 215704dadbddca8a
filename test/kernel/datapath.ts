// The compiled program in a kernel, driven and read only through bpftool, python3 and iproute2. snoopy's user space
// takes no part, so a mistake there cannot hide one here.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BINDING, SEEN_HINT } from '../../src/generated/layouts.ts';
import { mountBpffs } from '../lib/bpffs.ts';
import { Netns } from '../lib/netns.ts';
import { parseJson, run, runJson } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';

export const PROJECT = projectDirectory(dirname(fileURLToPath(import.meta.url)));
export const PYTHON = '/usr/bin/python3'; // The distribution's, which has scapy.

/** TC_ACT_UNSPEC as bpftool prints it. */
export const TC_ACT_UNSPEC = 0xffffffff;

function projectDirectory(from: string): string {
  return existsSync(join(from, 'package.json')) ? from : projectDirectory(dirname(from));
}

const header = readFileSync(join(PROJECT, 'bpf/snoopy.h'), 'utf8');

/** The numbers that snoopy.h gives to names that begin with `prefix`. */
function constants(prefix: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [, name = '', shift, number] of header.matchAll(
    new RegExp(`^#define ${prefix}_(\\w+)[\\s\\\\]+(?:\\(1 << (\\d+)\\)|(\\d+))`, 'gm'),
  )) {
    found.set(name, shift === undefined ? Number(number) : 1 << Number(shift));
  }
  return found;
}

/** Names of counters as in snoopy.h, by number. */
export const COUNTERS: readonly string[] = [...constants('SNOOPY_COUNTER').keys()];
export const LEARN = constants('SNOOPY_LEARN');
export const CHANGE = constants('SNOOPY_CHANGE');
export const HINT = constants('SNOOPY_HINT');
const PORT = constants('SNOOPY_PORT');
export const LEARN_ALL = [...LEARN.values()].reduce((all, one) => all | one, 0);

export type FrameSpec = {
  readonly layers: readonly (readonly [string, Readonly<Record<string, unknown>>])[];
  readonly set?: Readonly<Record<number, string>>;
  readonly length?: number;
};

/** Builds the frames with scapy; returns each as hex. */
export function buildFrames<Name extends string>(
  specs: Readonly<Record<Name, FrameSpec>>,
): Record<Name, string> {
  const names = Object.keys(specs) as Name[];
  const input = names.map((name) => JSON.stringify(specs[name])).join('\n');
  const lines = run([PYTHON, join(PROJECT, 'test/frames.py')], { input })
    .trimEnd()
    .split('\n');
  return Object.fromEntries(names.map((name, at) => [name, lines[at] ?? ''])) as Record<Name, string>;
}

/** A port's policy as a test states it. A missing field permits. */
export interface Policy {
  readonly pvid?: number;
  readonly learn?: number;
  readonly linkLocal?: boolean;
  /** The VLANs that the port is in, on a VLAN-aware bridge. Without it the bridge is not VLAN-aware. */
  readonly vlans?: readonly number[];
  readonly maxBindings?: number;
  readonly newIntervalNs?: number;
  readonly newBurst?: number;
  readonly duplicateMoves?: number;
  readonly duplicateWindowMs?: number;
  readonly duplicateHoldMs?: number;
  readonly released?: number;
}

/** A binding as bpftool prints it. */
export interface Binding {
  readonly key: {
    readonly bridge: number;
    readonly vlan: number;
    readonly family: number;
    readonly ip: number[];
  };
  readonly value: {
    readonly mac: number[];
    readonly flags: number;
    readonly moves: number;
    readonly port: number;
    readonly flags_changed: number;
    readonly first_seen_ns: number;
    readonly last_seen_ns: number;
    readonly window_ns: number;
    readonly frozen_until_ns: number;
    readonly owner_mac: number[];
    readonly owner_port: number;
  };
}

/** A rejection as bpftool prints it. */
export interface Rejection {
  readonly key: Binding['key'];
  readonly value: {
    readonly reason: number;
    readonly port: number;
    readonly source: number[];
    readonly claimed: number[];
    readonly count: number;
    readonly first_ns: number;
    readonly last_ns: number;
  };
}

/** A hint as bpftool prints it. */
export interface SeenHint {
  readonly key: { readonly port: number; readonly slot: number };
  readonly value: {
    readonly key: Binding['key'];
    readonly mac: number[];
    readonly kind: number;
    readonly time_ns: number;
  };
}

export interface PortState {
  readonly gained: number;
  readonly lost: number;
  readonly next_ns: number;
  readonly limited: number;
}

/** A record of the ring buffer as test/kernel/ring.py prints it. */
export interface Change {
  readonly kind: number;
  readonly port: number;
  readonly oldPort: number;
  readonly mac: string;
  readonly oldMac: string;
  readonly bridge: number;
  readonly vlan: number;
  readonly family: number;
  readonly ip: string;
}

export interface Ring {
  readonly producer: number;
  readonly consumer: number;
  readonly records: readonly Change[];
}

/** The effect of a run of frames. */
export interface Outcome {
  /** Counters that changed, by the names of snoopy.h. */
  readonly counted: Readonly<Record<string, number>>;
  /** Frames that came out altered, or with a verdict other than TC_ACT_UNSPEC: must be empty. */
  readonly disturbed: readonly string[];
}

/** A frame, and the port that receives it: 0 or 1. */
export type Arrival = string | { readonly hex: string; readonly port: number };

const hexBytes = (bytes: Uint8Array): string =>
  [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(' ');

/** Numbers in host order (little-endian machines only), each as [value, bytes]. */
function pack(...fields: readonly (readonly [number | bigint, 1 | 2 | 4 | 8])[]): string {
  const bytes = new DataView(new ArrayBuffer(fields.reduce((sum, [, size]) => sum + size, 0)));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 8) bytes.setBigUint64(at, BigInt(value), true);
    else if (size === 4) bytes.setUint32(at, Number(value), true);
    else if (size === 2) bytes.setUint16(at, Number(value), true);
    else bytes.setUint8(at, Number(value));
    at += size;
  }
  return hexBytes(new Uint8Array(bytes.buffer));
}

const AF_INET = 2;
const AF_INET6 = 10;

/** An address as part of a key: its family and 16 bytes, from dotted IPv4 or from IPv6 with all eight groups. */
function keyOf(ip: string): { family: number; bits: number; bytes: string } {
  if (ip.includes('.')) {
    const bytes = Uint8Array.from([...ip.split('.').map(Number), ...new Array<number>(12).fill(0)]);
    return { family: AF_INET, bits: 32, bytes: hexBytes(bytes) };
  }
  const groups = ip.split(':').map((group) => Number.parseInt(group, 16));
  if (groups.length !== 8) throw new Error(`Write all eight groups of ${ip}`);
  return {
    family: AF_INET6,
    bits: 128,
    bytes: hexBytes(Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 255]))),
  };
}

const flag = (name: string, set: boolean): number => (set ? (PORT.get(name) ?? 0) : 0);

/** snoopy_port.vlans */
function vlanWords(vlans: readonly number[]): readonly bigint[] {
  return Array.from({ length: 64 }, (_, word) =>
    vlans
      .filter((vlan) => Math.floor(vlan / 64) === word)
      .reduce((bits, vlan) => bits | (1n << BigInt(vlan % 64)), 0n),
  );
}

type Batch = readonly { readonly command: readonly string[]; readonly output: unknown }[];

/** bpftool keeps a file open for each line of a batch. */
const BATCH_LINES = 1_000;

/** A loaded program with pins, a network namespace and ports of its own. */
export class Datapath {
  readonly netns: Netns;
  readonly pins: string;
  /** ifindex of the two ports. */
  readonly ports: readonly [number, number];
  #bridge = 1000;
  readonly #dir: string;
  readonly #ringSize: number;

  /** `replaced`: maps of sizes other than the object's, as name -> arguments of `bpftool map create`. */
  constructor(scope: Scope, replaced: Readonly<Record<string, string>> = {}, ringSize = 1 << 20) {
    this.#dir = createTempDir(scope, 'frames');
    this.#ringSize = ringSize;
    this.netns = new Netns(scope, 'program');
    // Keeps the kernel's own multicast reports from mixing with the frames.
    this.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1, 'net/ipv6/conf/default/disable_ipv6': 1 });
    this.netns.ipBatch([
      'link add port0 type veth peer name host0',
      'link add port1 type veth peer name host1',
      ...['port0', 'port1', 'host0', 'host1'].map((name) => `link set ${name} up`),
    ]);
    const links = this.netns.json<{ ifname: string; ifindex: number }[]>('ip', '-j', 'link', 'show');
    const ifindex = (name: string): number => links.find((link) => link.ifname === name)?.ifindex ?? 0;
    this.ports = [ifindex('port0'), ifindex('port1')];
    this.pins = mountBpffs(scope);
    const reuse = Object.entries(replaced).flatMap(([name, how]) => {
      const pin = join(this.pins, `own_${name}`);
      run(['bpftool', 'map', 'create', pin, ...how.split(' '), 'name', name]);
      return ['map', 'name', name, 'pinned', pin];
    });
    mkdirSync(join(this.pins, 'maps'));
    const object = join(PROJECT, 'dist/snoopy.bpf.o');
    const place = [join(this.pins, 'programs'), ...reuse, 'pinmaps', join(this.pins, 'maps')];
    run(['bpftool', 'prog', 'loadall', object, ...place]);
  }

  get program(): string {
    return join(this.pins, 'programs/snoopy');
  }

  map(name: string): string {
    return join(this.pins, 'maps', `snoopy_${name}`);
  }

  /** Runs lines of `bpftool batch` inside the namespace; returns the output of each. */
  batch(lines: readonly string[]): unknown[] {
    const file = join(this.#dir, 'batch');
    const outputs: unknown[] = [];
    for (let at = 0; at < lines.length; at += BATCH_LINES) {
      writeFileSync(file, `${lines.slice(at, at + BATCH_LINES).join('\n')}\n`);
      const text = run(this.netns.argv(['bpftool', '-j', 'batch', 'file', file]));
      outputs.push(...parseJson<Batch>(text, 'bpftool batch').map((done) => done.output));
    }
    return outputs;
  }

  /** Starts a new bridge in which all addresses are allowed, and returns its number. Both ports get empty states. */
  domain(policy: Policy = {}, allowAll = true): number {
    this.#bridge += 1;
    const lines = [0, 1].flatMap((port) => [this.#policyLine(port, policy), this.#clearLine(port)]);
    this.batch(allowAll ? [...lines, this.#prefixLine(32, 0, undefined, 1)] : lines);
    return this.#bridge;
  }

  /** Gives one port of the domain another policy. Its state stays. */
  policy(port: number, policy: Policy): void {
    this.batch([this.#policyLine(port, policy)]);
  }

  /** Deletes the policy of one port of the domain, so that nothing more is learned from it. */
  forget(port: number): void {
    this.batch([`map delete pinned ${this.map('ports')} key hex ${pack([this.ports[port] ?? 0, 4])}`]);
  }

  /** Lines for `batch` that give an interface of the newest domain a policy of its own. */
  policyLike(ifindex: number, policy: Policy = {}): string {
    return `${this.#portLine(ifindex, policy)}\n${this.#stateLine(ifindex)}`;
  }

  #policyLine(port: number, policy: Policy): string {
    return this.#portLine(this.ports[port] ?? 0, policy);
  }

  #portLine(ifindex: number, policy: Policy): string {
    const value = pack(
      [this.#bridge, 4],
      [policy.pvid ?? 0, 2],
      [policy.learn ?? LEARN_ALL, 1],
      [flag('LINK_LOCAL', policy.linkLocal === true) | flag('VLAN_AWARE', policy.vlans !== undefined), 1],
      [policy.maxBindings ?? 1000, 4],
      [policy.newIntervalNs ?? 0, 4],
      [policy.newBurst ?? 0, 4],
      [policy.duplicateMoves ?? 0, 4],
      [BigInt(policy.duplicateWindowMs ?? 3_600_000) * 1_000_000n, 8],
      [BigInt(policy.duplicateHoldMs ?? 3_600_000) * 1_000_000n, 8],
      [policy.released ?? 0, 8],
      [0, 8],
      ...vlanWords(policy.vlans ?? []).map((word) => [word, 8] as const),
    );
    return `map update pinned ${this.map('ports')} key hex ${pack([ifindex, 4])} value hex ${value}`;
  }

  #clearLine(port: number): string {
    return this.#stateLine(this.ports[port] ?? 0);
  }

  #stateLine(ifindex: number): string {
    const value = pack([0, 8], [0, 8], [0, 8], [0, 8], [0, 8]);
    return `map update pinned ${this.map('state')} key hex ${pack([ifindex, 4])} value hex ${value}`;
  }

  #prefixLine(length: number, vlan: number, ip: string | undefined, value: 0 | 1): string {
    const { family, bytes } = ip === undefined ? { family: 0, bytes: pack([0, 8], [0, 8]) } : keyOf(ip);
    const key = `${pack([length, 4], [this.#bridge, 4], [vlan, 2], [family, 2])} ${bytes}`;
    return `map update pinned ${this.map('prefixes')} key hex ${key} value hex 0${value}`;
  }

  /** Allows (1) or denies (0) a prefix of the newest domain. */
  prefix(ip: string, bits: number, value: 0 | 1, vlan = 0): void {
    this.batch([this.#prefixLine(64 + bits, vlan, ip, value)]);
  }

  /** Provisions an address of the newest domain for these MACs. */
  provision(ip: string, macs: readonly string[], vlan = 0): void {
    const { family, bytes } = keyOf(ip);
    const key = `${pack([this.#bridge, 4], [vlan, 2], [family, 2])} ${bytes}`;
    this.batch(
      ['00:00:00:00:00:00', ...macs].map(
        (mac) =>
          `map update pinned ${this.map('statics')} key hex ${key} ${mac.replaceAll(':', ' ')} 00 00 value hex 01`,
      ),
    );
  }

  /** Runs frames through the program with BPF_PROG_TEST_RUN, in order. */
  run(arrivals: readonly Arrival[], program = this.program): Outcome {
    const dump = `map dump pinned ${this.map('counters')}`;
    const frames = arrivals.map((arrival) =>
      typeof arrival === 'string' ? { hex: arrival, port: 0 } : arrival,
    );
    for (const [port, ifindex] of this.ports.entries()) {
      // struct __sk_buff up to ifindex, the only field that the tests set.
      const context = Buffer.alloc(44);
      context.writeUInt32LE(ifindex, 40);
      writeFileSync(join(this.#dir, `context${port}`), context);
    }
    const lines = frames.map(({ hex, port }, at) => {
      const file = join(this.#dir, String(at));
      writeFileSync(file, Buffer.from(hex, 'hex'));
      return `prog run pinned ${program} data_in ${file} data_out ${file}.out ctx_in ${this.#dir}/context${port} repeat 1`;
    });
    const [before, ...after] = this.batch([dump, ...lines, dump]);
    const results = after.slice(0, -1) as { retval: number }[];
    const disturbed = frames.flatMap(({ hex }, at) => {
      const same = readFileSync(join(this.#dir, `${at}.out`), 'hex') === hex;
      return same && results[at]?.retval === TC_ACT_UNSPEC ? [] : [hex];
    });
    return { counted: difference(before, after.at(-1)), disturbed };
  }

  counters(): unknown {
    return this.batch([`map dump pinned ${this.map('counters')}`])[0];
  }

  /** The bindings of the newest domain. */
  bindings(bridge = this.#bridge): Binding[] {
    const [dump] = this.batch([`map dump pinned ${this.map('bindings')}`]) as [{ formatted: Binding }[]];
    return dump.map((entry) => entry.formatted).filter((binding) => binding.key.bridge === bridge);
  }

  /** Ages the newest domain: its bindings become as they would be `ms` later. */
  age(ms: number): void {
    const times = [BINDING.firstSeenNs, BINDING.lastSeenNs, BINDING.windowNs];
    this.#age<Binding>('bindings', times, ms, ({ key }) => key.bridge);
  }

  /** Ages the hints of the newest domain likewise. */
  ageHints(ms: number): void {
    this.#age<SeenHint>('seen', [SEEN_HINT.timeNs], ms, ({ value }) => value.key.bridge);
  }

  #age<Formatted>(
    name: string,
    times: readonly number[],
    ms: number,
    bridgeOf: (entry: Formatted) => number,
  ): void {
    interface Entry {
      readonly key: readonly string[];
      readonly value: readonly string[];
      readonly formatted: Formatted;
    }
    const map = this.map(name);
    const [dump] = this.batch([`map dump pinned ${map}`]) as [readonly Entry[]];
    const updates = dump.flatMap(({ key, value, formatted }) => {
      if (bridgeOf(formatted) !== this.#bridge) return [];
      const bytes = Buffer.from(value.map(Number));
      for (const at of times) {
        const ns = bytes.readBigUInt64LE(at);
        // A time of 0 says that there is none.
        if (ns > 0n) bytes.writeBigUInt64LE(ns - BigInt(Math.round(ms * 1e6)), at);
      }
      return [`map update pinned ${map} key ${key.join(' ')} value ${[...bytes].join(' ')}`];
    });
    assert.ok(updates.length > 0, `there is nothing to age in ${name}`);
    this.batch(updates);
  }

  /** The rejections of the newest domain, by address. */
  rejections(): Rejection[] {
    const [dump] = this.batch([`map dump pinned ${this.map('rejected')}`]) as [{ formatted: Rejection }[]];
    return dump.map((entry) => entry.formatted).filter(({ key }) => key.bridge === this.#bridge);
  }

  /** The hints of the newest domain. */
  seenHints(): SeenHint[] {
    const [dump] = this.batch([`map dump pinned ${this.map('seen')}`]) as [{ formatted: SeenHint }[]];
    return dump.map((entry) => entry.formatted).filter(({ value }) => value.key.bridge === this.#bridge);
  }

  state(port: number): PortState {
    const key = pack([this.ports[port] ?? 0, 4]);
    const [found] = this.batch([`map lookup pinned ${this.map('state')} key hex ${key}`]);
    return (found as { formatted: { value: PortState } }).formatted.value;
  }

  /** Records that have not been consumed. */
  ring(mode: 'peek' | 'consume' | 'fill' = 'peek'): Ring {
    const how = mode === 'peek' ? [] : [mode];
    const script = join(PROJECT, 'test/kernel/ring.py');
    return runJson<Ring>([PYTHON, script, this.map('changes'), String(this.#ringSize), ...how]);
  }

  /** Attaches a pinned program to an interface of the namespace, as `clsact` does for snoopy. */
  attach(device: string, program = this.program, pref = 10): void {
    this.netns.tryRun(['tc', 'qdisc', 'add', 'dev', device, 'clsact']);
    const where = ['dev', device, 'ingress', 'protocol', 'all', 'pref', String(pref), 'handle', '1'];
    this.netns.run('tc', 'filter', 'add', ...where, 'bpf', 'da', 'object-pinned', program);
  }

  /**
   * Loads test/kernel/probe.bpf.c, which records how a frame lies in memory; returns pins of its program and its map.
   */
  loadProbe(): { readonly program: string; readonly seen: string } {
    const object = join(this.#dir, 'probe.o');
    const multiarch = run(['clang', '-print-multiarch']).trim();
    const include = multiarch === '' ? [] : ['-idirafter', `/usr/include/${multiarch}`];
    const flags = ['-target', 'bpf', '-mcpu=v2', '-O2', '-g', '-Wall', '-Wextra', '-Werror', ...include];
    run(['clang', ...flags, '-c', join(PROJECT, 'test/kernel/probe.bpf.c'), '-o', object]);
    run(['bpftool', 'prog', 'loadall', object, `${this.pins}/probes`, 'pinmaps', `${this.pins}/probe`]);
    return { program: `${this.pins}/probes/probe`, seen: `${this.pins}/probe/probe_seen` };
  }

  /** Sends frames with test/kernel/send.py; in `frags` mode a space begins a new page. */
  send(mode: 'packet' | 'frags', device: string, frames: readonly string[]): void {
    const argv = this.netns.argv([PYTHON, join(PROJECT, 'test/kernel/send.py'), mode, device]);
    run(argv, { input: frames.join('\n') });
  }
}

/** The counters that differ between two dumps, summed over the CPUs. */
export function difference(before: unknown, after: unknown): Record<string, number> {
  const totals = (dump: unknown): number[] =>
    (dump as { formatted: { values: { value: number }[] } }[]).map((entry) =>
      entry.formatted.values.reduce((sum, { value }) => sum + value, 0),
    );
  const old = totals(before);
  return Object.fromEntries(
    totals(after).flatMap((value, at) => {
      const more = value - (old[at] ?? 0);
      return more === 0 ? [] : [[COUNTERS[at] ?? String(at), more]];
    }),
  );
}

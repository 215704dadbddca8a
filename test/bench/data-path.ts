// The data path by BPF_PROG_TEST_RUN: the cost of a frame, beside an empty program and one that reserves first.
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { buildFrames, Datapath, type FrameSpec } from '../kernel/datapath.ts';
import { ANN, arp, BOB, IP4 } from '../kernel/messages.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { interleave, median, type Tools } from './measure.ts';
import { atLeast, atMost, type Row, row, type Side } from './rows.ts';

const GROUP = 'data path';
const ROUNDS = 9;
const REPEAT = 200_000;
const CALLS = 3;
/** One frame for each call, for hosts that are new. */
const NEW_HOSTS = 2_000;

const STATIC_IP = '192.168.1.20';
const DATA: FrameSpec['layers'][number] = ['Raw', { load: { hex: '00'.repeat(50) } }];

const FRAMES = {
  ipv4: {
    layers: [
      ['Ether', { src: ANN, dst: BOB }],
      ['IP', { src: IP4, dst: '192.168.1.9' }],
      ['TCP', { dport: 443 }],
      DATA,
    ],
  },
  ipv6: {
    layers: [
      ['Ether', { src: ANN, dst: BOB }],
      ['IPv6', { src: '2001:db8::1', dst: '2001:db8::2' }],
      ['TCP', { dport: 443 }],
      DATA,
    ],
  },
  twoTags: {
    layers: [
      ['Ether', { src: ANN, dst: BOB }],
      ['Dot1Q', { vlan: 20 }],
      ['IP', { src: IP4, dst: '192.168.1.9' }],
      ['TCP', { dport: 443 }],
      DATA,
    ],
  },
  known: arp(),
  rejected: arp({ ip: STATIC_IP }),
  spoofed: arp({ ether: { src: BOB } }),
} as const satisfies Record<string, FrameSpec>;

type FrameName = keyof typeof FRAMES;

export function measureDataPath(tools: Tools): Row[] {
  const scope = new Scope();
  try {
    const bench = new Bench(scope, tools);
    return [...bench.frames(), ...bench.newHosts(), ...bench.cores()];
  } finally {
    scope.close();
  }
}

class Bench {
  readonly #tools: Tools;
  readonly #datapath: Datapath;
  readonly #peers: string;
  readonly #ring: string;

  constructor(scope: Scope, tools: Tools) {
    this.#tools = tools;
    this.#datapath = new Datapath(scope);
    const { pins } = this.#datapath;
    this.#peers = `${pins}/peers`;
    const maps = `${pins}/peer-maps`;
    this.#ring = `${maps}/peer_ring`;
    run(['bpftool', 'prog', 'loadall', tools.peers, this.#peers, 'pinmaps', maps]);
    for (const [name, hex] of Object.entries(buildFrames(FRAMES))) {
      writeFileSync(tools.path(name), Buffer.from(hex, 'hex'));
    }
    this.#datapath.domain();
    this.#datapath.provision(STATIC_IP, [BOB]);
  }

  /** The program that runs behind peer_tagged. */
  #behindTag(program: string): void {
    const map = `${this.#datapath.pins}/peer-maps/peer_next`;
    this.#datapath.batch([`map update pinned ${map} key 0 0 0 0 value pinned ${program}`]);
  }

  /** Nanoseconds that a program takes for a frame. */
  #time(program: string, frame: FrameName, cpus: readonly number[] = [0], ring = '-'): number {
    const [port] = this.#datapath.ports;
    const file = this.#tools.path(frame);
    const how = [program, file, port, REPEAT, CALLS, ring, ...cpus];
    return this.#tools.json<{ ns: number }>(this.#datapath.netns, 'frames', ...how).ns;
  }

  #own(frame: FrameName): () => number {
    return () => this.#time(this.#datapath.program, frame);
  }

  #tagged(program: string): () => number {
    return () => {
      this.#behindTag(program);
      return this.#time(`${this.#peers}/peer_tagged`, 'ipv4');
    };
  }

  frames(): Row[] {
    const empty = `${this.#peers}/peer_empty`;
    const reserve = `${this.#peers}/peer_reserve`;
    const samples = interleave(ROUNDS, {
      empty: () => this.#time(empty, 'ipv4'),
      reserve: () => this.#time(reserve, 'ipv4', [0], this.#ring),
      reserveArp: () => this.#time(reserve, 'known', [0], this.#ring),
      ipv4: this.#own('ipv4'),
      ipv6: this.#own('ipv6'),
      taggedEmpty: this.#tagged(empty),
      tagged: this.#tagged(this.#datapath.program),
      twoTags: this.#own('twoTags'),
      known: this.#own('known'),
      rejected: this.#own('rejected'),
      spoofed: this.#own('spoofed'),
    });
    const side = (what: string, name: keyof typeof samples): Side => ({
      what,
      value: median(samples[name]),
      unit: 'ns',
    });
    const nothing = side('empty program', 'empty');
    const reserved = side('reserves first', 'reserve');
    const compared = (name: string, own: keyof typeof samples, limit: number | null, peer = nothing): Row =>
      row(GROUP, name, side('snoopy', own), peer, 'difference', limit === null ? null : atMost(limit));
    return [
      compared('IPv4 data frame', 'ipv4', 1),
      compared('IPv6 data frame', 'ipv6', 1),
      compared('data frame of a VLAN', 'tagged', 1, side('empty program', 'taggedEmpty')),
      compared('data frame with a second tag', 'twoTags', null),
      row(GROUP, 'IPv4 data frame', side('snoopy', 'ipv4'), reserved, 'gain'),
      compared('ARP of a known host', 'known', 60),
      row(
        GROUP,
        'ARP of a known host',
        side('snoopy', 'known'),
        side('reserves first', 'reserveArp'),
        'ratio',
      ),
      compared('rejected claim (provisioned address)', 'rejected', null),
      compared('rejected claim (spoofed sender)', 'spoofed', null),
    ];
  }

  /** Here each frame is a system call, with the time that the kernel takes for it: to compare, not to add. */
  newHosts(): Row[] {
    const [port] = this.#datapath.ports;
    const time = (program: string, first: number): number =>
      this.#tools.json<{ ns: number }>(this.#datapath.netns, 'hosts', program, first, NEW_HOSTS, port).ns;
    let first = 1;
    const samples = interleave(5, {
      empty: () => time(`${this.#peers}/peer_empty`, 1),
      reserve: () => time(`${this.#peers}/peer_reserve`, 1),
      fresh: () => {
        first += NEW_HOSTS;
        this.#datapath.domain({ maxBindings: 1_000_000 });
        return time(this.#datapath.program, first);
      },
      again: () => time(this.#datapath.program, first),
    });
    const side = (what: string, name: keyof typeof samples): Side => ({
      what,
      value: median(samples[name]),
      unit: 'ns',
    });
    const nothing = side('empty program', 'empty');
    return [
      row(GROUP, 'new host, a call each', side('snoopy', 'fresh'), nothing, 'difference'),
      row(
        GROUP,
        'new host, a call each',
        side('snoopy', 'fresh'),
        side('reserves first', 'reserve'),
        'ratio',
      ),
      row(GROUP, 'the same host again, a call each', side('snoopy', 'again'), nothing, 'difference'),
    ];
  }

  /** A cache line that every frame writes to makes two cores slower than one; the peer's ring is such a line. */
  cores(): Row[] {
    if (availableParallelism() < 2) return [];
    const { program } = this.#datapath;
    const reserve = `${this.#peers}/peer_reserve`;
    const samples = interleave(ROUNDS, {
      one: () => this.#time(program, 'ipv4'),
      both: () => this.#time(program, 'ipv4', [0, 1]),
      knownOne: () => this.#time(program, 'known'),
      knownBoth: () => this.#time(program, 'known', [0, 1]),
      reserveOne: () => this.#time(reserve, 'ipv4', [0], this.#ring),
      reserveBoth: () => this.#time(reserve, 'ipv4', [0, 1], this.#ring),
    });
    const scaling = (
      name: string,
      own: 'both' | 'knownBoth' | 'reserveBoth',
      one: keyof typeof samples,
      goal: number | null,
    ): Row =>
      row(
        GROUP,
        name,
        { what: 'two cores', value: median(samples[own]), unit: 'ns' },
        { what: 'one core', value: median(samples[one]), unit: 'ns' },
        'gain',
        goal === null ? null : atLeast(goal),
      );
    return [
      scaling('data frames on two cores at once', 'both', 'one', 0.95),
      scaling('ARP of a known host on two cores', 'knownBoth', 'knownOne', null),
      scaling('the peer that reserves first on two cores', 'reserveBoth', 'reserveOne', null),
    ];
  }
}

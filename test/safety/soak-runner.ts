// The course of a soak: steps, frames of hosts, runs of every kind, and the checks after each and in quiet times.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { listPins } from '../lib/bpffs.ts';
import type { Fabric } from '../lib/fabric.ts';
import type { Node } from '../lib/node.ts';
import { attachedPrograms, listOwnNeighbors, listQdiscs, neighborText } from '../lib/oracles.ts';
import { Bag, Random } from '../lib/random.ts';
import { Background, type Result, runJson } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, Snoopy, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { differences, type Expectation, Model } from './soak-model.ts';
import { POOL, STATICS, Steps } from './soak-steps.ts';
import { World } from './soak-world.ts';

export interface Plan {
  /** A phase: events at hosts, then quiet until no timer is left. */
  readonly phases: number;
  readonly activeTicks: number;
}

export interface SoakOptions {
  readonly scope: Scope;
  readonly seed: number;
  /** The first gets a run in every tick, the second has one that listens all the time. */
  readonly nodes: readonly Node[];
  /** With FRR, or null. */
  readonly fabric: Fabric | null;
}

const TICK_MS = 2_000;
const MOST_STEPS = 4;
const AGEING_S = 5;
const HOLD_S = 8;
/** Quiet ticks after which every age, hold time and owner check is over, and a run has acted on it. */
const QUIET_TICKS = 7;
/**
 * This many claims in turn make a duplicate, within a window shorter than the pause of an address between two steps.
 */
const MOVES = 4;

const BRIDGE = {
  max_age: '6s',
  probe: { after: '3s' },
  duplicates: { moves: MOVES, window: '3s', hold: `${HOLD_S}s` },
  // Every message of a host counts here: limits have tests of their own.
  limits: { bindings_per_port: 200, new_bindings_per_second: 1000 },
  static: [...STATICS].map(([ip, mac]) => ({ ip, mac })),
};

interface Entry {
  readonly ip: string;
  readonly mac: string;
}

/** Entries of another owner. */
const FOREIGN: readonly Entry[] = [
  { ip: '10.1.8.1', mac: '02:00:00:00:98:03' },
  { ip: '2001:db8:1::801', mac: '02:00:00:00:98:04' },
];

/** More of them, at addresses that hosts claim: with a MAC that no host has, and with that of a host. */
const FOREIGN_CLAIMED: readonly Entry[] = [
  { ip: POOL[0] ?? '', mac: '02:00:00:00:98:01' },
  { ip: POOL[60] ?? '', mac: '02:00:00:00:99:01' },
];

/** How the run of a tick goes. */
type RunKind = 'plain' | 'killed' | 'two at once' | 'listening' | 'check';
const RUNS: readonly RunKind[] = [
  ...Array.from({ length: 12 }, () => 'plain' as const),
  'killed',
  'killed',
  'killed',
  'two at once',
  'two at once',
  'listening',
  'check',
];
/** A run takes this long, Node's start included: the instants to kill it are chosen from this. */
const RUN_MS = 350;

/** How much memory may grow from the first third of a soak to the last. */
const RUN_GROWTH_KIB = 4 * 1024;
const LISTENER_GROWTH_KIB = 24 * 1024;

/** Runs a command and writes the peak of its memory, in KiB, to a file. */
const MEASURE = `
import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status) & 255)
`;

/** This long after hosts have sent, the bridges of a busy machine may have begun to age them out. */
const LATE_MS = (AGEING_S - 1) * 1000;
/** FRR issue 21472: zebra may delete a new entry, until the next run. The machine may also be busy. */
const MOST_LOOKS = 8;

const LOG_LINES = 300;

export class Soak {
  readonly #t: TestContext;
  readonly #seed: number;
  readonly #random: Random;
  readonly #runs: Bag<RunKind>;
  readonly #fabric: Fabric | null;
  readonly #nodes: readonly Node[];
  readonly #snoopies: readonly Snoopy[];
  readonly #world: World;
  readonly #model: Model;
  readonly #steps: Steps;
  readonly #measureFile: string;
  readonly #scope: Scope;
  readonly #log: string[] = [];
  readonly #others: readonly string[];
  /** Peak of each plain run's memory, in KiB. */
  readonly #runKib: number[] = [];
  /** Memory of the run that listens, at each checkpoint. */
  readonly #listenerKib: number[] = [];
  readonly #counts = new Map<string, number>();
  #listener: Background | undefined;
  #listenerFds: readonly string[] | undefined;
  #kernel: unknown;
  /** When the hosts have sent last. */
  #announcedMs = performance.now();

  constructor(t: TestContext, { scope, seed, nodes, fabric }: SoakOptions) {
    this.#t = t;
    this.#seed = seed;
    this.#random = new Random(seed);
    this.#runs = new Bag(this.#random, RUNS);
    this.#scope = scope;
    this.#fabric = fabric;
    this.#nodes = nodes;
    this.#measureFile = join(createTempDir(scope, 'soak'), 'kib');
    this.#world = new World(scope, nodes, AGEING_S);
    this.#snoopies = nodes.map(
      ({ netns, bridge }) => new Snoopy(scope, netns, { bridges: [{ name: bridge, ...BRIDGE }] }),
    );
    // zebra overwrites any entry at an address that a host of another node has.
    const entries = fabric === null ? [...FOREIGN, ...FOREIGN_CLAIMED] : FOREIGN;
    const ofOthers = new Set(entries.map(({ ip }) => ip));
    this.#model = new Model(nodes.map(() => ({ probes: true, statics: STATICS, ofOthers })));
    const duplicates = { moves: MOVES, holdMs: HOLD_S * 1000 };
    const sharing = fabric === null ? 'per node' : 'per fabric';
    this.#steps = new Steps(this.#random, this.#world, this.#model, duplicates, sharing);
    for (const { netns, bridge } of nodes) {
      const options = `dev ${bridge} nud permanent protocol static`;
      netns.ipBatch(entries.map(({ ip, mac }) => `neigh add ${ip} lladdr ${mac} ${options}`));
    }
    this.#others = nodes.map(otherEntries);
  }

  /** Goes through all phases. A failure has the command that reproduces it. */
  async run(plan: Plan): Promise<void> {
    try {
      await this.#begin();
      let tick = 0;
      for (let phase = 1; phase <= plan.phases; phase++) {
        for (let left = plan.activeTicks; left > 0; left--) await this.#tick(++tick, MOST_STEPS);
        for (let left = QUIET_TICKS; left > 0; left--) await this.#tick(++tick, 0);
        await this.#checkpoint(tick);
      }
      await this.#end();
    } catch (error) {
      console.error(this.#log.slice(-LOG_LINES).join('\n'));
      console.error(`To see it again: ${this.#replay()}`);
      throw error;
    } finally {
      this.#summarize();
    }
  }

  #replay(): string {
    const length = process.env['SOAK_MINUTES'];
    if (length === undefined) return `SOAK_SEED=${this.#seed} node test/run.mjs safety/soak`;
    return `SOAK_SEED=${this.#seed} SOAK_MINUTES=${length} npm run soak`;
  }

  async #begin(): Promise<void> {
    await this.#world.ready();
    this.#steps.begin();
    // Longer than any soak: the soak itself ends it.
    this.#listener = this.#start(this.#scope, 1, '--listen', '7d');
    this.#plainRun(0);
    this.#model.attached(0);
    await this.#secondIsAttached();
  }

  async #tick(tick: number, mostSteps: number): Promise<void> {
    const started = performance.now();
    const kind = this.#runs.draw();
    const scope = new Scope();
    try {
      const listening = kind === 'listening' ? this.#start(scope, 0, '--listen', '1s') : undefined;
      this.#model.tickBegins();
      const done = this.#steps.take(tick, mostSteps);
      this.#note(tick, ...done, `run: ${kind}`);
      this.#count('steps', done.length);
      this.#count(`runs, ${kind}`, 1);
      const announcedMs = this.#announce();
      const finished = await this.#run(scope, kind, listening);
      if (finished) this.#model.attached(0);
      const late = performance.now() - announcedMs > LATE_MS;
      if (late) this.#count('ticks that were late', 1);
      // In a fabric zebra changes entries as well: only the final state counts.
      else if (this.#fabric === null) await this.#agree(finished ? [0, 1] : [1]);
    } finally {
      scope.close();
    }
    await this.#secondIsAttached();
    await sleep(Math.max(0, TICK_MS - (performance.now() - started)));
  }

  /** Lets the hosts send; returns when they have. */
  #announce(): number {
    if (performance.now() - this.#announcedMs > LATE_MS) this.#model.wasLate();
    this.#steps.announce();
    this.#announcedMs = performance.now();
    return this.#announcedMs;
  }

  // Runs

  #start(scope: Scope, at: number, ...args: string[]): Background {
    const argv = this.#snoopy(at).argv('reconcile', '--format', 'json', ...args);
    return new Background(scope, this.#node(at).netns.argv(argv));
  }

  /** The first node's run of a tick. True when it has surely seen every earlier message. */
  async #run(scope: Scope, kind: RunKind, listening: Background | undefined): Promise<boolean> {
    switch (kind) {
      case 'plain':
        break;
      case 'killed': {
        const run = this.#start(scope, 0);
        await sleep(this.#random.below(RUN_MS));
        run.kill();
        return false;
      }
      case 'two at once': {
        const runs = [this.#start(scope, 0), this.#start(scope, 0)];
        for (const run of runs) assertWell(await run.ended(30_000));
        return true;
      }
      case 'listening':
        // Ports that are deleted while it reads them may cause errors.
        if (listening !== undefined) withReport(await listening.ended(30_000));
        break;
      case 'check': {
        const before = ownText(this.#node(0));
        assertWell(this.#snoopy(0).reconcile('--check'));
        if (this.#fabric === null)
          assert.equal(ownText(this.#node(0)), before, '--check has changed something');
        break;
      }
      default:
        return kind satisfies never;
    }
    this.#plainRun(0);
    return true;
  }

  #plainRun(at: number): void {
    const argv = this.#snoopy(at).argv('reconcile', '--format', 'json');
    const measured = ['/usr/bin/python3', '-c', MEASURE, this.#measureFile, ...argv];
    assertWell(this.#node(at).netns.tryRun(measured));
    this.#runKib.push(Number(readFileSync(this.#measureFile, 'utf8')));
  }

  // Checks

  #expect(at: number, quiet: boolean): Expectation {
    return this.#model.expect(at, performance.now(), quiet);
  }

  /** The first node is checked once, right after a run; the second until it is as it must be. */
  async #agree(nodes: readonly number[]): Promise<void> {
    const differencesOf = (at: number): string[] =>
      differences(ownNeighbors(this.#node(at)), this.#expect(at, false));
    if (nodes.includes(0)) assert.deepEqual(differencesOf(0), [], 'node 1');
    await until(
      'node 2 to have the neighbors that it must have',
      () => differencesOf(1),
      (list) => list.length === 0,
      { everyMs: 50 },
    );
  }

  /** Checks both nodes, neighbors and bindings, while the hosts go on sending. */
  async #agreeInQuiet(): Promise<void> {
    for (let look = 1; ; look++) {
      const announcedMs = this.#announce();
      this.#plainRun(0);
      const wrong = this.#nodes.map((node, at) => [
        ...differences(ownNeighbors(node), this.#expect(at, true)).map((line) => `n${at + 1}: ${line}`),
        ...this.#wrongBindings(at),
      ]);
      if (wrong.flat().length === 0) return this.#count('checks of neighbors', look);
      const late = performance.now() - announcedMs > LATE_MS;
      const mayLookAgain = late || this.#fabric !== null || wrong[0]?.length === 0;
      assert.ok(mayLookAgain && look < MOST_LOOKS, wrong.flat().join('\n'));
      await sleep(TICK_MS / 4);
    }
  }

  #wrongBindings(at: number): string[] {
    const { must, may } = this.#model.boundIps(at);
    const found = new Set(boundIps(this.#snoopy(at)).filter((ip) => !STATICS.has(ip)));
    return [
      ...[...must].filter((ip) => !found.has(ip)).map((ip) => `n${at + 1}: ${ip} has no binding`),
      ...[...found]
        .filter((ip) => !must.has(ip) && !may.has(ip))
        .map((ip) => `n${at + 1}: ${ip} still has a binding`),
    ];
  }

  /** Waits until the run that listens has been at every port. */
  async #secondIsAttached(): Promise<void> {
    const { netns } = this.#node(1);
    for (const port of this.#model.ports(1)) {
      if (this.#model.isAttached({ node: 1, port })) continue;
      await until(
        `a program on ${port}`,
        () => attachedPrograms(netns, port).length,
        (count) => count === 1,
      );
    }
    this.#model.attached(1);
  }

  /** In a quiet time: everything is as it must be, and nothing is left over. */
  async #checkpoint(tick: number): Promise<void> {
    await this.#agreeInQuiet();
    for (const [at, node] of this.#nodes.entries()) {
      assert.equal(otherEntries(node), this.#others[at], 'an entry of another owner has changed');
    }
    if (this.#fabric !== null) await this.#routesAgree(this.#fabric);
    this.#count(
      'neighbors at checkpoints',
      this.#expect(0, true).must.size + this.#expect(1, true).must.size,
    );

    const kernel = this.#nodes.map((_, at) => this.#kernelState(at));
    this.#kernel ??= kernel;
    assert.deepEqual(kernel, this.#kernel, 'pins, maps and programs');
    const { pid, running } = this.#listener ?? { pid: 0, running: false };
    assert.ok(running, `the run that listens has ended: ${this.#listener?.stderr}`);
    const fds = openFiles(pid);
    this.#listenerFds ??= fds;
    assert.deepEqual(fds, this.#listenerFds, 'descriptors of the run that listens');
    this.#listenerKib.push(residentKib(pid));
    this.#note(
      tick,
      `checkpoint: ${this.#listenerKib.at(-1)} KiB listening, ${this.#runKib.at(-1)} KiB a run`,
    );
    this.#steps.quieted(tick);
  }

  /** snoopy's objects in a node's kernel; asserts those that depend on the existing ports. */
  #kernelState(at: number): unknown {
    const { netns } = this.#node(at);
    const { bpffs } = this.#snoopy(at);
    const [links, pins] = [true, false].map((isLink) =>
      listPins(bpffs).filter((pin) => pin.startsWith('snoopy/links/') === isLink),
    );
    const ids = pins?.flatMap((pin) =>
      /^snoopy\/(?!links$)\w+$/.test(pin) ? [`${pin} ${idOf(bpffs, pin)}`] : [],
    );
    const program = idOf(bpffs, 'snoopy/program');
    const ports = this.#model.ports(at);
    for (const port of ports) {
      assert.deepEqual(attachedPrograms(netns, port), [program], `programs on ${port}`);
    }
    assert.equal(links?.length, ports.length, `links of node ${at + 1}`);
    const bindings = dumpMap<Key, { readonly port: number }>(bpffs, 'bindings');
    const known = new Set(bindings.map(({ key }) => JSON.stringify(key)));
    const strays = dumpMap<Key, unknown>(bpffs, 'probes').filter(
      ({ key }) => !known.has(JSON.stringify(key)),
    );
    assert.deepEqual(strays, [], `probes without a binding on node ${at + 1}`);
    assert.deepEqual(
      countsOf(bpffs),
      countPorts(bindings, ports.length),
      `binding counts of the ports of node ${at + 1}`,
    );
    return { pins, ids };
  }

  /**
   * Waits until each node has the routes to the hosts of the other, by the other, while the hosts go on sending: a
   * silent host has one only as long as the bridge knows its MAC.
   */
  async #routesAgree(fabric: Fabric): Promise<void> {
    for (let look = 1; ; look++) {
      const wrong = fabric.nodes.flatMap(({ frr }, at) => {
        const { address } = fabric.node(2 - at);
        const routes = frr.macIpRoutes().filter(({ nextHop }) => nextHop === address);
        const { must } = this.#expect(1 - at, true);
        const sends = (mac: string): boolean => this.#model.vms.get(mac)?.behavior === 'sends';
        const sure = new Map([...must].filter(([, mac]) => sends(mac)));
        const may = new Map([...must].map(([ip, mac]) => [ip, new Set([mac])]));
        const found = new Map(routes.map(({ ip, mac }) => [ip, mac]));
        return differences(found, { must: sure, may }).map(
          (line) => `at node ${at + 1}, the route to ${line}`,
        );
      });
      if (wrong.length === 0) return this.#count('checks of routes', look);
      assert.ok(look < MOST_LOOKS, wrong.join('\n'));
      await sleep(TICK_MS / 2);
      this.#announce();
      this.#plainRun(0);
    }
  }

  /** Nothing has grown, and snoopy leaves nothing behind. */
  async #end(): Promise<void> {
    assertFlat('memory of a run', this.#runKib, RUN_GROWTH_KIB);
    assertFlat('memory of the run that listens', this.#listenerKib, LISTENER_GROWTH_KIB);
    await this.#listener?.stop('SIGTERM');
    for (const [at, { netns, bridge }] of this.#nodes.entries()) {
      const run = this.#snoopy(at).reconcile();
      assertWell(run);
      if (at === 1)
        assert.equal(run.report.changed, false, `the run that listened left something${outputOf(run)}`);
      const removal = this.#snoopy(at).run('remove');
      assert.equal(removal.code, 0, outputOf(removal));
      assert.deepEqual(listPins(this.#snoopy(at).bpffs), []);
      assert.deepEqual(listOwnNeighbors(netns, bridge), []);
      for (const port of this.#model.ports(at)) {
        assert.deepEqual(attachedPrograms(netns, port), [], `programs on ${port}`);
        const qdiscs = listQdiscs(netns, port).filter(({ kind }) => kind === 'clsact' || kind === 'ingress');
        assert.deepEqual(qdiscs, [], `qdiscs of ${port}`);
      }
      assert.equal(otherEntries(this.#node(at)), this.#others[at], 'an entry of another owner has changed');
    }
  }

  // Output

  #note(tick: number, ...lines: readonly string[]): void {
    const time = (performance.now() / 1000).toFixed(1);
    this.#log.push(...lines.map((line) => `${time} s, tick ${tick}: ${line}`));
  }

  #count(what: string, much: number): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + much);
  }

  #summarize(): void {
    this.#t.diagnostic(
      `seed ${this.#seed}; ${[...this.#counts].map(([what, n]) => `${what}: ${n}`).join('; ')}`,
    );
    this.#t.diagnostic(`memory of the run that listens, by checkpoints: ${this.#listenerKib.join(' ')} KiB`);
    for (const [what, samples] of [
      ['a run', this.#runKib],
      ['the run that listens', this.#listenerKib],
    ] as const) {
      const { first, last } = thirds(samples);
      const most = Math.max(0, ...samples);
      this.#t.diagnostic(
        `memory of ${what}: ${first} KiB at first, ${last} KiB at last, ${most} KiB at most`,
      );
    }
  }

  #node(at: number): Node {
    return this.#world.node(at);
  }

  #snoopy(at: number): Snoopy {
    const snoopy = this.#snoopies[at];
    if (snoopy === undefined) throw new RangeError(`there is no node ${at}`);
    return snoopy;
  }
}

function assertWell(result: Result): void {
  const { report } = withReport(result);
  assert.equal(result.code, 0, outputOf(result));
  assert.deepEqual(report.errors, [], outputOf(result));
  assert.deepEqual(report.remaining, [], outputOf(result));
  assert.equal(report.ring.dropped, 0, outputOf(result));
}

function ownNeighbors({ netns, bridge }: Node): Map<string, string> {
  return new Map(listOwnNeighbors(netns, bridge).map(({ dst, lladdr = '' }) => [dst, lladdr]));
}

function ownText({ netns, bridge }: Node): string {
  return neighborText(netns, bridge, /proto 115\b/);
}

function otherEntries({ netns, bridge }: Node): string {
  return neighborText(netns, bridge, /proto static\b/);
}

interface MapEntry<K, V> {
  readonly key: K;
  readonly value: V;
}

/** The fields of a binding's key that are used here. */
interface Key {
  readonly family: number;
  readonly ip: readonly number[];
}

function dumpMap<K, V>(bpffs: string, map: string): MapEntry<K, V>[] {
  const argv = ['bpftool', '--json', 'map', 'dump', 'pinned', join(bpffs, 'snoopy', map)];
  return runJson<{ readonly formatted: MapEntry<K, V> }[]>(argv).map(({ formatted }) => formatted);
}

/** The number of bindings of each port by its own counts (bpf/snoopy.h), sorted. */
function countsOf(bpffs: string): number[] {
  const states = dumpMap<number, { readonly gained: number; readonly lost: number }>(bpffs, 'state');
  const state = new Map(states.map(({ key, value }) => [key, value]));
  return dumpMap<number, { readonly released: number }>(bpffs, 'ports')
    .map(({ key, value: { released } }) => {
      const { gained, lost } = state.get(key) ?? { gained: Number.NaN, lost: 0 };
      state.delete(key);
      return gained - lost - released;
    })
    .concat([...state].map(() => Number.NaN))
    .sort((a, b) => a - b);
}

/** The number of bindings of each port of a node, sorted. Most have some, the others none. */
function countPorts(bindings: readonly MapEntry<Key, { readonly port: number }>[], ports: number): number[] {
  const counts = new Map<number, number>();
  for (const { value } of bindings) counts.set(value.port, (counts.get(value.port) ?? 0) + 1);
  const none = Array.from({ length: ports - counts.size }, () => 0);
  return [...none, ...counts.values()].sort((a, b) => a - b);
}

/** Addresses of the bindings map. */
function boundIps({ bpffs }: Snoopy): string[] {
  return dumpMap<Key, unknown>(bpffs, 'bindings').map(({ key: { family, ip } }) =>
    family === 2 ? ip.slice(0, 4).join('.') : ipv6Text(ip),
  );
}

/** In the form of RFC 5952, which the URL standard requires as well. */
function ipv6Text(bytes: readonly number[]): string {
  const groups = Array.from({ length: 8 }, (_, n) => ((bytes[2 * n] ?? 0) << 8) | (bytes[2 * n + 1] ?? 0));
  return new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]/`).hostname.slice(1, -1);
}

/** ID of a pinned program or map. */
function idOf(bpffs: string, pin: string): number {
  const kind = pin.endsWith('/program') ? 'prog' : 'map';
  return runJson<{ readonly id: number }>(['bpftool', '--json', kind, 'show', 'pinned', join(bpffs, pin)]).id;
}

/** The open descriptors of a process, by kind, sorted. */
function openFiles(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory)
    .flatMap((fd) => {
      try {
        return [readlinkSync(join(directory, fd)).replace(/\d+/g, '')];
      } catch {
        // Closed meanwhile.
        return [];
      }
    })
    .sort();
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN);
}

function assertFlat(what: string, samples: readonly number[], mostGrowthKib: number): void {
  const { first, last } = thirds(samples);
  assert.ok(
    last - first <= mostGrowthKib,
    `${what} has grown from ${first} to ${last} KiB: ${samples.join(' ')}`,
  );
}

/** Medians of the first and the last third. */
function thirds(samples: readonly number[]): { readonly first: number; readonly last: number } {
  const third = Math.ceil(samples.length / 3);
  return { first: median(samples.slice(0, third)), last: median(samples.slice(-third)) };
}

function median(samples: readonly number[]): number {
  return [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)] ?? 0;
}

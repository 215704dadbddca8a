// SIGKILL at any instant of any run: the next one mends it, nothing is lost or left behind, and no host was unheard.
//
//   SAFETY_SEED=1 SAFETY_KILLS=500 node test/run.mjs safety/crash
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { bpftool, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { listFilters, listOwnNeighbors } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { PRODUCT, type Report, said, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { Chatter, type Said } from './chatter.ts';
import { Random } from './random.ts';
import { buildShim, type Landed, Launcher } from './shim.ts';

const SEED = Number(process.env['SAFETY_SEED'] ?? 1);
const KILLS = Number(process.env['SAFETY_KILLS'] ?? 500);
/** Machines that are worked on at the same time. */
const LANES = 3;
/** All that is spoken of while there is a program stays; from so many addresses on a `remove` takes it away. */
const MANY_ADDRESSES = 1500;
/** Kills by the clock are spread over so long, in which a run is over. */
const RUN_MS = 180;

/** What the configuration says, and by which program. */
interface Setting {
  readonly attach: 'clsact' | 'tcx';
  readonly ringSize: string;
  /** Which of the lane's sizes of the bindings map. */
  readonly size: number;
  readonly bridge: Readonly<Record<string, unknown>>;
  readonly product: number;
}

/** All that a policy is made of. What tap1 and tap2 say about 10.0.0.0/9 is always learned. */
const POLICIES: readonly Setting['bridge'][] = [
  {},
  { learn: ['arp-request'] },
  { subnets: ['10.0.0.0/8', '2001:db8::/32'] },
  { subnets: ['10.0.0.0/9'], link_local: true },
  { ports: { exclude: ['tap3'] } },
  { static: [{ ip: '10.200.0.3', mac: '02:00:00:00:00:03' }] },
  { static: [{ ip: '10.200.0.1', mac: '02:00:00:00:00:01' }], ports: { exclude: ['tap3'] } },
  { duplicates: { moves: 9, window: '1m', hold: '2m' } },
];

/** What is killed, but for the first attachment, which comes where nothing is there. */
const KINDS = ['upgrade', 'resize', 'policy', 'switch', 'drain', 'everything', 'remove'] as const;
type Kind = (typeof KINDS)[number] | 'attach';

/** What all lanes use. */
interface Tools {
  readonly library: string;
  readonly products: readonly string[];
}

test(`${KILLS} kills, seed ${SEED}`, { timeout: 3_600_000 }, async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const tools: Tools = { library: buildShim(scope), products: [PRODUCT, otherProduct(scope)] };
  const lanes = Array.from({ length: LANES }, (_, number) => new Lane(t, number, tools));
  await Promise.all(lanes.map((lane, number) => lane.work(Math.ceil((KILLS - number) / LANES))));
  const kinds = new Map<string, number>();
  for (const lane of lanes) {
    for (const [kind, count] of lane.kills) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
  }
  t.diagnostic([...kinds].map(([kind, count]) => `${kind} ${count}`).join(', '));
});

/** The bundle with another object, as its digest says. */
function otherProduct(scope: Scope): string {
  const root = dirname(dirname(PRODUCT));
  const directory = createTempDir(scope, 'product');
  mkdirSync(join(directory, 'dist'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  const text = readFileSync(PRODUCT, 'utf8');
  const other = text.replace(/(OBJECT_DIGEST = ")[0-9a-f]{8}/, '$1ffffffff');
  assert.notEqual(other, text);
  const path = join(directory, 'dist', 'snoopy.cjs');
  writeFileSync(path, other);
  return path;
}

/** A machine whose hosts speak while runs are killed on it. */
class Lane {
  readonly kills = new Map<string, number>();
  readonly #machine: Machine;
  readonly #launcher: Launcher;
  readonly #chatter: Chatter;
  readonly #random: Random;
  readonly #products: readonly string[];
  readonly #sizes: readonly number[];
  readonly #textfile: string;
  readonly #ifIndexes: ReadonlyMap<string, number>;
  /** How many calls that change something the last whole run of a kind made. */
  readonly #lengths = new Map<Kind, number>();
  #setting: Setting = { attach: 'clsact', ringSize: '64KiB', size: 0, bridge: {}, product: 0 };
  #isInstalled = false;
  /** From this address on, all that were spoken of must be known. */
  #first = 0;
  /** What was done last, for whoever reads a failure. */
  readonly #story: string[] = [];

  constructor(t: { after(undo: () => void): void }, number: number, tools: Tools) {
    this.#machine = new Machine(t, { hosts: 3 });
    const { scope, netns, far, snoopy, hosts } = this.#machine;
    this.#random = new Random(SEED * 1000 + number);
    this.#products = tools.products;
    // By their sizes the maps in the kernel are known as this lane's.
    this.#sizes = [0, 1].map((which) => 10_000 + (process.pid % 5000) * 8 + number * 2 + which);
    this.#textfile = join(createTempDir(scope, 'textfile'), 'snoopy.prom');
    this.#launcher = new Launcher(scope, netns, tools.library, [snoopy.bpffs, this.#textfile]);
    this.#chatter = new Chatter(scope, far, '10.7', hosts.slice(0, 2));
    const lines = netns.json<{ ifname: string; ifindex: number }[]>('ip', '-json', 'link', 'show');
    this.#ifIndexes = new Map(lines.map(({ ifname, ifindex }) => [ifname, ifindex]));
    // Silent hosts stay in the FDB for as long as this takes.
    this.#machine.run('ip', 'link', 'set', 'br0', 'type', 'bridge', 'ageing_time', '10000000');
    // Somebody else's clsact on one port, which is in use.
    this.#machine.run('tc', 'qdisc', 'add', 'dev', 'tap3', 'clsact');
    const match = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];
    this.#machine.run('tc', 'filter', 'add', 'dev', 'tap3', 'egress', 'pref', '20', ...match);
    this.#machine.host(3).announce();
  }

  /** Kills so many runs. */
  async work(kills: number): Promise<void> {
    // Some of the runs end before their time has come.
    for (let done = 0, rounds = 0; done < kills; rounds++) {
      assert.ok(rounds < 2 * kills + 20, `of ${rounds} runs only ${done} were killed`);
      try {
        if (await this.#round()) done++;
      } catch (thrown) {
        const replay = `SAFETY_SEED=${SEED} SAFETY_KILLS=${KILLS} node test/run.mjs safety/crash`;
        const story = this.#story.slice(-12).join('\n  ');
        throw new Error(`${thrown}\nwhat came before:\n  ${story}\nto see it again: ${replay}`, {
          cause: thrown,
        });
      }
    }
  }

  /** One run that is killed, the one that mends it, and a look at everything. False when it was not killed. */
  async #round(): Promise<boolean> {
    const kind = this.#nextKind();
    const wasInstalled = this.#isInstalled;
    this.#setting = this.#changed(kind);
    this.#configure();
    const heardBefore = wasInstalled ? this.#heard() : 0;
    const before = await this.#chatter.pause();
    this.#chatter.go();

    const killed = await this.#kill(kind);
    const isRemoved = kind === 'remove' && this.#random.chance(0.5);
    const mend = await this.#run(isRemoved ? 'remove' : 'reconcile');
    this.#tell(`${kind}: ${describe(killed)}; then ${isRemoved ? 'remove' : 'reconcile'}`);
    assert.equal(mend.code, 0, said(mend));
    const attached = await this.#chatter.pause();
    if (!wasInstalled || kind === 'remove') this.#first = attached.addresses;
    this.#isInstalled = !isRemoved;

    const idle = await this.#run(isRemoved ? 'remove' : 'reconcile');
    this.#assertIdle(idle);
    if (isRemoved) await this.#assertGone();
    else await this.#assertWhole(attached);
    if (wasInstalled && kind !== 'remove') {
      const missed = attached.frames - before.frames - (this.#heard() - heardBefore);
      assert.ok(missed <= 0, `${missed} of ${attached.frames - before.frames} frames were not heard`);
    }
    if (killed.signal === null) return false;
    this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1);
    return true;
  }

  #nextKind(): Kind {
    if (!this.#isInstalled) return 'attach';
    const kind = this.#random.pick(KINDS);
    return this.#known > MANY_ADDRESSES ? 'remove' : kind;
  }

  #known = 0;

  /** The setting after a change of this kind. */
  #changed(kind: Kind): Setting {
    const now = this.#setting;
    const random = this.#random;
    const product = 1 - now.product;
    const bridge = random.pick(POLICIES.filter((policy) => policy !== now.bridge));
    const attach = now.attach === 'clsact' ? 'tcx' : 'clsact';
    const ringSize = now.ringSize === '64KiB' ? '128KiB' : '64KiB';
    const size = 1 - now.size;
    switch (kind) {
      case 'upgrade':
        return { ...now, product };
      case 'resize':
        return random.chance(0.5) ? { ...now, size } : { ...now, size, ringSize };
      case 'policy':
        return { ...now, bridge };
      case 'switch':
        return { ...now, attach };
      case 'everything':
        return { attach, bridge, product, ringSize, size };
      case 'attach':
        return { ...now, attach: random.pick(['clsact', 'tcx']), bridge };
      case 'drain':
      case 'remove':
        return now;
      default:
        return kind satisfies never;
    }
  }

  #configure(): void {
    const { attach, ringSize, size, bridge } = this.#setting;
    const limits = { bindings_per_port: 60_000, new_bindings_per_second: 100_000 };
    this.#machine.snoopy.configure({
      runtime: { attach, ring_size: ringSize, max_bindings: this.#sizes[size] },
      bridges: [{ name: 'br0', limits, ...bridge }],
      metrics: { textfile: this.#textfile },
    });
  }

  /** Most kills are at a call that changes something, just before it or just after; the others by the clock. */
  async #kill(kind: Kind): Promise<Landed> {
    const random = this.#random;
    const launch = this.#launch(kind === 'remove' ? 'remove' : 'reconcile');
    if (random.chance(0.2)) {
      return this.#launcher.launch({ ...launch, killAfterMs: random.below(RUN_MS) });
    }
    // A few more than there were the last time, lest the end is never reached.
    const at = 1 + random.below(Math.ceil((this.#lengths.get(kind) ?? 20) * 1.1));
    const what = random.chance(0.5) ? 'kill' : 'kill-after';
    const landed = await this.#launcher.launch({ ...launch, counted: 'change', mishap: { at, what } });
    if (landed.signal === null) this.#lengths.set(kind, landed.calls.length);
    return landed;
  }

  #run(command: 'reconcile' | 'remove'): Promise<Landed> {
    return this.#launcher.launch(this.#launch(command));
  }

  #launch(command: string): { args: string[]; config: string; product: string } {
    const product = this.#products[this.#setting.product] ?? PRODUCT;
    return { args: [command], config: this.#machine.snoopy.configFile, product };
  }

  #tell(line: string): void {
    const { bridge, ...rest } = this.#setting;
    this.#story.push(`${line} [${Object.values(rest).join(' ')} ${JSON.stringify(bridge)}]`);
  }

  #assertIdle(run: Landed): void {
    assert.equal(run.code, 0, said(run));
    const report: Report = withReport(run).report;
    assert.equal(report.changed, false, said(run));
    assert.deepEqual(report.steps, [], said(run));
    assert.deepEqual(report.remaining, [], said(run));
  }

  /** Frames that the program has counted as sightings: all that the chatter says are. */
  #heard(): number {
    type PerCpu = { readonly values: readonly { readonly value: number }[] };
    const [sightings] = this.#machine.dump<PerCpu>('counters');
    return (sightings?.values ?? []).reduce((sum, { value }) => sum + value, 0);
  }

  /** The program is where it must be and nowhere else, and all that were spoken of have bindings and neighbors. */
  async #assertWhole({ addresses }: Said): Promise<void> {
    const machine = this.#machine;
    const { attach, bridge } = this.#setting;
    const isExcluded = bridge['ports'] !== undefined;
    const ports = ['tap1', 'tap2', ...(isExcluded ? [] : ['tap3'])];
    const program = machine.programId();
    const links = ports.map((port) => `snoopy/links/${this.#ifIndexes.get(port)}`);
    const maps = [
      'bindings',
      'changes',
      'counters',
      'layout',
      'ports',
      'prefixes',
      'probes',
      'state',
      'statics',
    ];
    const pins = ['snoopy', ...[...maps, 'program'].map((name) => `snoopy/${name}`)];
    const found = listPins(machine.snoopy.bpffs).filter((path) => path !== 'snoopy/links');
    assert.deepEqual(found, [...pins, ...(attach === 'tcx' ? links : [])].sort());
    if (attach === 'tcx') {
      for (const link of links) {
        const { prog_id: id } = bpftool<{ prog_id: number }>(
          'link',
          'show',
          'pinned',
          `${machine.snoopy.bpffs}/${link}`,
        );
        assert.equal(id, program, link);
      }
    }
    for (const port of ['tap1', 'tap2', 'tap3']) {
      const programs = attach === 'clsact' && ports.includes(port) ? [program] : [];
      assert.deepEqual(machine.filterPrograms(port), programs, port);
    }
    this.#assertQdiscs(attach === 'clsact' ? ['tap1', 'tap2', 'tap3'] : ['tap3']);
    await this.#assertObjects({ programs: 1, maps: 2 });

    const wanted = this.#chatter.hosts(this.#first, addresses);
    this.#known = wanted.length;
    const neighbors = new Set(machine.ownNeighbors());
    const bindings = new Set(this.#bindings());
    assert.deepEqual(
      wanted.filter((host) => !bindings.has(host)),
      [],
      'hosts without a binding',
    );
    assert.deepEqual(
      wanted.filter((host) => !neighbors.has(host)),
      [],
      'hosts without a neighbor',
    );
  }

  /** Nothing of snoopy is there. */
  async #assertGone(): Promise<void> {
    const machine = this.#machine;
    assert.deepEqual(listPins(machine.snoopy.bpffs), []);
    assert.deepEqual(listOwnNeighbors(machine.netns, 'br0'), []);
    for (const port of ['tap1', 'tap2', 'tap3']) assert.deepEqual(listFilters(machine.netns, port), []);
    this.#assertQdiscs(['tap3']);
    await this.#assertObjects({ programs: 0, maps: 0 });
    assert.equal(existsSync(this.#textfile), false);
    this.#known = 0;
  }

  #assertQdiscs(ports: readonly string[]): void {
    const lines = this.#machine.netns.json<{ kind: string; dev: string }[]>('tc', '-json', 'qdisc', 'show');
    const found = lines.filter(({ kind }) => kind === 'clsact').map(({ dev }) => dev);
    assert.deepEqual(found.sort(), ports);
  }

  /** The kernel frees what nobody holds a little later. */
  async #assertObjects(wanted: { programs: number; maps: number }): Promise<void> {
    type Listed = {
      readonly id: number;
      readonly max_entries?: number;
      readonly map_ids?: readonly number[];
    };
    const found = await until(
      `${wanted.programs} programs and ${wanted.maps} maps in the kernel`,
      () => {
        const maps = bpftool<Listed[]>('map', 'show').filter(({ max_entries: size = 0 }) =>
          this.#sizes.includes(size),
        );
        const ids = new Set(maps.map(({ id }) => id));
        const programs = bpftool<Listed[]>('prog', 'show').filter(({ map_ids: held = [] }) =>
          held.some((id) => ids.has(id)),
        );
        return { programs: programs.length, maps: maps.length };
      },
      ({ programs, maps }) => programs === wanted.programs && maps === wanted.maps,
      { timeoutMs: 5000, everyMs: 50 },
    );
    assert.deepEqual(found, wanted);
  }

  /** `ip mac` of the bindings, as bpftool decodes the map. */
  #bindings(): string[] {
    type Entry = {
      readonly key: { readonly ip: readonly number[] };
      readonly value: { readonly mac: readonly number[] };
    };
    return this.#machine.dump<Entry>('bindings').map(({ key, value }) => {
      const mac = value.mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
      return `${key.ip.slice(0, 4).join('.')} ${mac}`;
    });
  }
}

/** Where a run was ended. */
function describe({ signal, calls }: Landed): string {
  if (signal === null) return 'not killed';
  return calls.length === 0 ? 'killed by the clock' : `killed at call ${calls.length}, ${calls.at(-1)}`;
}

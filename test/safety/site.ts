// A machine on which runs go wrong, and its required state after the next run.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bpftool, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { listFilters, listOwnNeighbors } from '../lib/oracles.ts';
import { run } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { outputOf, PRODUCT, type Report, START, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { buildShim, type Launched, Launcher, type Way } from './shim.ts';

/** A configuration, and the program that applies it. */
export interface Setting {
  readonly attach: 'clsact' | 'tcx';
  readonly ringSize: string;
  /** Which of the site's sizes of the bindings map. */
  readonly size: number;
  /** Keys of the bridge besides its name and limits. */
  readonly bridge: Readonly<Record<string, unknown>>;
  /** Which of the products. */
  readonly product: number;
}

/** Shared by all sites. */
export interface Tools {
  readonly library: string;
  /** The shipped product, and one with another object, by its digest. */
  readonly products: readonly string[];
}

export function makeTools(scope: Scope): Tools {
  return { library: buildShim(scope), products: [START, makeOtherProduct(scope)] };
}

function makeOtherProduct(scope: Scope): string {
  const root = dirname(dirname(PRODUCT));
  const directory = createTempDir(scope, 'product');
  mkdirSync(join(directory, 'dist'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  const text = readFileSync(PRODUCT, 'utf8');
  const other = text.replace(/(OBJECT_DIGEST = ")[0-9a-f]{8}/, '$1ffffffff');
  assert.notEqual(other, text);
  const inside = (name: string): string => join(directory, 'dist', name);
  for (const name of ['start.cjs', 'precompile.cjs']) copyFileSync(join(root, 'dist', name), inside(name));
  writeFileSync(inside('snoopy.cjs'), other);
  run([process.execPath, inside('precompile.cjs')]);
  return inside('start.cjs');
}

const PORTS = ['tap1', 'tap2', 'tap3'];
const MAPS = [
  'bindings',
  'changes',
  'counters',
  'seen',
  'hints',
  'layout',
  'ports',
  'prefixes',
  'probes',
  'rejected',
  'state',
  'statics',
];

/** Three hosts, one of them behind a port whose clsact qdisc is of another owner. */
export class Site {
  readonly machine: Machine;
  readonly textfile: string;
  readonly #launcher: Launcher;
  readonly #products: readonly string[];
  readonly #sizes: readonly number[];
  readonly #ifIndexes: ReadonlyMap<string, number>;
  #setting: Setting = { attach: 'clsact', ringSize: '64KiB', size: 0, bridge: {}, product: 0 };

  /** `number` tells the sites of one process apart. */
  constructor(t: { after(undo: () => void): void }, number: number, tools: Tools) {
    this.machine = new Machine(t, { hosts: 3 });
    const { scope, netns, snoopy } = this.machine;
    this.#products = tools.products;
    // The sizes of its maps identify this site's maps in the kernel.
    this.#sizes = [0, 1].map((which) => 10_000 + (process.pid % 5000) * 8 + number * 2 + which);
    this.textfile = join(createTempDir(scope, 'textfile'), 'snoopy.prom');
    this.#launcher = new Launcher(scope, netns, tools.library, [
      snoopy.bpffs,
      this.textfile,
      snoopy.configFile,
    ]);
    const lines = netns.json<{ ifname: string; ifindex: number }[]>('ip', '-json', 'link', 'show');
    this.#ifIndexes = new Map(lines.map(({ ifname, ifindex }) => [ifname, ifindex]));
    // Silent hosts stay in the FDB for as long as this takes.
    this.machine.run('ip', 'link', 'set', 'br0', 'type', 'bridge', 'ageing_time', '10000000');
    this.machine.run('tc', 'qdisc', 'add', 'dev', 'tap3', 'clsact');
    const match = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];
    this.machine.run('tc', 'filter', 'add', 'dev', 'tap3', 'egress', 'pref', '20', ...match);
    this.machine.host(3).announce();
    this.set(this.#setting);
  }

  get setting(): Setting {
    return this.#setting;
  }

  /** Writes the configuration; later runs use this setting. */
  set(setting: Setting): void {
    this.#setting = setting;
    const { attach, ringSize, size, bridge } = setting;
    const limits = { bindings_per_port: 60_000, new_bindings_per_second: 100_000 };
    this.machine.snoopy.configure({
      runtime: { attach, ring_size: ringSize, max_bindings: this.#sizes[size] },
      bridges: [{ name: 'br0', limits, ...bridge }],
      metrics: { textfile: this.textfile },
    });
  }

  run(command: 'reconcile' | 'remove', way: Way = {}): Promise<Launched> {
    const product = this.#products[this.#setting.product] ?? START;
    return this.#launcher.launch({
      args: [command],
      config: this.machine.snoopy.configFile,
      product,
      ...way,
    });
  }

  /** Runs it. It must succeed and have nothing to do except for neighbors. */
  async assertIdle(command: 'reconcile' | 'remove'): Promise<Report> {
    const result = await this.run(command);
    assert.equal(result.code, 0, outputOf(result));
    const { report } = withReport(result);
    assert.equal(report.changed, false, outputOf(result));
    assert.deepEqual(report.steps, [], outputOf(result));
    assert.deepEqual(report.remaining, [], outputOf(result));
    return report;
  }

  /** Sightings that the program has counted. */
  sightings(): number {
    type PerCpu = { readonly values: readonly { readonly value: number }[] };
    const [sightings] = this.machine.dump<PerCpu>('counters');
    return (sightings?.values ?? []).reduce((sum, { value }) => sum + value, 0);
  }

  /** The ports that the program is attached to, in the way of the setting or in the other. */
  attached(): string[] {
    return PORTS.filter((port) => {
      const link = `${this.machine.pins}/links/${this.#ifIndexes.get(port)}`;
      return this.machine.filterPrograms(port).length > 0 || existsSync(link);
    });
  }

  /** The program is attached exactly where it must be, and the hosts (`ip mac`) have bindings and neighbors. */
  async assertWhole(hosts: readonly string[]): Promise<void> {
    const { machine } = this;
    const { attach, bridge } = this.#setting;
    const ports = PORTS.filter((port) => port !== 'tap3' || bridge['ports'] === undefined);
    const program = machine.programId();
    const links = ports.map((port) => `snoopy/links/${this.#ifIndexes.get(port)}`);
    const pins = ['snoopy', ...[...MAPS, 'program'].map((name) => `snoopy/${name}`)];
    const found = listPins(machine.snoopy.bpffs).filter((path) => path !== 'snoopy/links');
    assert.deepEqual(found, [...pins, ...(attach === 'tcx' ? links : [])].sort());
    for (const link of attach === 'tcx' ? links : []) {
      const path = `${machine.snoopy.bpffs}/${link}`;
      assert.equal(bpftool<{ prog_id: number }>('link', 'show', 'pinned', path).prog_id, program, link);
    }
    for (const port of PORTS) {
      const programs = attach === 'clsact' && ports.includes(port) ? [program] : [];
      assert.deepEqual(machine.filterPrograms(port), programs, port);
    }
    this.#assertQdiscs(attach === 'clsact' ? PORTS : ['tap3']);
    await this.#assertObjects({ programs: 1, maps: 2 });
    const bindings = new Set(this.bindings());
    const without = hosts.filter((host) => !bindings.has(host));
    assert.deepEqual(without, [], 'hosts without a binding');
    const neighbors = new Set(machine.ownNeighbors());
    const unreachable = hosts.filter((host) => !neighbors.has(host));
    assert.deepEqual(unreachable, [], 'hosts without a neighbor');
  }

  /** Nothing of snoopy is left. */
  async assertGone(): Promise<void> {
    const { machine } = this;
    assert.deepEqual(listPins(machine.snoopy.bpffs), []);
    assert.deepEqual(listOwnNeighbors(machine.netns, 'br0'), []);
    for (const port of PORTS) assert.deepEqual(listFilters(machine.netns, port), []);
    this.#assertQdiscs(['tap3']);
    await this.#assertObjects({ programs: 0, maps: 0 });
    assert.equal(existsSync(this.textfile), false);
  }

  #assertQdiscs(ports: readonly string[]): void {
    const lines = this.machine.netns.json<{ kind: string; dev: string }[]>('tc', '-json', 'qdisc', 'show');
    const found = lines.filter(({ kind }) => kind === 'clsact').map(({ dev }) => dev);
    assert.deepEqual(found.sort(), ports, 'ports with a clsact qdisc');
  }

  /** The kernel frees unreferenced objects a little later. */
  async #assertObjects(wanted: { readonly programs: number; readonly maps: number }): Promise<void> {
    type MapLine = { readonly id: number; readonly max_entries: number };
    type ProgramLine = { readonly map_ids?: readonly number[] };
    await until(
      `${wanted.programs} programs and ${wanted.maps} maps of this site`,
      () => {
        const maps = bpftool<MapLine[]>('map', 'show').filter((map) => this.#sizes.includes(map.max_entries));
        const ids = new Set(maps.map(({ id }) => id));
        const isOurs = ({ map_ids: held = [] }: ProgramLine): boolean => held.some((id) => ids.has(id));
        return { programs: bpftool<ProgramLine[]>('prog', 'show').filter(isOurs).length, maps: maps.length };
      },
      ({ programs, maps }) => programs === wanted.programs && maps === wanted.maps,
      { everyMs: 50 },
    );
  }

  /** `ip mac` of the bindings in IPv4, as bpftool decodes their map. */
  bindings(): string[] {
    type Entry = {
      readonly key: { readonly ip: readonly number[] };
      readonly value: { readonly mac: readonly number[] };
    };
    return this.machine.dump<Entry>('bindings').map(({ key, value }) => {
      const mac = value.mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
      return `${key.ip.slice(0, 4).join('.')} ${mac}`;
    });
  }
}

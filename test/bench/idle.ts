// A run with nothing to do: beside `node -e 0`, and how it grows with the size of the node.
import { parseJson } from '../lib/run.ts';
import type { Report } from '../lib/snoopy.ts';
import { interleave, NOTHING, peakOf, systemOf, type Tools, wallOf } from './measure.ts';
import { atMost, type Row, row, type Side } from './rows.ts';
import { Site } from './site.ts';

const ROUNDS = 15;
/** Lists most of what a run reads from the kernel: all but its filters and maps. */
export const LISTS = 'ip -details link show; tc qdisc show; bridge fdb show br br0; ip neighbor show';
const GROUP = 'nothing to do';
const SIZES = [
  { ports: 10, hosts: 100, wall: 1.35, lists: null, memory: 1.3 },
  { ports: 1_000, hosts: 10_000, wall: 3, lists: 1, memory: null },
] as const;

export function measureIdle(tools: Tools): Row[] {
  return SIZES.flatMap(({ ports, hosts, wall, lists, memory }) => {
    const site = new Site(tools, ports);
    try {
      installAll(site, hosts);
      const samples = interleave(ROUNDS, {
        own: () => tools.measure(site.netns, site.argv('reconcile', '--quiet')),
        nothing: () => tools.measure(site.netns, NOTHING),
        iproute: () => tools.measure(site.netns, ['sh', '-c', LISTS]),
      });
      const name = `${ports} ports, ${hosts} bindings`;
      const time = (what: string, value: number): Side => ({ what, value, unit: 'ms' });
      const space = (what: string, value: number): Side => ({ what, value, unit: 'MB' });
      return [
        row(
          GROUP,
          `${name}: time`,
          time('snoopy', wallOf(samples.own)),
          time('node -e 0', wallOf(samples.nothing)),
          'ratio',
          atMost(wall),
        ),
        row(
          GROUP,
          `${name}: time`,
          time('snoopy', wallOf(samples.own)),
          time('iproute2 lists as much', wallOf(samples.iproute)),
          'ratio',
          lists === null ? null : atMost(lists),
        ),
        row(
          GROUP,
          `${name}: time in the kernel`,
          time('snoopy', systemOf(samples.own)),
          time('node -e 0', systemOf(samples.nothing)),
          'difference',
        ),
        row(
          GROUP,
          `${name}: time in the kernel`,
          time('snoopy', systemOf(samples.own)),
          time('iproute2 lists as much', systemOf(samples.iproute)),
          'ratio',
        ),
        row(
          GROUP,
          `${name}: memory`,
          space('snoopy', peakOf(samples.own)),
          space('node -e 0', peakOf(samples.nothing)),
          'ratio',
          memory === null ? null : atMost(memory),
        ),
      ];
    } finally {
      site.close();
    }
  });
}

/** What grows, from step to step. */
interface Growth {
  readonly name: string;
  readonly grow: (site: Site, size: number) => void;
  /** Its largest step, where that is below ten thousand. */
  readonly most?: number;
}

const GROWTHS: readonly Growth[] = [
  // The program's map has room for 8,192.
  { name: 'ports', grow: (site, size) => site.addPorts(size), most: 8_000 },
  { name: 'bindings', grow: (site, size) => installAll(site, size) },
  { name: 'neighbors of others', grow: (site, size) => site.addOthers(size) },
  {
    name: 'foreign FDB entries',
    grow: (site, size) => site.placeHosts(size),
  },
];

/** The largest step of each is ten thousand; `SNOOPY_BENCH_MOST` ends them earlier. */
function steps(): number[] {
  const most = Number(process.env['SNOOPY_BENCH_MOST'] ?? 10_000);
  return [10, 100, 1_000, 10_000].filter((size) => size <= most);
}

export function measureGrowth(tools: Tools): Row[] {
  return GROWTHS.flatMap((growth) => {
    const site = new Site(tools, 10);
    try {
      installAll(site, 10);
      const times = steps().map((step) => {
        const size = Math.min(step, growth.most ?? step);
        growth.grow(site, size);
        installAll(site, 10);
        const { own } = interleave(Math.ceil(ROUNDS / 2), {
          own: () => tools.measure(site.netns, site.argv('reconcile', '--quiet')),
        });
        return { size, ms: wallOf(own) };
      });
      return growthRow(growth.name, times) ?? [];
    } finally {
      site.close();
    }
  });
}

/** How far two medians of the same value may lie apart. */
const NOISE_MS = 10;

/** The last step costs as much as the earlier ones predict: one more item costs as much among many as among few. */
function growthRow(
  name: string,
  times: readonly { readonly size: number; readonly ms: number }[],
): Row | undefined {
  const [first, before, last] = [times.at(0), times.at(-2), times.at(-1)];
  if (first === undefined || before === undefined || last === undefined || before === first) return undefined;
  const more = last.size - before.size;
  const expected = ((Math.max(0, before.ms - first.ms) + NOISE_MS) / (before.size - first.size)) * more;
  const slope = Math.max(0, last.ms - before.ms) / more;
  const steps = times.map(({ size, ms }) => `${size}: ${ms.toFixed(0)} ms`).join(', ');
  return row(
    'growth',
    `${(slope * 1e3).toFixed(1)} us for each of the ${name} (${steps})`,
    { what: 'the last step', value: slope * more, unit: 'ms' },
    { what: 'by the steps before', value: expected, unit: 'ms' },
    'ratio',
    atMost(1.5),
  );
}

/** Everything due is done, and hosts up to `hosts` are installed. */
export function installAll(site: Site, hosts: number): void {
  site.placeHosts(hosts);
  site.must('reconcile');
  site.announce(0, hosts);
  site.must('reconcile');
  const report = parseJson<Report>(site.must('reconcile', '--format', 'json'), 'reconcile');
  if (report.changed || report.neighbors.changed || report.neighbors.total < hosts) {
    throw new Error(`there is something to do: ${JSON.stringify(report).slice(0, 2_000)}`);
  }
}

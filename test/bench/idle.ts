// A run with nothing to do: beside `node -e 0`, and how it grows with what there is.
import { parseJson } from '../lib/run.ts';
import type { Report } from '../lib/snoopy.ts';
import { interleave, NOTHING, peakOf, type Tools, wallOf } from './measure.ts';
import { atMost, type Row, row, type Side } from './rows.ts';
import { Site } from './site.ts';

const ROUNDS = 15;
const GROUP = 'nothing to do';
const SIZES = [
  { ports: 10, hosts: 100, wall: 1.35, memory: 1.3 },
  { ports: 1_000, hosts: 10_000, wall: 2, memory: null },
] as const;

export function measureIdle(tools: Tools): Row[] {
  return SIZES.flatMap(({ ports, hosts, wall, memory }) => {
    const site = new Site(tools, ports);
    try {
      settle(site, hosts);
      const samples = interleave(ROUNDS, {
        own: () => tools.measure(site.netns, site.argv('reconcile', '--quiet')),
        nothing: () => tools.measure(site.netns, NOTHING),
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

/** What grows, from step to step; `settle` is what else the first step needs. */
interface Growth {
  readonly name: string;
  readonly grow: (site: Site, size: number) => void;
}

const GROWTHS: readonly Growth[] = [
  { name: 'ports', grow: (site, size) => site.addPorts(size) },
  { name: 'bindings', grow: (site, size) => settle(site, size) },
  { name: 'neighbors of others', grow: (site, size) => site.addForeign(size) },
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
      settle(site, 10);
      const times = steps().map((size) => {
        growth.grow(site, size);
        settle(site, 10);
        const { own } = interleave(Math.ceil(ROUNDS / 2), {
          own: () => tools.measure(site.netns, site.argv('reconcile', '--quiet')),
        });
        return { size, ms: wallOf(own) };
      });
      return growthRows(growth.name, times);
    } finally {
      site.close();
    }
  });
}

/** A thing more costs as much between the last two steps as before; the slope is that of the last. */
function growthRows(name: string, times: readonly { readonly size: number; readonly ms: number }[]): Row[] {
  const slope = (from: number, to: number): Side => {
    const [a, b] = [times.at(from), times.at(to)];
    if (a === undefined || b === undefined) throw new RangeError('too few steps');
    const value = Math.max(0, ((b.ms - a.ms) * 1e3) / (b.size - a.size));
    return { what: `from ${a.size} to ${b.size}`, value, unit: 'us' };
  };
  const told = times.map(({ size, ms }) => `${size}: ${ms.toFixed(0)} ms`).join(', ');
  return [row('growth', `each of the ${name} (${told})`, slope(-2, -1), slope(0, -2), 'ratio', atMost(1.5))];
}

/** All there is to do is done, hosts up to `hosts` installed. */
function settle(site: Site, hosts: number): void {
  site.placeHosts(hosts);
  site.must('reconcile');
  site.speak(0, hosts);
  site.must('reconcile');
  const report = parseJson<Report>(site.must('reconcile', '--format', 'json'), 'reconcile');
  if (report.changed || report.neighbors.changed || report.neighbors.total < hosts) {
    throw new Error(`there is something to do: ${JSON.stringify(report).slice(0, 2_000)}`);
  }
}

// New hosts: from the ring to the neighbor table, beside `ip -batch` and C.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseJson } from '../lib/run.ts';
import type { Report } from '../lib/snoopy.ts';
import { interleave, median, NOTHING, peakOf, type Tools, wallOf } from './measure.ts';
import { atMost, type Row, row } from './rows.ts';
import { hostIp, hostMac, Site } from './site.ts';

const ROUNDS = 5;
const PORTS = 10;

/** With their goals. There is none beside `ip -batch`, whose time for a system call differs by five from machine to machine. */
const SIZES = [
  { hosts: 10_000, whole: 2.2, own: 7, memory: null },
  { hosts: 50_000, whole: null, own: 7, memory: 2.5 },
] as const;

export function measureHosts(tools: Tools): Row[] {
  const restore = raiseThresholds();
  try {
    return SIZES.flatMap((size) => measureSize(tools, size));
  } finally {
    restore();
  }
}

function measureSize(tools: Tools, size: (typeof SIZES)[number]): Row[] {
  const { hosts } = size;
  const group = `${hosts} new hosts`;
  const site = new Site(tools, PORTS, { max_bindings: 131_072, ring_size: '8MiB' });
  try {
    site.placeHosts(hosts);
    const device = site.indexOf('br0');
    const lines = Array.from(
      { length: hosts },
      (_, i) => `neigh add ${hostIp(i)} lladdr ${hostMac(i)} dev br0 nud noarp protocol 115`,
    );
    const batch = site.batchArgv('ip', 'neighbors', lines);
    /** The ports are attached, the hosts seen, and no neighbor is written yet. */
    const prepare = (): void => {
      site.must('remove');
      site.must('reconcile');
      site.announce(0, hosts);
    };
    const check = (): void => {
      const count = site.countNeighbors();
      if (count !== hosts) throw new Error(`there are ${count} neighbors, not ${hosts}`);
    };
    /** iproute2 gives up after some rounds: repeated until no entry is left. */
    const flush = (): void => {
      for (let tries = 0; tries < 5 && site.countNeighbors() > 0; tries++) {
        site.batch('ip', ['neigh flush dev br0 nud noarp']);
      }
    };
    const samples = interleave(ROUNDS, {
      whole: () => {
        prepare();
        const usage = tools.measure(site.netns, site.argv('reconcile'));
        check();
        return usage;
      },
      idle: () => {
        site.must('remove');
        site.must('reconcile');
        return tools.measure(site.netns, site.argv('reconcile'));
      },
      writing: () => {
        prepare();
        const usage = tools.measure(site.netns, site.argv('reconcile', '--format', 'json'));
        const report = parseJson<Report>(tools.output(), 'reconcile');
        check();
        return { ...usage, wallMs: (report.durations['write'] ?? 0) * 1e3 };
      },
      iproute: () => {
        site.must('remove');
        const usage = tools.measure(site.netns, batch);
        check();
        flush();
        return usage;
      },
      c: () => {
        const written = tools.json<{ ms: number; refused: number }>(
          site.netns,
          'neighbors',
          device,
          0,
          hosts,
        );
        if (written.refused > 0) throw new Error(`the kernel refused ${written.refused} neighbors`);
        check();
        flush();
        return written.ms;
      },
      nothing: () => tools.measure(site.netns, NOTHING),
    });
    const whole = { what: 'snoopy', value: wallOf(samples.whole), unit: 'ms' } as const;
    const start = { what: 'node -e 0', value: wallOf(samples.nothing), unit: 'ms' } as const;
    const added = { ...whole, value: whole.value - wallOf(samples.idle) };
    const writing = { what: 'snoopy', value: wallOf(samples.writing), unit: 'ms' } as const;
    const iproute = { what: 'ip -batch', value: wallOf(samples.iproute), unit: 'ms' } as const;
    const c = { what: 'C, the same batches', value: median(samples.c), unit: 'ms' } as const;
    const memory = { what: 'snoopy', value: peakOf(samples.whole), unit: 'MB' } as const;
    const bare = { what: 'node -e 0', value: peakOf(samples.nothing), unit: 'MB' } as const;
    return [
      row(group, 'the whole run', whole, iproute, 'gain', null),
      row(group, 'the whole run', whole, start, 'ratio', size.whole === null ? null : atMost(size.whole)),
      row(group, 'what they cost beyond a run with nothing to do', added, c, 'ratio', atMost(size.own)),
      row(group, 'the writing alone', writing, c, 'ratio', atMost(1.3)),
      row(group, 'the writing alone', writing, iproute, 'gain', null),
      row(group, 'most memory', memory, bare, 'ratio', size.memory === null ? null : atMost(size.memory)),
    ];
  } finally {
    site.close();
  }
}

/**
 * Room in the kernel's neighbor table, which all namespaces share: iproute2's entries count there. The thresholds are
 * those of the initial namespace.
 */
function raiseThresholds(): () => void {
  const files = ['gc_thresh3', 'gc_thresh2', 'gc_thresh1'].map(
    (name) => `/proc/sys/net/ipv4/neigh/default/${name}`,
  );
  const before = files.map((file) => readFileSync(file, 'utf8'));
  const restore = (): void => {
    for (const [i, file] of files.entries()) writeFileSync(file, before[i] ?? '');
  };
  for (const file of files) writeFileSync(file, '200000');
  return restore;
}

// A listening run on small and large nodes: from a new host's first frame to its neighbor, and what that costs.
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Background } from '../lib/run.ts';
import { until } from '../lib/wait.ts';
import { installAll } from './idle.ts';
import { median, parseStamp, percentile, type Tools } from './measure.ts';
import { atMost, type Goal, type Row, row } from './rows.ts';
import { hostIp, hostMac, Site } from './site.ts';

const EVENTS = Number(process.env['SNOOPY_BENCH_EVENTS'] ?? 200);
const PAUSE_MS = 100;
const NEW_PORTS = 20;
/** How often a known host sends, and how often some of them do. */
const SENDING_MS = 300_000;
const STEP_MS = 5_000;
/** Ends the watch over a run with nothing to do earlier. */
const MOST_QUIET_MS = Number(process.env['SNOOPY_BENCH_QUIET'] ?? Number.POSITIVE_INFINITY);
const TICK_MS = 10;
const GROUP = 'listening';

const SIZES = [
  { ports: 3, hosts: 3, quietMs: 130_000, median: 2, most: null, cost: null },
  { ports: 1_000, hosts: 10_000, quietMs: 610_000, median: 3, most: 10, cost: 2 },
] as const;

export async function measureListening(tools: Tools): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of SIZES) rows.push(...(await measureSize(tools, size)));
  return rows;
}

async function measureSize(tools: Tools, size: (typeof SIZES)[number]): Promise<Row[]> {
  const site = new Site(tools, size.ports);
  try {
    installAll(site, size.hosts);
    // The bridges know the new hosts already, which is a notification of its own.
    site.placeHosts(size.hosts + EVENTS);
    const run = site.snoopy.startReconcile('--listen', '1h');
    const monitor = site.netns.start('env', 'TZ=UTC', 'stdbuf', '-oL', 'ip', '-ts', '-4', 'monitor', 'neigh');
    await sleep(5_000);
    // Longer than the time between its looks at everything, which is ten minutes at most.
    const quietMs = Math.min(size.quietMs, MOST_QUIET_MS);
    const idleMs = await costOf(run, () => letSend(site, size.hosts, quietMs));
    const sentAt: number[] = [];
    const busyMs = await costOf(run, async () => {
      sentAt.push(...site.announceSlowly(size.hosts, EVENTS, PAUSE_MS));
    });
    const written = (): ReadonlyMap<string, number> => timesIn(monitor.stdout);
    const last = hostIp(size.hosts + EVENTS - 1);
    await until(
      'the last host',
      () => written().has(last),
      (is) => is,
      { timeoutMs: 60_000, everyMs: 100 },
    );
    await monitor.stop();
    const attachedMs: number[] = [];
    const portsMs = await costOf(run, async () => {
      for (let i = 0; i < NEW_PORTS; i++) attachedMs.push(await addPort(site, i));
    });
    run.kill();
    const times = written();
    const delays = sentAt.map((at, i) => {
      const there = times.get(hostIp(size.hosts + i));
      if (there === undefined) throw new Error(`no neighbor of ${hostIp(size.hosts + i)}`);
      return there - at;
    });
    const peer = { what: 'ip neigh add', value: addingMs(tools, site), unit: 'ms' } as const;
    const own = (what: string, value: number, goal: number | null): Row => {
      const limit: Goal | null = goal === null ? null : atMost(goal);
      return row(
        GROUP,
        `${size.ports} ports, ${size.hosts} hosts: ${what}`,
        { what: 'snoopy', value, unit: 'ms' },
        peer,
        'value',
        limit,
      );
    };
    return [
      own('first frame to neighbor, median', median(delays), size.median),
      own('first frame to neighbor, 99th percentile', percentile(delays, 99), size.most),
      own(
        'processor for each new host',
        (busyMs - (idleMs * EVENTS * PAUSE_MS) / quietMs) / EVENTS,
        size.cost,
      ),
      own('new port to its program, median', median(attachedMs), null),
      own('processor for each new port', portsMs / NEW_PORTS, null),
      own('processor in a second without work', (idleMs / quietMs) * 1_000, 1),
    ];
  } finally {
    site.close();
  }
}

/** Lets the known hosts send for so long, each of them once in some minutes. */
async function letSend(site: Site, hosts: number, forMs: number): Promise<void> {
  const endMs = performance.now() + forMs;
  const count = Math.ceil(hosts / (SENDING_MS / STEP_MS));
  for (let first = 0; performance.now() < endMs; first = (first + count) % hosts) {
    site.announce(first, Math.min(count, hosts - first));
    await sleep(Math.min(STEP_MS, endMs - performance.now()));
  }
}

/** Adds a port, and waits for its program. Returns how long that took since the port was in the bridge, in milliseconds. */
async function addPort(site: Site, i: number): Promise<number> {
  site.batch('ip', [`link add new${i} type ifb`, `link set new${i} master br0 up`]);
  const addedMs = performance.now();
  const [link] = site.netns.json<{ ifindex: number }[]>('ip', '-j', 'link', 'show', 'dev', `new${i}`);
  const pin = `${site.snoopy.bpffs}/snoopy/links/${link?.ifindex}`;
  await until(
    'the program on a new port',
    () => existsSync(pin),
    (is) => is,
    { timeoutMs: 60_000, everyMs: 1 },
  );
  return performance.now() - addedMs;
}

/** Processor time of a process while `work` lasts. */
async function costOf({ pid }: Background, work: () => Promise<unknown>): Promise<number> {
  const before = processorMs(pid);
  await work();
  return processorMs(pid) - before;
}

/** utime and stime of proc_pid_stat(5). */
function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** When each neighbor first existed, in milliseconds since the epoch, as `ip -ts monitor` prints it. */
function timesIn(output: string): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const [, stamp = '', address = ''] of output.matchAll(
    /\[([^\]]+)\] ?(\d+\.\d+\.\d+\.\d+) .*lladdr/gm,
  )) {
    if (!times.has(address)) times.set(address, parseStamp(stamp));
  }
  return times;
}

/** What a script takes that writes a neighbor of which it knows already. */
function addingMs(tools: Tools, site: Site): number {
  const of = (i: number): string[] => [
    'ip',
    'neigh',
    'replace',
    hostIp(i),
    'lladdr',
    hostMac(i),
    'dev',
    'br0',
    'nud',
    'noarp',
  ];
  return median(Array.from({ length: 15 }, (_, i) => tools.measure(site.netns, of(0xa00000 + i)).wallMs));
}

// From a VM's announcement to the route at the far node: with a run every second, and with one that listens.
import { setTimeout as sleep } from 'node:timers/promises';
import { Fabric } from '../lib/fabric.ts';
import type { Netns } from '../lib/netns.ts';
import type { Background } from '../lib/run.ts';
import { Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { median, parseStamp, percentile } from './measure.ts';
import { type Row, row, type Side } from './rows.ts';

const EVENTS = Number(process.env['SNOOPY_BENCH_EVENTS'] ?? 200);
const GROUP = 'announcement -> route';

/**
 * Announces addresses 10.<argument>.x.y, one after the other with pauses of a tenth to three tenths of a second, and
 * prints each with its time.
 */
const ANNOUNCER = `
import random, socket, sys, time
device, second, events = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((device, 0))
mac = s.getsockname()[4]
random.seed(second)
for i in range(events):
    ip = bytes([10, second, i >> 8, i & 255])
    arp = bytes([0, 1, 8, 0, 6, 4, 0, 1]) + mac + ip + bytes(6) + ip
    print(time.time(), socket.inet_ntoa(ip), flush=True)
    s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp + bytes(18))
    time.sleep(random.uniform(0.1, 0.3))
`;

interface SeenHint {
  /** Milliseconds from the announcement to the neighbor on the VM's node, and to the one at the far node. */
  readonly near: readonly number[];
  readonly far: readonly number[];
}

export async function measureRoutes(): Promise<Row[]> {
  const fabric = await Fabric.start({ vms: 1 });
  try {
    const bench = new Bench(fabric);
    const everySecond = await bench.listenTo(20, async (isOver) => {
      while (!isOver()) {
        bench.reconcile();
        await sleep(1_000 - (Date.now() % 1_000));
      }
    });
    const listening = await bench.listenTo(21, async (isOver) => {
      const run = bench.listen(Math.ceil(EVENTS * 0.3) + 10);
      await until('all to be seen', isOver, (over) => over, { timeoutMs: 300_000, everyMs: 500 });
      run.kill();
    });
    return [...rowsOf('a run every second', everySecond), ...rowsOf('--listen', listening)];
  } finally {
    fabric.close();
  }
}

function rowsOf(name: string, { near, far }: SeenHint): Row[] {
  const own = (value: number): Side => ({ what: 'snoopy and FRR', value, unit: 'ms' });
  const frr = {
    what: 'of which FRR',
    value: median(far.map((ms, i) => ms - (near[i] ?? 0))),
    unit: 'ms',
  } as const;
  return [
    row(GROUP, `${name}: median of ${far.length}`, own(median(far)), frr, 'difference'),
    row(GROUP, `${name}: 99th percentile`, own(percentile(far, 99)), frr, 'difference'),
  ];
}

class Bench {
  readonly #fabric: Fabric;
  readonly #snoopy: Snoopy;

  constructor(fabric: Fabric) {
    this.#fabric = fabric;
    this.#snoopy = new Snoopy(fabric.scope, fabric.node(1).node.netns, {
      defaults: { limits: { bindings_per_port: 1_000, new_bindings_per_second: 1_000 } },
      bridges: [{ name: 'br0' }],
    });
    this.reconcile();
  }

  reconcile(): void {
    const { code, stderr } = this.#snoopy.run('reconcile');
    if (code !== 0) throw new Error(`snoopy reconcile ended with ${code}: ${stderr}`);
  }

  listen(seconds: number): Background {
    return this.#snoopy.startReconcile('--listen', `${seconds}s`);
  }

  /** Has the VM announce addresses during `runs`, and returns when each was where. */
  async listenTo(second: number, runs: (isOver: () => boolean) => Promise<void>): Promise<SeenHint> {
    const near = await monitor(this.#fabric.node(1).node.netns);
    const far = await monitor(this.#fabric.node(2).node.netns);
    const vm = this.#fabric.vm(1, 1);
    const deadline = performance.now() + EVENTS * 400 + 20_000;
    const started = runs(() => far.times(second).size >= EVENTS || performance.now() > deadline);
    const argv = ['/usr/bin/python3', '-c', ANNOUNCER, 'eth0', String(second), String(EVENTS)];
    const announcer = vm.netns.start(...argv);
    await started;
    const announced = new Map(
      (await announcer.ended()).stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' '))
        .map(([time = '', ip = '']) => [ip, Number(time) * 1e3]),
    );
    await near.stop();
    await far.stop();
    const since = (where: string, times: ReadonlyMap<string, number>): number[] =>
      [...announced].map(([ip, time]) => {
        const there = times.get(ip);
        if (there === undefined) throw new Error(`${ip} is not on the ${where} node`);
        return there - time;
      });
    return { near: since('near', near.times(second)), far: since('far', far.times(second)) };
  }
}

interface Monitor {
  /** When each neighbor 10.<second>.x.y first existed, in milliseconds since the epoch. */
  times(second: number): ReadonlyMap<string, number>;
  stop(): Promise<unknown>;
}

async function monitor(netns: Netns): Promise<Monitor> {
  const ip = netns.start(
    'env',
    'TZ=UTC',
    'stdbuf',
    '-oL',
    'ip',
    '-ts',
    '-4',
    'monitor',
    'neigh',
    'dev',
    'br0',
  );
  await sleep(200);
  return {
    times(second) {
      // A line that the monitor leaves out still has its time stamp, before that of the next line.
      const times = new Map<string, number>();
      for (const [, stamp, address] of ip.stdout.matchAll(
        /\[([^\]]+)\] ?(10\.\d+\.\d+\.\d+) (?:dev br0 )?lladdr/gm,
      )) {
        if (stamp === undefined || address === undefined || !address.startsWith(`10.${second}.`)) continue;
        if (!times.has(address)) times.set(address, parseStamp(stamp));
      }
      return times;
    },
    stop: () => ip.stop(),
  };
}

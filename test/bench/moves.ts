// How long a VM that moves has no MAC/IP route: from its first frame at its new node to zebra's entries at the old one, for
// both families, beside the MAC route that FRR makes by itself.
import { setTimeout as sleep } from 'node:timers/promises';
import { Fabric } from '../lib/fabric.ts';
import { rarpFrame } from '../lib/frames.ts';
import type { Netns } from '../lib/netns.ts';
import type { Vm } from '../lib/node.ts';
import type { Background } from '../lib/run.ts';
import { Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { median, parseStamp } from './measure.ts';
import { atMost, type Comparison, type Goal, type Row, row, type Side } from './rows.ts';

/** Moves of each kind from each node. Each VM moves once: FRR takes one that moves often for a duplicate. */
const MOVES = Number(process.env['SNOOPY_BENCH_MOVES'] ?? 5);
const GROUP = 'move -> routes';
const INTERVAL_MS = 2_000;
const LISTENING_MS = 300;

/** What a VM sends at its new node. */
const SIGNS: Readonly<Record<string, (vm: Vm) => void>> = {
  'GARP and NA': (vm) => {
    vm.gratuitous();
    vm.sendNa();
  },
  'RARP alone': (vm) => vm.send(rarpFrame(vm.mac)),
  'a data frame alone': (vm) => vm.sendMarker(),
};

/** Milliseconds from the sign to the routes of both families at the other node, and to the MAC route. */
interface Move {
  readonly routesMs: number;
  readonly macMs: number;
}

export async function measureMoves(): Promise<Row[]> {
  const kinds = Object.keys(SIGNS).length;
  const fabric = await Fabric.start({ vms: 2 * kinds * MOVES });
  try {
    const bench = new Bench(fabric);
    const periodic = await bench.moveBeside(bench.runEvery(INTERVAL_MS));
    const listening = await bench.moveBeside(bench.listen());
    return [
      ...rowsOf(`a run every ${INTERVAL_MS / 1000} s`, periodic, atMost(INTERVAL_MS + LISTENING_MS)),
      ...rowsOf('--listen', listening, atMost(LISTENING_MS)),
    ];
  } finally {
    fabric.close();
  }
}

function rowsOf(mode: string, moves: ReadonlyMap<string, readonly Move[]>, goal: Goal): Row[] {
  return [...moves].flatMap(([sign, found]) => {
    const side = (what: string, value: number): Side => ({ what, value, unit: 'ms' });
    const routes = found.map(({ routesMs }) => routesMs);
    const macRoute = side('MAC route of FRR', median(found.map(({ macMs }) => macMs)));
    const rowFor = (what: string, value: number, comparison: Comparison, goal: Goal | null): Row =>
      row(GROUP, `${mode}: ${sign}: ${what}`, side('snoopy and FRR', value), macRoute, comparison, goal);
    return [
      rowFor(`median of ${found.length}`, median(routes), 'difference', null),
      rowFor('longest', Math.max(...routes), 'value', goal),
    ];
  });
}

/** Something that keeps both nodes reconciled, until it is stopped. */
interface Service {
  stop(): Promise<void>;
}

class Bench {
  readonly #fabric: Fabric;
  readonly #snoopies: readonly Snoopy[];
  /** How many VMs of each node have moved. */
  readonly #moved = new Map<number, number>();

  constructor(fabric: Fabric) {
    this.#fabric = fabric;
    this.#snoopies = fabric.nodes.map(({ node }) => new Snoopy(fabric.scope, node.netns));
    for (const snoopy of this.#snoopies) must(snoopy);
  }

  runEvery(intervalMs: number): Service {
    let isOver = false;
    const loops = this.#snoopies.map(async (snoopy) => {
      while (!isOver) {
        const started = performance.now();
        must(snoopy);
        await sleep(Math.max(0, intervalMs - (performance.now() - started)));
      }
    });
    return {
      stop: async () => {
        isOver = true;
        await Promise.all(loops);
      },
    };
  }

  listen(): Service {
    const runs = this.#snoopies.map((snoopy) => snoopy.startReconcile('--listen', '1h'));
    return {
      stop: async () => {
        for (const run of runs) await run.stop();
      },
    };
  }

  /** Moves VMs between the nodes while a service runs; the moves by the sign that the VMs gave. */
  async moveBeside(service: Service): Promise<Map<string, readonly Move[]>> {
    const moves = new Map<string, readonly Move[]>();
    for (const [sign, send] of Object.entries(SIGNS)) {
      const found: Move[] = [];
      for (let i = 0; i < MOVES; i++) {
        for (const from of [1, 2]) found.push(await this.#move(from, send));
      }
      moves.set(sign, found);
    }
    await service.stop();
    return moves;
  }

  #nextVm(node: number): number {
    const number = (this.#moved.get(node) ?? 0) + 1;
    this.#moved.set(node, number);
    return number;
  }

  async #move(from: number, send: (vm: Vm) => void): Promise<Move> {
    const old = this.#fabric.node(from).node;
    const next = this.#fabric.node(3 - from).node;
    const vm = this.#fabric.vm(from, this.#nextVm(from));
    const ips = [vm.ip, vm.ip6];
    const there = await Monitor.start(next.netns);
    vm.gratuitous();
    vm.sendNa();
    await until(
      `the routes of ${vm.mac}`,
      () => there.routesAt(ips, 0),
      (times) => !times.includes(Number.NaN),
    );
    await there.stop();
    // At a point of the interval that no other move has, and with time for the node to remember the routes.
    await sleep(INTERVAL_MS * (1.5 + Math.random()));
    const here = await Monitor.start(old.netns);
    vm.moveTo(next);
    const startMs = Date.now();
    send(vm);
    const seen = (): number[] => [...here.routesAt(ips, startMs), here.macRouteAt(vm.mac, startMs)];
    const times = await until(
      `the routes of ${vm.mac} by its new node`,
      seen,
      (all) => !all.some(Number.isNaN),
      {
        timeoutMs: 30_000,
      },
    );
    await here.stop();
    const [macMs = 0, ...routes] = times.reverse().map((time) => time - startMs);
    return { macMs, routesMs: Math.max(...routes) };
  }
}

function must(snoopy: Snoopy): void {
  const { code, stderr } = snoopy.run('reconcile');
  if (code !== 0) throw new Error(`snoopy reconcile ended with ${code}: ${stderr}`);
}

/** What zebra writes on a node: `ip monitor` shows neighbors and, of the bridge's family, MACs. */
class Monitor {
  readonly #ip: Background;

  private constructor(netns: Netns) {
    this.#ip = netns.start('env', 'TZ=UTC', 'stdbuf', '-oL', 'ip', '-ts', 'monitor', 'neigh');
  }

  static async start(netns: Netns): Promise<Monitor> {
    const monitor = new Monitor(netns);
    await sleep(200);
    return monitor;
  }

  /** When zebra wrote its neighbor for each address after `sinceMs`, in milliseconds since the epoch; NaN if not yet. */
  routesAt(ips: readonly string[], sinceMs: number): number[] {
    return ips.map((ip) => this.#firstAfter(sinceMs, `${ip} dev br0 lladdr \\S+ .*proto zebra`));
  }

  /** The same for its entry of a MAC at the tunnel. */
  macRouteAt(mac: string, sinceMs: number): number {
    return this.#firstAfter(sinceMs, `dev vxlan\\d+ lladdr ${mac} .*extern_learn`);
  }

  async stop(): Promise<void> {
    await this.#ip.stop();
  }

  #firstAfter(sinceMs: number, what: string): number {
    const times = [...this.#ip.stdout.matchAll(new RegExp(`\\[(\\S+)\\] ?${what}`, 'g'))];
    return times.map(([, stamp = '']) => parseStamp(stamp)).find((time) => time >= sinceMs) ?? Number.NaN;
  }
}

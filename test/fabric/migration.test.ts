// Live migrations with both copies of a VM running all the time: the nodes agree after each one.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sample } from '../lib/depth.ts';
import { Fabric } from '../lib/fabric.ts';
import type { Vm } from '../lib/node.ts';
import { listNeighbors, type NeighborLine } from '../lib/oracles.ts';
import { outputOf, type ReconcileResult, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';
const MOVES = sample(8, 200);
/** Hosts that move at the same time, half of them in each direction. */
const HOSTS = 4;
const ROUNDS = MOVES / HOSTS;

describe('hosts that move again and again', () => {
  let fabric: Fabric;
  let snoopies: readonly Snoopy[];
  /** The copies of each host: one at each node. */
  let hosts: readonly (readonly Vm[])[];

  before(async () => {
    fabric = await Fabric.start();
    // The same MAC and addresses on both nodes, as for a moment during a live migration.
    hosts = Array.from({ length: HOSTS }, (_, host) =>
      fabric.nodes.map(({ node, number }) =>
        node.addVm({
          id: 9000 + 10 * number + host,
          port: `tap${9000 + host}i0`,
          mac: `02:00:00:00:99:0${host}`,
          ip: `10.1.99.${host}`,
          ip6: `2001:db8:1::990${host}`,
        }),
      ),
    );
    // They send only what the test sends: IPv6 messages of the kernel would move the MAC at any time.
    for (const { netns } of hosts.flat()) netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
    snoopies = fabric.nodes.map(({ node }) => new Snoopy(fabric.scope, node.netns));
    for (const at of [0, 1]) reconcile(at);
  });

  after(() => fabric?.close());

  function reconcile(at: number): ReconcileResult {
    const run = snoopies[at]?.reconcile();
    assert.ok(run !== undefined);
    assert.equal(run.code, 0, outputOf(run));
    return run;
  }

  /** The node that a host is moved to in a round: 0 or 1. */
  const target = (host: number, round: number): number => (host + round) % 2;

  interface View {
    readonly at: number;
    readonly here: NeighborLine | undefined;
    readonly there: NeighborLine | undefined;
    /** Next hops, by node. */
    readonly routes: readonly string[];
  }

  /** What both nodes have of each host. */
  function look(round: number): View[] {
    const neighbors = fabric.nodes.map(({ node }) => listNeighbors(node.netns, BRIDGE));
    const routes = fabric.nodes.map(({ frr }) => frr.macIpRoutes());
    return hosts.map(([{ ip } = {}], host) => {
      const at = target(host, round);
      const [here, there] = [at, 1 - at].map((node) => neighbors[node]?.find(({ dst }) => dst === ip));
      const hops = routes.map((ofNode) =>
        ofNode.filter((route) => route.ip === ip).map((route) => route.nextHop),
      );
      return { at, here, there, routes: hops.map((ofNode) => ofNode.join()) };
    });
  }

  const isOwn = (line: NeighborLine | undefined): boolean =>
    line?.protocol === '115' && !('extern_learn' in line);
  const isZebras = (line: NeighborLine | undefined): boolean =>
    line?.protocol === 'zebra' && 'extern_learn' in line;
  const isAgreed = ({ at, here, there, routes }: View): boolean =>
    isOwn(here) && isZebras(there) && routes.every((hop) => hop === fabric.node(at + 1).address);

  /** The hosts that the nodes still disagree about at the deadline. `at`: only those moved to this node. */
  async function disagreeing(round: number, timeoutMs: number, at?: number): Promise<View[]> {
    const read = () => look(round).filter((view) => at === undefined || view.at === at);
    try {
      await until('the nodes to agree', read, (views) => views.every(isAgreed), { timeoutMs });
    } catch {
      // The caller reports the hosts that are left.
    }
    return read().filter((view) => !isAgreed(view));
  }

  /** How often zebra deleted an entry that had just been written, and the next run put it back. */
  let lookedAgain = 0;

  /** A run, after which the nodes must agree: about all hosts, or about those that have moved there. */
  async function runUntilAgreed(round: number, at: number, scope: 'all' | 'moved there'): Promise<void> {
    const among = scope === 'all' ? undefined : at;
    const run = reconcile(at);
    const late = await disagreeing(round, 2_000, among);
    if (late.length === 0) return;
    // FRR issue 21472: the old node withdraws late, and zebra deletes the new entry here for it.
    lookedAgain += late.length;
    reconcile(at);
    assert.deepEqual(await disagreeing(round, 10_000, among), [], `round ${round}${outputOf(run)}`);
  }

  /** For half of the hosts the new node runs first, which alone suffices; for the others the old node. */
  async function move(round: number): Promise<void> {
    for (const [host, copies] of hosts.entries()) copies[target(host, round)]?.gratuitous();
    const first = round % 2;
    await runUntilAgreed(round, first, 'moved there');
    await runUntilAgreed(round, 1 - first, 'all');
    const run = reconcile(first);
    assert.deepEqual(
      await disagreeing(round, 10_000),
      [],
      `one more run breaks round ${round}${outputOf(run)}`,
    );
  }

  test(`${MOVES} moves there and back leave one route and one owner, and no stale entry`, {
    timeout: 900_000,
  }, async (context) => {
    const start = performance.now();
    for (let round = 0; round < ROUNDS; round++) await move(round);
    context.diagnostic(
      `${((performance.now() - start) / ROUNDS).toFixed(0)} ms for ${HOSTS} moves, three runs included`,
    );
    context.diagnostic(`zebra deleted a new entry ${lookedAgain} times`);
    assert.ok(lookedAgain <= MOVES / 10, `${lookedAgain} of ${MOVES} moves needed another run`);
    // The last move stays: nothing changes any more, whichever node runs first.
    const before = look(ROUNDS - 1);
    for (const at of [1, 0, 1]) reconcile(at);
    assert.deepEqual(look(ROUNDS - 1), before);
  });
});

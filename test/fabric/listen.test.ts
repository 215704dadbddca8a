// --listen: a run that stays for a while and acts on what it sees meanwhile.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Fabric } from '../lib/fabric.ts';
import { attachedPrograms, findNeighbor } from '../lib/oracles.ts';
import { outputOf, Snoopy, withReport } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';

describe('reconcile --listen', () => {
  let fabric: Fabric;

  before(async () => {
    fabric = await Fabric.start({ vms: 1 });
  });

  after(() => fabric?.close());

  test('writes neighbors while it listens, attaches to a new port, and reports when it ends', async (t) => {
    const { node, frr } = fabric.node(1);
    const snoopy = new Snoopy(fabric.scope, node.netns);
    const vm = fabric.vm(1, 1);

    /** Milliseconds from a VM's message to its neighbor on the bridge. */
    async function neighborAfter(announce: () => void, ip: string): Promise<number> {
      announce();
      const announced = performance.now();
      await until(
        `the neighbor ${ip} while listening`,
        () => findNeighbor(node.netns, BRIDGE, ip),
        (line) => line?.protocol === '115',
        { timeoutMs: 3_000, everyMs: 5 },
      );
      return performance.now() - announced;
    }
    async function attached(port: string): Promise<void> {
      await until(
        `a program on ${port}`,
        () => attachedPrograms(node.netns, port).length,
        (count) => count === 1,
        { timeoutMs: 4_000 },
      );
    }

    const listening = snoopy.startReconcile('--listen', '5s');
    const started = performance.now();
    await attached(vm.port);
    t.diagnostic(`IPv4: neighbor after ${(await neighborAfter(() => vm.gratuitous(), vm.ip)).toFixed(0)} ms`);
    t.diagnostic(`IPv6: neighbor after ${(await neighborAfter(() => vm.sendNa(), vm.ip6)).toFixed(0)} ms`);

    const late = node.addVm({ id: 150 });
    await attached(late.port);
    const waited = await neighborAfter(() => late.gratuitous(), late.ip);
    t.diagnostic(`port added while listening: neighbor after ${waited.toFixed(0)} ms`);

    assert.ok(listening.running, `it ended too early: ${listening.stderr}`);
    const run = withReport(await listening.ended());
    assert.ok(performance.now() - started >= 5_000, 'it listened for less than 5 s');
    assert.equal(run.code, 0, outputOf(run));
    const ips = run.report.neighbors.changes.map(({ ip }) => ip);
    for (const ip of [vm.ip, vm.ip6, late.ip]) assert.ok(ips.includes(ip), outputOf(run));
    assert.deepEqual([...(run.report.bridges[0]?.ports ?? [])].sort(), [vm.port, late.port].sort());
    await until(
      'the routes at node 2',
      () => fabric.node(2).frr.macIpRoutes(),
      (routes) => [vm.ip, vm.ip6, late.ip].every((ip) => routes.some((route) => route.ip === ip)),
    );
    assert.equal(frr.arpCache(fabric.vni).filter(({ type }) => type === 'local').length, 3);

    const again = snoopy.reconcile();
    assert.equal(again.report.changed, false, outputOf(again));
    assert.equal(again.report.neighbors.changed, false, outputOf(again));
  });
});

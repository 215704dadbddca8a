// VMs that move and VMs that are deleted leave no stale entry.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { deepTest, sample } from '../lib/depth.ts';
import { Fabric } from '../lib/fabric.ts';
import { rarpFrame } from '../lib/frames.ts';
import type { MacIpRoute } from '../lib/frr.ts';
import type { Vm } from '../lib/node.ts';
import { findNeighbor, listOwnNeighbors } from '../lib/oracles.ts';
import { outputOf, Snoopy, withReport } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';

describe('a host that moves or is deleted', () => {
  let fabric: Fabric;
  let snoopies: readonly Snoopy[];

  before(async () => {
    fabric = await Fabric.start({ vms: 6 });
    snoopies = fabric.nodes.map(({ node }) => new Snoopy(fabric.scope, node.netns));
    reconcile(1);
    reconcile(2);
  });

  after(() => fabric?.close());

  function reconcile(node: number): void {
    const run = snoopies[node - 1]?.reconcile();
    assert.ok(run !== undefined);
    assert.equal(run.code, 0, outputOf(run));
    assert.deepEqual(run.report.remaining, [], outputOf(run));
  }

  /** Waits until both nodes have exactly one route to an address, by node `node`, or none. */
  async function routedBy(ip: string, node: number | undefined): Promise<void> {
    const expected = node === undefined ? [] : [fabric.node(node).address];
    for (const { frr, number } of fabric.nodes) {
      await until<MacIpRoute[]>(
        `node ${number} to have ${expected.length === 0 ? 'no route' : `one route by node ${node}`} to ${ip}`,
        () => frr.routesTo(ip),
        (routes) => routes.map(({ nextHop }) => nextHop).join() === expected.join(),
        { explain: () => fabric.describe() },
      );
    }
  }

  /** Waits until the kernel of a node has zebra's entry for an address, with this MAC. */
  async function zebraHas(node: number, ip: string, mac: string): Promise<void> {
    const line = await until(
      `zebra's entry for ${ip} at node ${node}`,
      () => findNeighbor(fabric.node(node).node.netns, BRIDGE, ip),
      (entry) => entry?.protocol === 'zebra' && 'extern_learn' in entry,
    );
    assert.equal(line?.lladdr, mac);
  }

  function ownAt(node: number, ip: string): string[] {
    const { netns } = fabric.node(node).node;
    return listOwnNeighbors(netns, BRIDGE)
      .filter(({ dst }) => dst === ip)
      .map(({ lladdr = '' }) => lladdr);
  }

  test("moves: the new node replaces zebra's entry, the old node keeps no stale one", async () => {
    const vm = fabric.vm(1, 1);
    vm.gratuitous();
    vm.sendNa();
    reconcile(1);
    for (const ip of [vm.ip, vm.ip6]) {
      await routedBy(ip, 1);
      await zebraHas(2, ip, vm.mac);
    }

    vm.moveTo(fabric.node(2).node);
    reconcile(2); // Attaches to the port, which is new there: nothing was seen on it before.
    vm.gratuitous();
    vm.sendNa();
    reconcile(2);
    reconcile(1);

    for (const ip of [vm.ip, vm.ip6]) {
      await routedBy(ip, 2);
      await zebraHas(1, ip, vm.mac);
      assert.deepEqual(ownAt(2, ip), [vm.mac]);
      assert.deepEqual(ownAt(1, ip), []);
      const here = findNeighbor(fabric.node(2).node.netns, BRIDGE, ip);
      assert.ok(
        here !== undefined && !('extern_learn' in here),
        'the entry at node 2 is still marked as remote',
      );
    }
    reconcile(1);
    reconcile(2);
    await zebraHas(1, vm.ip, vm.mac);
  });

  test('moves back while the old node runs before the new one', async () => {
    const vm = fabric.vm(1, 1);
    assert.equal(vm.node.name, 'n2');

    vm.moveTo(fabric.node(1).node);
    reconcile(2);
    await routedBy(vm.ip, undefined);
    reconcile(1);
    vm.gratuitous();
    reconcile(1);

    await routedBy(vm.ip, 1);
    await zebraHas(2, vm.ip, vm.mac);
    assert.deepEqual(ownAt(1, vm.ip), [vm.mac]);
    assert.deepEqual(ownAt(2, vm.ip), []);
  });

  test('is deleted with its port: the next run withdraws it', async () => {
    const vm = fabric.vm(1, 2);
    vm.gratuitous();
    reconcile(1);
    await routedBy(vm.ip, 1);
    assert.deepEqual(ownAt(1, vm.ip), [vm.mac]);

    vm.unplug();
    reconcile(1);

    assert.deepEqual(ownAt(1, vm.ip), []);
    await routedBy(vm.ip, undefined);
    await until(
      'zebra to remove its entry at node 2',
      () => findNeighbor(fabric.node(2).node.netns, BRIDGE, vm.ip),
      (line) => line === undefined,
    );
  });

  /** A VM of node 1 whose routes node 2 has, and has remembered. */
  async function settle(number: number): Promise<Vm> {
    const vm = fabric.vm(1, number);
    vm.gratuitous();
    vm.sendNa();
    reconcile(1);
    for (const ip of [vm.ip, vm.ip6]) await zebraHas(2, ip, vm.mac);
    reconcile(2);
    return vm;
  }

  const SIGNS = [
    ['RARP, as qemu sends it', (vm: Vm) => vm.send(rarpFrame(vm.mac))],
    ['a frame of data', (vm: Vm) => vm.sendMarker()],
  ] as const;
  for (const [i, [sign, send]] of SIGNS.slice(0, sample(1, SIGNS.length)).entries()) {
    test(`moves and sends only ${sign}: the next run at its new node has its routes`, async () => {
      const vm = await settle(3 + i);
      vm.moveTo(fabric.node(2).node);
      send(vm);
      reconcile(2);
      reconcile(1);
      for (const ip of [vm.ip, vm.ip6]) {
        await routedBy(ip, 2);
        assert.deepEqual(ownAt(2, ip), [vm.mac]);
        assert.deepEqual(ownAt(1, ip), []);
      }
    });
  }

  deepTest(
    'moves while both nodes have its port: it is routed by the new node, and stays there',
    async () => {
      const vm = await settle(5);
      // qemu plugs the port at the new node while the guest still runs at the old one.
      const moved = fabric.node(2).node.addVm({ id: 290, mac: vm.mac, ip: vm.ip, ip6: vm.ip6 });
      moved.send(rarpFrame(vm.mac));
      reconcile(2);
      vm.unplug();
      // qemu sends five in a second: what the guest has last sent at the old node may reach the new one after the first.
      for (let i = 0; i < 3; i++) {
        moved.send(rarpFrame(vm.mac));
        reconcile(1);
        reconcile(2);
      }
      for (const ip of [vm.ip, vm.ip6]) await routedBy(ip, 2);
      for (let i = 0; i < 2; i++) {
        reconcile(1);
        reconcile(2);
      }
      for (const ip of [vm.ip, vm.ip6]) await routedBy(ip, 2);
    },
  );

  test('moves with RARP alone while a run listens at its new node', async (t) => {
    const vm = await settle(6);
    const listening = snoopies[1]?.startReconcile('--listen', '30s');
    assert.ok(listening !== undefined);
    vm.moveTo(fabric.node(2).node);
    const started = performance.now();
    vm.send(rarpFrame(vm.mac));
    for (const ip of [vm.ip, vm.ip6]) await routedBy(ip, 2);
    t.diagnostic(`both routes at both nodes ${(performance.now() - started).toFixed(0)} ms after the RARP`);
    await listening.stop();
  });

  deepTest(
    'two hosts at two nodes with one address: it ends with a warning, and does not go on for ever',
    async () => {
      const ip = '10.1.9.1';
      const [one, two] = [fabric.vm(1, 1), fabric.vm(2, 1)];
      for (const vm of [one, two]) vm.netns.ipBatch([`address add ${ip}/16 dev eth0`]);
      one.gratuitous(ip);
      reconcile(1);
      await zebraHas(2, ip, one.mac);
      const runs = snoopies.map((snoopy) => snoopy.startReconcile('--listen', '20s'));
      two.gratuitous(ip);
      const reports = await Promise.all(runs.map(async (run) => withReport(await run.ended(40_000)).report));
      for (const vm of [one, two]) vm.netns.ipBatch([`address del ${ip}/16 dev eth0`]);
      const changes = reports.flatMap(({ neighbors }) =>
        neighbors.changes.filter((change) => change.ip === ip),
      );
      assert.ok(changes.length <= 2 * 5, `${changes.length} changes`);
      const warnings = reports.flatMap((report) => report.warnings).filter((warning) => warning.includes(ip));
      assert.ok(
        warnings.some((warning) => warning.includes(one.mac) && warning.includes(two.mac)),
        warnings.join('; '),
      );
    },
  );
});

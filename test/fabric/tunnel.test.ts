// A host behind the tunnel belongs to its own node. The local node never claims it, whatever its frames contain.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { Fabric } from '../lib/fabric.ts';
import { arpFrame } from '../lib/frames.ts';
import { attachedPrograms, findFdb, findNeighbor, listOwnNeighbors, neighborText } from '../lib/oracles.ts';
import { outputOf, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';

describe('a host behind the tunnel', () => {
  let fabric: Fabric;
  let near: Snoopy;
  let far: Snoopy;

  before(async () => {
    // Without suppression, so that every message of the far VM comes through the tunnel.
    fabric = await Fabric.start({ vms: 1, neighSuppress: false });
    near = new Snoopy(fabric.scope, fabric.node(1).node.netns, {
      bridges: [
        { name: BRIDGE, ports: { include: ['*', `vxlan${fabric.vni}`] }, learn: ['arp', 'na', 'ns'] },
      ],
    });
    far = new Snoopy(fabric.scope, fabric.node(2).node.netns);
    for (const snoopy of [near, far]) {
      const first = snoopy.reconcile();
      assert.equal(first.code, 0, outputOf(first));
    }
  });

  after(() => fabric?.close());

  test('is not learned from the tunnel, even if the configuration names the tunnel port', async () => {
    const vm = fabric.vm(2, 1);
    const { netns } = fabric.node(1).node;
    const capture = await Capture.start(netns, `vxlan${fabric.vni}`, 'arp or icmp6 or ether proto 0x88b5');
    vm.gratuitous();
    vm.sendNa();
    vm.sendMarker();
    await capture.saw(/0x88b5/);
    assert.ok(capture.count(new RegExp(`who-has ${vm.ip}`)) >= 1, 'the far ARP did not arrive');
    assert.ok(capture.count(/neighbor advertisement/) >= 1, 'the far NA did not arrive');
    await capture.stop();

    const run = near.reconcile();

    assert.equal(run.code, 0, outputOf(run));
    assert.deepEqual(listOwnNeighbors(netns, BRIDGE), []);
    assert.deepEqual(run.report.neighbors.changes, []);
    assert.deepEqual(run.report.bridges[0]?.ports, [fabric.vm(1, 1).port]);
    assert.deepEqual(attachedPrograms(netns, `vxlan${fabric.vni}`), []);
  });

  test("keeps zebra's entry unchanged, byte for byte, over several runs", async () => {
    const vm = fabric.vm(2, 1);
    const { netns } = fabric.node(1).node;
    const run = far.reconcile();
    assert.equal(run.code, 0, outputOf(run));
    for (const ip of [vm.ip, vm.ip6]) {
      await until(
        `zebra's entry for ${ip} at node 1`,
        () => findNeighbor(netns, BRIDGE, ip),
        (line) => line?.protocol === 'zebra',
      );
    }
    const before = neighborText(netns, BRIDGE, /proto zebra/);

    for (let i = 0; i < 3; i++) {
      vm.gratuitous();
      vm.sendNa();
      const again = near.reconcile();
      assert.equal(again.code, 0, outputOf(again));
      assert.deepEqual(again.report.neighbors.changes, []);
    }

    assert.equal(neighborText(netns, BRIDGE, /proto zebra/), before);
    assert.equal(before.split('\n').length, 2, before);
    assert.deepEqual(listOwnNeighbors(netns, BRIDGE), []);
    assert.deepEqual(
      fabric
        .node(1)
        .frr.routesTo(vm.ip)
        .map(({ nextHop }) => nextHop),
      ['192.0.2.2'],
    );
  });

  test('is not claimed by messages that it sent here before it left and that are read only now', async () => {
    const vm = fabric.vm(1, 1);
    const { netns } = fabric.node(1).node;
    vm.gratuitous();
    // The same host now sends at node 2: BGP moves its MAC before node 1 has read its messages. The copy that is
    // still here must not take the MAC back by sending a frame by itself (a router solicitation).
    netns.run('bridge', 'link', 'set', 'dev', vm.port, 'learning', 'off');
    const there = fabric.vm(2, 1);
    there.send(arpFrame({ operation: 'request', senderMac: vm.mac, senderIp: vm.ip, targetIp: vm.ip }));
    await until(
      `${vm.mac} to be behind the tunnel`,
      () => findFdb(netns, BRIDGE, vm.mac),
      (lines) => lines.length === 1 && lines[0]?.ifname === `vxlan${fabric.vni}`,
    );

    const run = near.reconcile();

    assert.equal(run.code, 0, outputOf(run));
    assert.ok(run.report.ring.records >= 1, outputOf(run));
    assert.deepEqual(listOwnNeighbors(netns, BRIDGE), []);
    assert.deepEqual(run.report.neighbors.changes, []);
  });
});

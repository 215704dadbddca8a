// An anycast gateway on a macvlan above the bridge: the kernel keeps the neighbors of its hosts there.
//
// FRRouting/frr #22078, ipspace/netlab #2101: zebra ignores a neighbor that is on no bridge and no VLAN device, and none
// of the hosts was advertised.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findNeighbor } from '../lib/oracles.ts';
import { FabricScene } from '../lib/scene.ts';

test('a host that only talks with the gateway is advertised', async (t) => {
  const scene = await FabricScene.start(t, { vms: 1 });
  const { netns } = scene.fabric.node(1).node;
  netns.ipBatch([
    'link add varp0 link br0 address 02:00:00:00:fe:01 type macvlan mode private',
    'link set varp0 up',
    'address add 10.1.0.254/16 dev varp0',
  ]);
  const vm = scene.vm(1, 1);
  assert.equal(vm.run('busybox', 'ping', '-c', '1', '10.1.0.254').code, 0);
  assert.equal(findNeighbor(netns, 'varp0', vm.ip)?.lladdr, vm.mac);
  scene.run(1);
  await scene.routedBy(vm.ip, 1);
});

// A VM moves to another node and announces itself there.
//
// FRRouting/frr #4904, #2129: the address followed its VM 20 to 30 s later.
// openperouter/openperouter #203, #205: the MAC route was there at once, the MAC/IP routes of IPv4 and IPv6 21 to 29 s
// later, because the kernel ignores announcements.
import { test } from 'node:test';
import { FabricScene } from '../lib/scene.ts';

test('the next run at the new node has the routes', async (t) => {
  const scene = await FabricScene.start(t, { vms: 1 });
  const vm = scene.vm(1, 1);
  for (const node of [1, 2]) {
    if (node === 2) vm.moveTo(scene.fabric.node(2).node);
    scene.run(node); // Attaches to a port that is new.
    vm.gratuitous();
    vm.sendNa();
    scene.run(node);
    for (const ip of [vm.ip, vm.ip6]) await scene.routedBy(ip, node);
  }
});

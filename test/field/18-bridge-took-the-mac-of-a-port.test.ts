// A bridge without a MAC of its own takes the lowest of its ports, and another one with the next container.
//
// containers/netavark #833: the MAC changed as containers came and went, and ARP entries were wrong for 100 s.
// FRRouting/frr #11174: FRR did not follow the change. The kernel flushes all neighbors of the bridge with it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene } from '../lib/scene.ts';

test('the next run writes the neighbors that the kernel has flushed', (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  vm.gratuitous();
  vm.sendNa();
  scene.run();
  scene.node.netns.run('ip', 'link', 'set', 'br0', 'address', '02:00:00:00:fe:02');
  for (const ip of [vm.ip, vm.ip6]) assert.equal(scene.macOf(ip), undefined);
  scene.run();
  for (const ip of [vm.ip, vm.ip6]) assert.equal(scene.macOf(ip), vm.mac);
});

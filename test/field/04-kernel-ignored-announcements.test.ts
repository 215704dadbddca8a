// Announcements that nobody has asked for, on a node with the kernel's default settings.
//
// openperouter/openperouter #203, #207: without arp_accept and accept_untracked_na the kernel makes no neighbor from them.
// telekom/das-schiff-network-operator #149: older kernels have no accept_untracked_na at all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene } from '../lib/scene.ts';

test('the next run writes the neighbors that the kernel does not', (t) => {
  const scene = new Scene(t, { addresses: ['10.1.0.1/16', '2001:db8:1::1/64'], vms: 1 });
  const vm = scene.vm(1);
  vm.gratuitous();
  vm.sendNa();
  for (const ip of [vm.ip, vm.ip6]) assert.equal(scene.macOf(ip), undefined);
  scene.run();
  for (const ip of [vm.ip, vm.ip6]) assert.equal(scene.macOf(ip), vm.mac);
});

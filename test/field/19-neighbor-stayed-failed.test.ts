// A host that comes up after the kernel has given up resolving it.
//
// sonic-net/sonic-buildimage #4930: its entry stayed FAILED though it answered.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene } from '../lib/scene.ts';

test('the first message of the host replaces the entry', async (t) => {
  const scene = new Scene(t, { addresses: ['10.1.0.1/16', '2001:db8:1::1/64'], vms: 1 });
  const vm = scene.vm(1);
  for (const ip of [vm.ip, vm.ip6]) {
    scene.node.netns.run('ip', ...`neigh add ${ip} dev br0 nud failed`.split(' '));
    assert.deepEqual(scene.neighbor(ip)?.state, ['FAILED']);
  }
  vm.gratuitous();
  vm.sendNa();
  scene.run();
  for (const ip of [vm.ip, vm.ip6]) assert.equal(scene.macOf(ip), vm.mac);
});

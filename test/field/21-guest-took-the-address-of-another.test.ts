// A guest that configures the address of another one.
//
// apache/cloudstack #8951: a guest of a shared network could pretend to be another one.
// OpenNebula/one #869: the rules against that let ARP messages pass.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene } from '../lib/scene.ts';

test('does not get it while its owner answers', (t) => {
  const scene = new Scene(t, { vms: 2 });
  const [owner, thief] = [scene.vm(1), scene.vm(2)];
  const ips = [owner.ip, owner.ip6];
  owner.gratuitous();
  owner.sendNa();
  scene.run();
  thief.netns.ipBatch([`address add ${owner.ip}/16 dev eth0`, `address add ${owner.ip6}/64 dev eth0 nodad`]);
  thief.gratuitous(owner.ip);
  thief.sendNa(owner.ip6);
  const { confirms, warnings } = scene.run();
  assert.deepEqual(confirms, { sent: 2, answered: 2 });
  for (const ip of ips) {
    assert.equal(scene.macOf(ip), owner.mac);
    assert.ok(warnings.some((text) => text.startsWith(`${thief.mac} on port "${thief.port}" claims ${ip}`)));
  }
});

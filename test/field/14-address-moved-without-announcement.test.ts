// A virtual IPv6 address that another host of the node takes over, without any Neighbor Advertisement.
//
// cybertec-postgresql/vip-manager #420: after a failover clients sent to the old host, because nothing was advertised.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene, speakTo } from '../lib/scene.ts';

const VIP = '2001:db8:1::100';

test('is learned at its new host as soon as that opens a connection with it', (t) => {
  const scene = new Scene(t, { vms: 3 });
  const [old, heir, client] = scene.vms;
  assert.ok(old !== undefined && heir !== undefined && client !== undefined);
  old.netns.ipBatch([`address add ${VIP}/64 dev eth0 nodad`]);
  old.sendNa(VIP);
  scene.run();
  assert.equal(scene.macOf(VIP), old.mac);
  old.netns.ipBatch([`address del ${VIP}/64 dev eth0`]);
  // The address that is added last is the source of what follows.
  heir.netns.ipBatch([`address flush dev eth0 scope global`, `address add ${VIP}/64 dev eth0 nodad`]);
  speakTo(heir, client.ip6);
  scene.run();
  assert.equal(scene.macOf(VIP), heir.mac);
});

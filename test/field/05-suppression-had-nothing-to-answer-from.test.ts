// ARP suppression on a VNI without any address on its bridges.
//
// FRRouting/frr #16015: neigh_suppress alone did not keep ARP requests out of the tunnel.
// FRRouting/frr #3445: the MAC was advertised, the IPv4 address never.
// FRRouting/frr #18859: asks for learning from the ARP messages that pass, where the node has no address.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { FabricScene } from '../lib/scene.ts';

test('a request for a host of another node is answered, and does not cross the tunnel', async (t) => {
  const scene = await FabricScene.start(t, { vms: 1 });
  const [vm, far] = [scene.vm(1, 1), scene.vm(2, 1)];
  const capture = await Capture.start(far.netns, 'eth0', 'arp or ether proto 0x88b5');
  const request = new RegExp(`^${vm.mac} .* who-has ${far.ip} `);
  assert.ok(vm.arping(far.ip));
  await capture.saw(request);
  const crossed = capture.count(request);

  scene.run(2);
  await scene.routedBy(far.ip, 2);
  await scene.zebraHas(1, far.ip, far.mac);
  assert.ok(vm.arping(far.ip));
  // Frames before the marker have arrived when it does.
  vm.sendMarker();
  await capture.saw(new RegExp(`^${vm.mac} .* ethertype Unknown \\(0x88b5\\)`));
  assert.equal(capture.count(request), crossed);
});

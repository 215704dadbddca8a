// An address that an operator provisions for a host that never announces it.
//
// FRRouting/frr #2676: ARP entries that were added by hand on the bridge did not appear in zebra, and had no route.
import { test } from 'node:test';
import { FabricScene } from '../lib/scene.ts';

test('is advertised as soon as the MAC of the host is in the FDB, and withdrawn with its entry', async (t) => {
  const scene = await FabricScene.start(t, { vms: 1 });
  const vm = scene.vm(1, 1);
  const ip = '10.1.0.53';
  scene.snoopy(1).configure({ bridges: [{ name: 'br0', static: [{ ip, mac: vm.mac }] }] });
  vm.sendMarker();
  scene.run(1);
  await scene.routedBy(ip, 1);
  await scene.zebraHas(2, ip, vm.mac);
  scene.snoopy(1).configure({ bridges: [{ name: 'br0' }] });
  scene.run(1);
  await scene.routedBy(ip, undefined);
});

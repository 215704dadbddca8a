// A host whose messages were seen here, and that is behind the tunnel by now.
//
// FRRouting/frr #13661: the MAC of a host of the other site was kept as local and advertised from both sites.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene } from '../lib/scene.ts';

test('gets no neighbor here, and the entry of zebra stays', (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  vm.gratuitous();
  vm.unplug();
  scene.writeRemote(vm.mac, vm.ip);
  const before = scene.neighbor(vm.ip);
  scene.run();
  assert.deepEqual(scene.neighbor(vm.ip), before);
});

// qemu moves a VM whose guest does not announce itself: RARP frames with its MAC, and no address.
//
// cyberus-technology/cloud-hypervisor #66: a hypervisor sends RARP for each device after a migration.
// Measured: the MAC route was there after 0.2 s, the MAC/IP routes never, because zebra withdraws its entries at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rarpFrame } from '../lib/frames.ts';
import { changesOf, Scene } from '../lib/scene.ts';

const mac = '02:00:00:00:01:01';
const ips = ['10.1.1.1', '2001:db8:1::101'];

test('one run learns its addresses from what zebra had', (t) => {
  const scene = new Scene(t);
  scene.writeRemote(mac, ...ips);
  assert.deepEqual(scene.run().neighbors.changes, [], 'a run remembers the entries');
  scene.withdrawRemote(...ips);
  const vm = scene.node.addVm({ id: 101 });
  vm.send(rarpFrame(vm.mac));
  const report = scene.run();
  assert.deepEqual(
    changesOf(report),
    ips.map((ip) => `add ${ip} ${mac}`),
  );
  assert.deepEqual(report.hints, { probed: 2, learned: 2 });
  const again = scene.run();
  assert.deepEqual([again.neighbors.changes, again.hints], [[], { probed: 0, learned: 0 }]);
});

test('a run that listens learns them at once', async (t) => {
  const scene = new Scene(t);
  scene.writeRemote(mac, ...ips);
  scene.run();
  const listening = scene.snoopy.startReconcile('--listen', '20s');
  scene.withdrawRemote(...ips);
  const vm = scene.node.addVm({ id: 101 });
  vm.send(rarpFrame(vm.mac));
  for (const ip of ips) await scene.has(ip, mac);
  await listening.stop();
});

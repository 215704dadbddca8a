// A virtual address fails over to another host of the node, which announces it.
//
// metallb/metallb #123: clients went on sending to the MAC of the old host.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vm } from '../lib/node.ts';
import { changesOf, Scene } from '../lib/scene.ts';

const [ip, ip6] = ['10.1.0.100', '2001:db8:1::100'];

function takeOver(vm: Vm): void {
  vm.netns.ipBatch([`address add ${ip}/16 dev eth0`, `address add ${ip6}/64 dev eth0 nodad`]);
  vm.gratuitous(ip);
  vm.sendNa(ip6);
}

test('goes to the new host in one run, after the old one was probed in vain', (t) => {
  const scene = new Scene(t, { vms: 2 });
  const [old, heir] = [scene.vm(1), scene.vm(2)];
  takeOver(old);
  scene.run();
  old.netns.ipBatch(['address flush dev eth0 scope global']);
  takeOver(heir);
  const report = scene.run();
  assert.deepEqual(changesOf(report), [`replace ${ip} ${heir.mac}`, `replace ${ip6} ${heir.mac}`]);
  assert.deepEqual(report.confirms, { sent: 2, answered: 0 });
});

// The network configuration is applied again: a port of a running VM leaves its bridge and comes back.
//
// truenas/middleware #7865: the ports of VMs were taken out of their bridge when it was configured.
// Measured with ifupdown2: away for 0.3 s; a run that saw it forgot the hosts for good.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { changesOf, Scene } from '../lib/scene.ts';

test('its hosts are back as soon as it is', (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  vm.gratuitous();
  vm.sendNa();
  assert.equal(scene.run().neighbors.changes.length, 2);
  scene.node.netns.run('ip', 'link', 'set', vm.port, 'nomaster');
  assert.deepEqual(changesOf(scene.run()), [`remove ${vm.ip} ${vm.mac}`, `remove ${vm.ip6} ${vm.mac}`]);
  assert.deepEqual(
    scene.snoopy.bindings().map(({ state }) => state),
    ['waiting', 'waiting'],
  );
  scene.node.netns.run('ip', 'link', 'set', vm.port, 'master', 'br0');
  assert.deepEqual(changesOf(scene.run()), [`add ${vm.ip} ${vm.mac}`, `add ${vm.ip6} ${vm.mac}`]);
});

deepTest('its hosts keep their addresses when a run that listens sees it', async (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  vm.gratuitous();
  scene.run();
  const listening = scene.snoopy.startReconcile('--listen', '20s');
  scene.node.netns.run('ip', 'link', 'set', vm.port, 'nomaster');
  await scene.has(vm.ip, undefined);
  scene.node.netns.run('ip', 'link', 'set', vm.port, 'master', 'br0');
  await scene.has(vm.ip, vm.mac);
  await listening.stop();
});

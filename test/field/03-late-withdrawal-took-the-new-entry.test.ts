// A VM is at its new node already when the old node withdraws its route.
//
// FRRouting/frr #21472: on the late withdrawal zebra deleted the neighbor that the new node had written for the VM, and
// the orchestrator wrote it again only when its own loop came to it.
import { test } from 'node:test';
import { FabricScene } from '../lib/scene.ts';
import { until } from '../lib/wait.ts';

test('the route of the new node stays, also when its neighbor is deleted', async (t) => {
  const scene = await FabricScene.start(t, { vms: 1 });
  const vm = scene.vm(1, 1);
  vm.gratuitous();
  scene.run(1);
  await scene.routedBy(vm.ip, 1);
  const { node } = scene.fabric.node(2);
  const moved = node.addVm({ id: 290, mac: vm.mac, ip: vm.ip, ip6: vm.ip6 });
  scene.run(2);
  moved.gratuitous();
  scene.run(2);
  vm.unplug();
  scene.run(1);
  scene.run(2);
  await scene.routedBy(vm.ip, 2);

  const listening = scene.snoopy(2).startReconcile('--listen', '20s');
  node.netns.run('ip', 'neigh', 'del', vm.ip, 'dev', 'br0');
  await until(
    'the neighbor of snoopy',
    () => scene.neighbor(2, vm.ip),
    (line) => line?.protocol === '115',
  );
  await scene.routedBy(vm.ip, 2);
  await listening.stop();
});

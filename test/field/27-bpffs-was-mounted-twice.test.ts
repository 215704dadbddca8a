// A second bpffs is mounted over the first: the pins are out of sight, and the programs still run.
//
// libbpf/bpftool #89, pelagos-containers/pelagos #493: hosts with two mounts of bpf at /sys/fs/bpf.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BPF_TCX_INGRESS, tcxPrograms } from '../../src/ffi/link.ts';
import { NEEDS_TCX } from '../kernel/probe.ts';
import { run } from '../lib/run.ts';
import { Scene } from '../lib/scene.ts';
import { enterNetns } from '../lib/setns.ts';

test('one program is on the port after the next run, and none after remove', NEEDS_TCX, (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  enterNetns(scene.scope, scene.node.netns);
  const [port] = scene.node.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', vm.port);
  const programs = (): readonly number[] => tcxPrograms(port?.ifindex ?? 0, BPF_TCX_INGRESS);
  const before = programs();
  // Only with CAP_SYS_ADMIN can a run look at programs that it has no pin of.
  const { bpffs } = scene.snoopy.privileged();
  run(['mount', '-t', 'bpf', 'bpf', bpffs]);
  scene.scope.defer(() => run(['umount', bpffs]));
  scene.run();
  assert.equal(programs().length, 1);
  assert.notDeepEqual(programs(), before);
  vm.gratuitous();
  scene.run();
  assert.equal(scene.macOf(vm.ip), vm.mac);
  assert.equal(scene.snoopy.run('remove').code, 0);
  assert.deepEqual(programs(), []);
});

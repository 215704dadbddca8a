// Another TCX program on the port ends the chain for every frame.
//
// cilium/cilium #36775, netobserv/netobserv-ebpf-agent #822: a program after it saw nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BPF_TCX_INGRESS, tcxAttach } from '../../src/ffi/link.ts';
import { loadEnder, NEEDS_TCX } from '../kernel/probe.ts';
import { Scene } from '../lib/scene.ts';
import { enterNetns } from '../lib/setns.ts';

test('snoopy is first in the chain, and hosts are learned', NEEDS_TCX, (t) => {
  const scene = new Scene(t);
  const vm = scene.node.addVm({ id: 101 });
  enterNetns(scene.scope, scene.node.netns);
  const [port] = scene.node.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', vm.port);
  tcxAttach(loadEnder(scene.scope), port?.ifindex ?? 0, BPF_TCX_INGRESS);
  scene.run();
  vm.gratuitous();
  scene.run();
  assert.equal(scene.macOf(vm.ip), vm.mac);
});

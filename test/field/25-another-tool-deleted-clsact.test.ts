// A program that deletes the whole clsact qdisc of a port when it ends, with the filters of everyone else.
//
// aquasecurity/tracee #1828: it deleted clsact when it removed its network probe.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEEDS_TCX } from '../kernel/probe.ts';
import { Scene } from '../lib/scene.ts';

test('attach: auto loses nothing', NEEDS_TCX, (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  for (const verb of ['add', 'del']) scene.node.netns.run('tc', 'qdisc', verb, 'dev', vm.port, 'clsact');
  vm.gratuitous();
  const { changed } = scene.run();
  assert.equal(changed, false);
  assert.equal(scene.macOf(vm.ip), vm.mac);
});

test('attach: clsact is attached again by the next run', (t) => {
  const scene = new Scene(t, { runtime: { attach: 'clsact' }, vms: 1 });
  const vm = scene.vm(1);
  scene.node.netns.run('tc', 'qdisc', 'del', 'dev', vm.port, 'clsact');
  scene.run();
  vm.gratuitous();
  scene.run();
  assert.equal(scene.macOf(vm.ip), vm.mac);
});

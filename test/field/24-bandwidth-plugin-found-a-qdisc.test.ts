// A program that adds a qdisc of kind ingress to a port, and does not expect any to be there.
//
// containernetworking/plugins #894: beside a monitoring tool it failed with "create ingress qdisc: file exists".
// bpfman/bpfman #468: and where that qdisc is first, a program that needs clsact cannot attach.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEEDS_TCX } from '../kernel/probe.ts';
import { Scene } from '../lib/scene.ts';

for (const order of ['after snoopy', 'before snoopy'])
  test(`its qdisc is added ${order}, and hosts are learned`, NEEDS_TCX, (t) => {
    const scene = new Scene(t);
    const vm = scene.node.addVm({ id: 101 });
    if (order === 'after snoopy') scene.run();
    scene.node.netns.run('tc', 'qdisc', 'add', 'dev', vm.port, 'handle', 'ffff:', 'ingress');
    scene.run();
    vm.gratuitous();
    scene.run();
    assert.equal(scene.macOf(vm.ip), vm.mac);
  });

// A container that is started again: the same address, another MAC, and a node that has talked with the old one.
//
// moby/moby #36069: the node sent to the old MAC for seconds or minutes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEEDS_VALIDATED } from '../kernel/probe.ts';
import { Scene } from '../lib/scene.ts';
import { sleepSync } from '../lib/wait.ts';

test('is reached by the node at once, before any run and after it', NEEDS_VALIDATED, async (t) => {
  const scene = new Scene(t, { addresses: ['10.1.0.1/16'], vms: 1 });
  const { ip } = scene.vm(1);
  const ping = (): number => scene.node.netns.tryRun(['busybox', 'ping', '-c', '1', '-W', '2', ip]).code;
  scene.vm(1).gratuitous();
  scene.run();
  assert.equal(ping(), 0);
  scene.vm(1).unplug();
  const again = scene.node.addVm({ id: 103, ip });
  // The kernel takes no other MAC within locktime, which is a second.
  sleepSync(1_100);
  again.gratuitous();
  await scene.has(ip, again.mac);
  assert.equal(ping(), 0);
  scene.run();
  assert.equal(ping(), 0);
});

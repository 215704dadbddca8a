// A host that answers, and sends nothing by itself.
//
// openperouter/openperouter #210: after some minutes its neighbors were stale, then collected, and both of its routes were
// withdrawn; requests of other hosts did not reach it, because suppression was on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scene } from '../lib/scene.ts';
import { sleepSync } from '../lib/wait.ts';

test('is probed, and its answers count as seen', (t) => {
  const scene = new Scene(t, { bridge: { probe: { after: '1s' } }, vms: 1 });
  const vm = scene.vm(1);
  vm.gratuitous();
  vm.sendNa();
  const announced = performance.now();
  scene.run();
  sleepSync(2_000);
  assert.equal(scene.run().probes.sent, 2);
  for (const { ip, age, state } of scene.snoopy.bindings()) {
    assert.equal(state, 'installed', ip);
    assert.ok(age !== null && age <= (performance.now() - announced) / 1_000 - 2, `${ip}: ${age} s`);
  }
});

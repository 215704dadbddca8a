// A host that answers, and sends nothing by itself.
//
// openperouter/openperouter #210: after some minutes its neighbors were stale, then collected, and both of its routes were
// withdrawn; requests of other hosts did not reach it, because suppression was on.
//
// Even with a neighbor that stays, zebra withdraws the routes of a host whose MAC the bridge has aged out, after 300 s by
// default.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findFdb } from '../lib/oracles.ts';
import { Scene } from '../lib/scene.ts';
import { sleepSync, until } from '../lib/wait.ts';

const BRIDGE = 'br0';

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

/** Waits until the bridge has the MAC of the VM, or has it no more. */
async function bridgeHas(scene: Scene, has: boolean): Promise<void> {
  const { mac } = scene.vm(1);
  await until(
    `${has ? '' : 'no '}FDB entry of ${mac}`,
    () => findFdb(scene.node.netns, BRIDGE, mac).length > 0,
    (is) => is === has,
  );
}

function ageMacsAfter(scene: Scene, seconds: number): void {
  const { netns } = scene.node;
  netns.run('ip', 'link', 'set', BRIDGE, 'type', 'bridge', 'ageing_time', String(seconds * 100));
}

test('is probed when the bridge has aged out its MAC, and the bridge has it again', async (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  vm.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
  vm.gratuitous();
  scene.run();
  ageMacsAfter(scene, 2);
  await bridgeHas(scene, false);
  const { probes, neighbors } = scene.run();
  assert.deepEqual([probes.sent, neighbors.changed], [1, false]);
  await bridgeHas(scene, true);
});

test('is probed by a listening run when the bridge ages out its MAC', (t) => {
  const scene = new Scene(t, { vms: 1 });
  const vm = scene.vm(1);
  vm.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
  vm.gratuitous();
  ageMacsAfter(scene, 2);
  const { probes, neighbors } = scene.run('--listen', '8s');
  assert.ok(probes.sent > 0, `${probes.sent} probes`);
  assert.deepEqual(
    neighbors.changes.map(({ kind }) => kind),
    ['add'],
  );
});

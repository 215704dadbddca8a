// A VM that boots and opens connections to its gateway, and announces nothing.
//
// Measured: Linux answers the solicitations of its gateway with O=0 and without its link-layer address, so its IPv6 address
// was not learned until another host resolved it by multicast.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sample } from '../lib/depth.ts';
import { changesOf, Scene, speakTo } from '../lib/scene.ts';

for (const addresses of sample([[]], [[], ['10.1.0.1/16', '2001:db8:1::1/64']])) {
  const where = addresses.length === 0 ? 'without addresses' : 'with addresses';
  test(`is learned for both families by one run, on a bridge ${where}`, (t) => {
    const scene = new Scene(t, { addresses, vms: 2 });
    const [vm, gateway] = [scene.vm(1), scene.vm(2)];
    speakTo(vm, gateway.ip, gateway.ip6);
    const report = scene.run();
    const found = changesOf(report).filter((line) => line.endsWith(vm.mac));
    assert.deepEqual(found, [`add ${vm.ip} ${vm.mac}`, `add ${vm.ip6} ${vm.mac}`], JSON.stringify(report));
    assert.ok(report.hints.probed > 0);
  });
}

test('is learned within a second by a run that listens', async (t) => {
  const scene = new Scene(t, { vms: 2 });
  const [vm, gateway] = [scene.vm(1), scene.vm(2)];
  const listening = scene.snoopy.startReconcile('--listen', '20s');
  speakTo(vm, gateway.ip, gateway.ip6);
  for (const ip of [vm.ip, vm.ip6]) await scene.has(ip, vm.mac);
  await listening.stop();
});

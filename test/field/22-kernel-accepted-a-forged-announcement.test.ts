// The node talks with a host, so the kernel has a neighbor of its own for it, and another host announces the address.
//
// Measured: the kernel rewrote its entry, the route went to the other host, and the owner was not probed.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { deepTest, sample } from '../lib/depth.ts';
import { Scene } from '../lib/scene.ts';
import { sleepSync } from '../lib/wait.ts';

/** The kernel has an entry of its own for VM 1, which snoopy leaves alone, and accepts another MAC for it. */
function withKernelNeighbor(t: TestContext): Scene {
  const scene = new Scene(t, { addresses: ['10.1.0.1/16'], vms: 2 });
  const owner = scene.vm(1);
  assert.ok(owner.arping('10.1.0.1'));
  scene.node.netns.run('bash', '-c', `echo >/dev/udp/${owner.ip}/9`);
  assert.deepEqual(scene.run().neighbors.changes, []);
  const entry = scene.neighbor(owner.ip);
  assert.deepEqual([entry?.lladdr, entry?.protocol], [owner.mac, undefined]);
  // The kernel takes no other MAC within locktime, which is a second.
  sleepSync(1_100);
  return scene;
}

for (const accept of sample([0], [0, 1]))
  test(`goes back to its owner after a forged announcement, with arp_accept=${accept}`, async (t) => {
    const scene = withKernelNeighbor(t);
    const [owner, liar] = [scene.vm(1), scene.vm(2)];
    scene.node.netns.sysctl({ 'net/ipv4/conf/br0/arp_accept': accept });
    liar.gratuitous(owner.ip);
    await scene.has(owner.ip, liar.mac);
    const { confirms, warnings } = scene.run();
    assert.deepEqual(confirms, { sent: 1, answered: 1 });
    assert.match(
      warnings.join('\n'),
      new RegExp(
        `^${liar.mac} on port "${liar.port}" claims .*: its owner ${owner.mac} on port "${owner.port}" still answers`,
        'm',
      ),
    );
    assert.equal(scene.macOf(owner.ip), owner.mac);
    assert.deepEqual(scene.run().confirms, { sent: 0, answered: 0 });
  });

deepTest('goes to the claimant when its owner does not answer, and is not probed again', async (t) => {
  const scene = withKernelNeighbor(t);
  const [owner, heir] = [scene.vm(1), scene.vm(2)];
  owner.run('ip', 'address', 'flush', 'dev', 'eth0');
  heir.run('ip', 'address', 'add', `${owner.ip}/16`, 'dev', 'eth0');
  heir.gratuitous(owner.ip);
  await scene.has(owner.ip, heir.mac);
  assert.deepEqual(scene.run().confirms, { sent: 1, answered: 0 });
  assert.equal(scene.macOf(owner.ip), heir.mac);
  assert.deepEqual(scene.run().confirms, { sent: 0, answered: 0 });
});

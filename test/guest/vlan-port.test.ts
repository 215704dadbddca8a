// A listening run on a VLAN-aware bridge: it asks for the VLANs of a port that comes or changes by themselves.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deepTest } from '../lib/depth.ts';
import { attachedPrograms } from '../lib/oracles.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { VlanNode } from './vlans.ts';

deepTest('has the VLANs of a port that comes while a run listens, and follows them', async (t) => {
  const config = { frr: { verify: 'never' }, bridges: [{ name: 'br0' }] };
  const node = new VlanNode(t, { aware: true, config });
  // Otherwise the bridge takes the MAC of a port, and has changed itself.
  node.netns.ipBatch(['link set br0 address 02:ff:00:00:00:01']);
  const twenty = node.addSvi(20);
  const before = node.addHost({ id: 1, pvid: 20 });
  node.reconcile();
  before.announce();
  const file = join(createTempDir(node.scope, 'strace'), 'requests');
  // Longer than the test takes, which ends it.
  const listening = node.netns.start(
    ...['strace', '-f', '-o', file, '-e', 'trace=sendto'],
    ...node.snoopy.argv('reconcile', '--listen', '20m'),
  );
  const own = (): string[] => node.own(twenty);
  await until('the first neighbor', own, ({ length }) => length === 1);
  const first = readFileSync(file, 'utf8').length;

  const trunk = node.addHost({ id: 2, tagged: [10, 20] });
  await until(
    `the program on ${trunk.port}`,
    () => attachedPrograms(node.netns, trunk.port),
    ({ length }) => length === 1,
  );
  // Its VLANs are known a moment later.
  const announced = (): string[] => {
    trunk.announce(20);
    return own();
  };
  await until('the neighbor behind the trunk', announced, ({ length }) => length === 2);
  node.vlan('del', trunk.port, 20);
  await until('its end with the VLAN', own, ({ length }) => length === 1);
  const requests = readFileSync(file, 'utf8').slice(first);
  assert.match(requests, /nlmsg_type=RTM_GETVLAN|nlmsg_type=0x72/);
  listening.kill();
  node.assertIdle();
});

// Hosts that do not announce themselves, and that something suggests are here: they are probed, learned and installed
// by one run. The VMs are namespaces with the stack of the kernel. What users have met is in test/field.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { deepTest } from '../lib/depth.ts';
import { naFrame, rarpFrame } from '../lib/frames.ts';
import { findFdb } from '../lib/oracles.ts';
import { changesOf, Scene } from '../lib/scene.ts';
import { sleepSync } from '../lib/wait.ts';

const BRIDGE = 'br0';

describe('a host of another node that moved here', () => {
  const mac = '02:00:00:00:01:01';
  const vmIps = ['10.1.1.1', '2001:db8:1::101'];

  deepTest('takes the place of zebra’s entries that are still there', (t) => {
    const scene = new Scene(t);
    scene.writeRemote(mac, ...vmIps);
    scene.run();
    const vm = scene.node.addVm({ id: 101 });
    vm.sendMarker();
    assert.deepEqual(
      changesOf(scene.run()),
      vmIps.map((ip) => `replace ${ip} ${mac}`),
    );
  });

  deepTest(
    'is not probed while its MAC is elsewhere, and less and less often while it does not answer',
    (t) => {
      const scene = new Scene(t, { vms: 1 });
      const other = scene.vm(1);
      const lost = '02:00:00:00:09:09';
      scene.writeRemote(lost, '10.1.9.9');
      scene.run();
      assert.equal(scene.run().hints.probed, 0);
      // A frame with its source, but nobody who answers for the address.
      other.send(rarpFrame(lost));
      assert.deepEqual(
        findFdb(scene.node.netns, BRIDGE, lost).map(({ ifname }) => ifname),
        [other.port],
      );
      const startedMs = performance.now();
      assert.equal(scene.run().hints.probed, 1);
      // The second probe is due a second after the first one, the third 8 s after that.
      const again = scene.run().hints.probed;
      const isDue = performance.now() - startedMs >= 1_000;
      assert.ok(again === 0 || isDue, 'not before a second is over');
      sleepSync(1_000);
      assert.deepEqual(
        [scene.run(), scene.run()].map(({ hints }) => hints.probed),
        [1 - again, 0],
      );
    },
  );
});

describe('a host of this node', () => {
  it('whose interface was deleted is learned again when its MAC is back on any port', (t) => {
    const scene = new Scene(t, { addresses: ['10.1.0.1/16', '2001:db8:1::1/64'], vms: 1 });
    const vm = scene.vm(1);
    vm.gratuitous();
    vm.sendNa();
    scene.run();
    vm.unplug();
    assert.deepEqual(changesOf(scene.run()), [`remove ${vm.ip} ${vm.mac}`, `remove ${vm.ip6} ${vm.mac}`]);
    assert.deepEqual(scene.snoopy.bindings(), []);
    const again = scene.node.addVm({ id: 103, mac: vm.mac, ip: vm.ip, ip6: vm.ip6 });
    again.sendMarker();
    assert.deepEqual(changesOf(scene.run()), [`add ${vm.ip} ${vm.mac}`, `add ${vm.ip6} ${vm.mac}`]);
  });

  deepTest('and that may check its address anew gets an ARP Probe only when that is over', async (t) => {
    const scene = new Scene(t, { vms: 1 });
    const vm = scene.vm(1);
    vm.gratuitous();
    vm.sendNa();
    scene.run();
    vm.unplug();
    scene.run();
    // A host that is back sooner has not restarted.
    sleepSync(3_000);
    const again = scene.node.addVm({ id: 103, mac: vm.mac, ip: vm.ip, ip6: vm.ip6 });
    const capture = await Capture.start(again.netns, 'eth0', 'arp');
    again.sendMarker();
    assert.deepEqual(changesOf(scene.run()), [`add ${vm.ip6} ${vm.mac}`]);
    assert.deepEqual(changesOf(scene.run()), []);
    assert.equal(capture.count(/who-has/), 0);
    sleepSync(10_000);
    assert.deepEqual(changesOf(scene.run()), [`add ${vm.ip} ${vm.mac}`]);
  });
});

it('two hosts with one address, one of them at another node, freeze it as two hosts here do', (t) => {
  const scene = new Scene(t, { vms: 1, bridge: { duplicates: { moves: 3, window: '1m', hold: '1m' } } });
  const vm = scene.vm(1);
  vm.gratuitous();
  scene.run();
  const far = '02:00:00:00:99:99';
  // zebra has the other host's route each time, and the host here answers a probe: it takes the address back.
  const reports = [1, 2, 3].map(() => {
    scene.writeRemote(far, vm.ip);
    return scene.run();
  });
  assert.deepEqual(reports.map(changesOf), [
    [`replace ${vm.ip} ${vm.mac}`],
    [`replace ${vm.ip} ${vm.mac}`],
    [],
  ]);
  assert.equal(scene.macOf(vm.ip), far);
  assert.equal(reports[2]?.warnings.length, 1);
  assert.match(reports[2]?.warnings[0] ?? '', new RegExp(`${vm.ip}.*${vm.mac}.*${far}`));
  assert.deepEqual(
    scene.snoopy.bindings().map(({ ip, state }) => `${ip} ${state}`),
    [`${vm.ip} frozen`],
  );
  const after = scene.run();
  assert.deepEqual([after.neighbors.changes, after.probes.sent], [[], 0]);
  assert.deepEqual(changesOf(scene.run('--unfreeze', vm.ip)), [`replace ${vm.ip} ${vm.mac}`]);
});

it('a host is not probed for hints that another port has forged with its MAC', (t) => {
  const scene = new Scene(t, { vms: 2 });
  const [liar, victim] = [scene.vm(1), scene.vm(2)];
  // Otherwise its kernel may send a message at any time, and its MAC is back on its port.
  victim.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
  const forged = Array.from({ length: 8 }, (_, n) =>
    naFrame({
      target: `2001:db8:1::f${n}`,
      targetMac: victim.mac,
      destination: liar.mac,
      destinationIp: liar.ip6,
      override: false,
    }),
  );
  const portsOf = (): (string | undefined)[] =>
    findFdb(scene.node.netns, BRIDGE, victim.mac).map(({ ifname }) => ifname);
  liar.send(...forged);
  assert.deepEqual(portsOf(), [liar.port]);
  victim.sendMarker();
  assert.deepEqual(portsOf(), [victim.port]);
  const report = scene.run();
  assert.ok(report.counters.hints >= forged.length, 'the program has taken them for hints');
  assert.equal(report.hints.probed, 0);
  // The same messages on the victim's own port are probed there.
  victim.send(...forged);
  assert.ok(scene.run().hints.probed > 0);
});

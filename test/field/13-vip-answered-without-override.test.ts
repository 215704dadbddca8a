// A load balancer that answers for a virtual IPv6 address with O=0.
//
// metallb/metallb #3125: its NDP responder calls advertise(source, target, false). Here the kernel's proxy answers so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { Scene } from '../lib/scene.ts';
import { sleepSync } from '../lib/wait.ts';

const VIP = '2001:db8:1::100';

test('keeps its neighbor, for its answers count as seen', async (t) => {
  const scene = new Scene(t, { bridge: { probe: { after: '1s' } }, vms: 1 });
  const vm = scene.vm(1);
  vm.netns.sysctl({
    'net/ipv6/conf/all/forwarding': 1,
    'net/ipv6/conf/eth0/proxy_ndp': 1,
    'net/ipv6/neigh/eth0/proxy_delay': 0,
  });
  vm.netns.ipBatch([`neigh add proxy ${VIP} dev eth0`]);
  vm.sendNa(VIP);
  const announced = performance.now();
  scene.run();
  const answers = await Capture.start(vm.netns, 'eth0', 'icmp6 and ip6[40] = 136 and ip6[44] & 0x20 = 0');
  sleepSync(2_000);
  scene.run();
  await answers.saw(new RegExp(`tgt is ${VIP}`));
  const [vip] = scene.snoopy.bindings().filter(({ ip }) => ip === VIP);
  assert.deepEqual([vip?.state, vip?.mac], ['installed', vm.mac]);
  assert.ok((vip?.age ?? Number.NaN) <= (performance.now() - announced) / 1_000 - 2, `${vip?.age} s`);
});

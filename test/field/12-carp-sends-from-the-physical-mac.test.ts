// CARP: the address belongs to a virtual MAC, and the frames of its master come from the physical one.
//
// opnsense/core #8201: the firewall answered with its own MAC as the Ethernet source.
// toreamun/opnsense-plugins #38: so did its own requests for hosts, with the virtual address as their sender.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arpFrame } from '../lib/frames.ts';
import { Scene } from '../lib/scene.ts';

test('a static entry gives the address to the virtual MAC, whatever the physical one sends', (t) => {
  const [vip, virtual] = ['10.1.0.254', '00:00:5e:00:01:07'];
  const scene = new Scene(t, { bridge: { static: [{ ip: vip, mac: virtual }] }, vms: 1 });
  const { mac: source, ...vm } = scene.vm(1);
  const send = (...frames: Buffer[]): void => scene.vm(1).send(...frames);
  // An advertisement: the only frame with the virtual MAC as its source.
  send(arpFrame({ operation: 'request', senderMac: virtual, senderIp: vip, targetIp: vip }));
  send(arpFrame({ operation: 'reply', source, senderMac: virtual, senderIp: vip, targetIp: vm.ip }));
  send(arpFrame({ operation: 'request', senderMac: source, senderIp: vip, targetIp: vm.ip }));
  const { counters } = scene.run();
  assert.equal(scene.macOf(vip), virtual);
  assert.equal(counters.rejected['spoofed'], 1);
});

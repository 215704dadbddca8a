// Addresses that move to another MAC at another node: clients behind a suppressing tunnel port follow after a run.
//
// flyingcircusio/fc-nixos #1003: ARP and ND suppression dropped keepalived's announcements, and clients sent to the old
// router for 20 s.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { deepTest } from '../lib/depth.ts';
import { Fabric } from '../lib/fabric.ts';
import type { Vm } from '../lib/node.ts';
import { findNeighbor } from '../lib/oracles.ts';
import { outputOf, type Report, Snoopy, withReport } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';

const BRIDGE = 'br0';

describe('an address that moves to another MAC at another node', () => {
  let fabric: Fabric;
  let snoopies: readonly Snoopy[];

  before(async () => {
    fabric = await Fabric.start({ nodes: 3 });
    snoopies = fabric.nodes.map(({ node }) => new Snoopy(fabric.scope, node.netns));
    for (const node of [1, 2, 3]) run(node);
  });

  after(() => fabric?.close());

  function run(node: number): Report {
    const result = snoopies[node - 1]?.reconcile();
    assert.ok(result !== undefined);
    assert.equal(result.code, 0, outputOf(result));
    return result.report;
  }

  /** A host gets the addresses, and its node learns them. */
  function give(vm: Vm, ips: readonly string[]): void {
    for (const ip of ips)
      vm.netns.ipBatch([
        ip.includes(':') ? `address add ${ip}/64 dev eth0 nodad` : `address add ${ip}/16 dev eth0`,
      ]);
    for (const ip of ips) ip.includes(':') ? vm.sendNa(ip) : vm.gratuitous(ip);
  }

  function take(vm: Vm, ips: readonly string[]): void {
    for (const ip of ips)
      vm.netns.run('ip', 'address', 'del', `${ip}/${ip.includes(':') ? 64 : 16}`, 'dev', 'eth0');
  }

  /** The MAC that a host of the subnet sends to. */
  function macAt(vm: Vm, ip: string): string | undefined {
    return findNeighbor(vm.netns, 'eth0', ip)?.lladdr;
  }

  async function follows(vm: Vm, ip: string, mac: string): Promise<void> {
    await until(
      `${ip} to be ${mac} for its client`,
      () => macAt(vm, ip),
      (found) => found === mac,
      { everyMs: 5 },
    );
  }

  /** Waits for zebra's entry of a host at another node. */
  async function zebraHas(node: number, ip: string, mac: string): Promise<void> {
    const { netns } = fabric.node(node).node;
    await until(
      `zebra to have ${mac} for ${ip} at node ${node}`,
      () => findNeighbor(netns, BRIDGE, ip),
      (line) => line !== undefined && 'extern_learn' in line && line.lladdr === mac,
      { everyMs: 5 },
    );
  }

  /** The client talks to the addresses, by TCP that is refused. */
  function talk(client: Vm, ips: readonly string[], mac: string): void {
    for (const ip of ips) {
      const { stderr } = client.netns.tryRun(['timeout', '5', 'bash', '-c', `: </dev/tcp/${ip}/9`]);
      assert.match(stderr, /refused/);
      assert.equal(macAt(client, ip), mac);
    }
  }

  test('is announced at the node that it has left, on every port, and taken for no host there', async () => {
    const ips = ['10.1.9.1', '2001:db8:1::9:1'];
    const [old, heir, client] = [fabric.vm(2, 1), fabric.vm(3, 1), fabric.vm(2, 2)];
    give(old, ips);
    run(2);
    talk(client, ips, old.mac);
    const capture = await Capture.start(client.netns, 'eth0', 'arp or icmp6');
    take(old, ips);
    give(heir, ips);
    run(3);
    for (const ip of ips) {
      await zebraHas(2, ip, heir.mac);
      assert.equal(macAt(client, ip), old.mac, 'the tunnel port suppresses');
    }
    const { moved } = run(2).counters;

    for (const ip of ips) await follows(client, ip, heir.mac);
    await capture.saw(
      new RegExp(`^${heir.mac} > ff:ff:ff:ff:ff:ff, .*Request who-has 10.1.9.1 .*tell 10.1.9.1`),
    );
    await capture.saw(
      new RegExp(`^${heir.mac} > 33:33:00:00:00:01, .*2001:db8:1::9:1 > ff02::1: .*neighbor advertisement`),
    );
    assert.equal(run(2).counters.moved, moved);
    const macs = snoopies[1]?.bindings().map(({ mac }) => mac) ?? [];
    assert.ok(macs.includes(client.mac) && !macs.includes(heir.mac), `bindings of ${macs}`);
    for (const ip of ips) assert.equal(macAt(heir, ip), undefined);
    talk(client, ips, heir.mac);
  });

  test('is announced where only the fabric knew it, once; a first sight is not', async () => {
    const ips = ['10.1.9.2', '2001:db8:1::9:2'];
    const [old, next, heir, client] = [fabric.vm(2, 1), fabric.vm(2, 2), fabric.vm(3, 1), fabric.vm(1, 1)];
    give(old, ips);
    run(2);
    for (const ip of ips) await zebraHas(1, ip, old.mac);
    assert.equal(run(1).announcements.sent, 0);
    talk(client, ips, old.mac);

    // To another host of the same node.
    take(old, ips);
    give(next, ips);
    run(2);
    for (const ip of ips) await zebraHas(1, ip, next.mac);
    for (const ip of ips) assert.equal(macAt(client, ip), old.mac, 'the tunnel port suppresses');
    assert.equal(run(1).announcements.sent, 2);
    for (const ip of ips) await follows(client, ip, next.mac);
    assert.equal(run(1).announcements.sent, 0);

    // To another node.
    take(next, ips);
    give(heir, ips);
    run(3);
    for (const ip of ips) await zebraHas(1, ip, heir.mac);
    assert.equal(run(1).announcements.sent, 2);
    for (const ip of ips) await follows(client, ip, heir.mac);
    assert.equal(run(1).announcements.sent, 0);
    talk(client, ips, heir.mac);
  });

  deepTest('is announced while a run listens, soon after zebra has it', async (t) => {
    const ip = '10.1.9.3';
    const [old, heir, client] = [fabric.vm(2, 1), fabric.vm(3, 1), fabric.vm(1, 1)];
    give(old, [ip]);
    run(2);
    await zebraHas(1, ip, old.mac);
    run(1);
    talk(client, [ip], old.mac);
    const listening = snoopies[0]?.startReconcile('--listen', '8s');
    assert.ok(listening !== undefined);
    take(old, [ip]);
    give(heir, [ip]);
    run(3);
    await zebraHas(1, ip, heir.mac);
    const written = performance.now();
    await follows(client, ip, heir.mac);
    t.diagnostic(`the client has the new MAC ${(performance.now() - written).toFixed(0)} ms after zebra`);
    const ended = withReport(await listening.ended(20_000));
    assert.equal(ended.report.announcements.sent, 1);
  });
});

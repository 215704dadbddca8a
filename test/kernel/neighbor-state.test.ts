// The state of neighbors where the node talks to its hosts, with VMs that have a network stack of their own.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { arpFrame, naFrame } from '../lib/frames.ts';
import type { Netns } from '../lib/netns.ts';
import { Node, type Vm } from '../lib/node.ts';
import { findNeighbor } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { type NeighborChange, outputOf, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { NEEDS_VALIDATED } from './probe.ts';

const BRIDGE = 'br0';
const OWN = '10.1.255.254';
const OWN6 = '2001:db8:1::ffff';
/** The kernel sends its own IPv6 probes from the link-local address. */
const ADDRESSES = [`${OWN}/16`, `${OWN6}/64`, 'fe80::ff/64'];
const OTHER_MAC = '02:00:00:00:99:01';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.close());

interface Machine {
  readonly node: Node;
  readonly vm: Vm;
  readonly snoopy: Snoopy;
}

/** A node that has written the neighbors of a VM, in the state that it reports. */
function machine(addresses: readonly string[], bridge: object = {}): Machine {
  const node = new Node(scope, { name: 'n1', addresses });
  const vm = node.addVm({ id: 101 });
  const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE, ...bridge }] });
  const host = { node, vm, snoopy };
  changesOf(host);
  vm.gratuitous();
  vm.sendNa();
  for (const { ip, after } of changesOf(host)) assert.equal(after?.state, stateOf(host, ip), ip);
  for (const ip of [vm.ip, vm.ip6]) assert.equal(macOf(host, ip), vm.mac);
  return host;
}

function changesOf({ snoopy }: Machine): readonly NeighborChange[] {
  const run = snoopy.reconcile();
  assert.equal(run.code, 0, outputOf(run));
  return run.report.neighbors.changes;
}

/** The state of an entry in lower case. */
function stateOf({ node }: Machine, ip: string): string | undefined {
  return findNeighbor(node.netns, BRIDGE, ip)?.state.join().toLowerCase();
}

function macOf({ node }: Machine, ip: string): string | undefined {
  return findNeighbor(node.netns, BRIDGE, ip)?.lladdr;
}

/** True when a host answers TCP: with a reset, as nothing listens on that port. */
function reaches(from: Netns, ip: string, timeoutS = 10): boolean {
  const { code, stderr } = from.tryRun(['timeout', String(timeoutS), 'bash', '-c', `: </dev/tcp/${ip}/9`]);
  assert.ok(code === 124 || /refused|No route/.test(stderr), stderr);
  return stderr.includes('refused');
}

/** The VM gets another MAC on the same port, and keeps its addresses. It sends nothing yet. */
function replaceInterface({ vm }: Machine): void {
  vm.netns.ipBatch([
    'link set eth0 down',
    `link set eth0 address ${OTHER_MAC} up`,
    `address replace ${vm.ip6}/64 dev eth0 nodad`,
  ]);
}

/** Shortens the times after which the kernel probes a host that it talks to, and gives up. */
function probeSoon({ node }: Machine): void {
  for (const family of ['ipv4', 'ipv6']) {
    node.netns.sysctl({
      [`net/${family}/neigh/${BRIDGE}/delay_first_probe_time`]: 1,
      [`net/${family}/neigh/${BRIDGE}/retrans_time_ms`]: 100,
    });
  }
}

describe('where the node has an address in the subnet', NEEDS_VALIDATED, () => {
  test('a host that comes back with another MAC is reached without a run', () => {
    const host = machine(ADDRESSES);
    const { node, vm } = host;
    for (const ip of [vm.ip, vm.ip6]) assert.ok(reaches(node.netns, ip), ip);

    replaceInterface(host);
    for (const ip of [OWN, OWN6]) assert.ok(reaches(vm.netns, ip), ip);

    const followed = (): void => {
      for (const ip of [vm.ip, vm.ip6]) {
        assert.equal(macOf(host, ip), OTHER_MAC);
        assert.ok(reaches(node.netns, ip), ip);
      }
    };
    followed();
    // No run takes the new MAC away, although its owner check of the former one has no answer.
    changesOf(host);
    followed();
    assert.deepEqual(changesOf(host), []);
    followed();
  });

  deepTest(
    'the states that the kernel sets while the node talks to a host are no reason to write',
    async () => {
      const host = machine(ADDRESSES);
      const { node, vm } = host;
      const states = (): string => [vm.ip, vm.ip6].map((ip) => stateOf(host, ip)).join();
      assert.equal(states(), 'stale,stale');
      assert.deepEqual(changesOf(host), []);
      for (const ip of [vm.ip, vm.ip6]) assert.ok(reaches(node.netns, ip), ip);
      assert.equal(states(), 'delay,delay');
      assert.deepEqual(changesOf(host), []);
      await until('the kernel to have probed', states, (found) => found === 'reachable,reachable');
      assert.deepEqual(changesOf(host), []);
    },
  );

  deepTest('a host that does not answer the kernel keeps its neighbor, also without carrier', async () => {
    const host = machine(ADDRESSES);
    const { node, vm } = host;
    const ips = [vm.ip, vm.ip6];
    probeSoon(host);
    vm.netns.ipBatch([`address del ${vm.ip}/16 dev eth0`, `address del ${vm.ip6}/64 dev eth0`]);
    const monitor = node.netns.start('ip', 'monitor', 'neigh', 'dev', BRIDGE);
    for (const ip of ips) assert.equal(reaches(node.netns, ip, 2), false, ip);
    for (const ip of ips) await monitor.printed(new RegExp(`^${ip} .*PROBE[^]*^${ip} .*STALE`, 'm'));
    for (const ip of ips) assert.equal(macOf(host, ip), vm.mac);
    assert.doesNotMatch(monitor.stdout, /FAILED|Deleted/);
    assert.deepEqual(changesOf(host), []);

    vm.netns.run('ip', 'link', 'set', 'eth0', 'down');
    await until(
      'the bridge to lose its carrier',
      () => node.netns.run('ip', '-br', 'link', 'show', BRIDGE),
      (line) => line.includes('NO-CARRIER'),
    );
    for (const ip of ips) assert.equal(macOf(host, ip), vm.mac);
    assert.deepEqual(changesOf(host), []);
  });

  test('neighbors of an earlier version are written once, and when the address comes or goes', () => {
    const host = machine([], { subnets: 'any', neighbor_state: 'noarp' });
    const { node, vm, snoopy } = host;
    const changes = (): string[] =>
      changesOf(host).map(({ kind, ip, after, because }) => `${kind} ${ip} ${after?.state}: ${because}`);
    const both = (state: string): string[] =>
      [vm.ip, vm.ip6].map((ip) => `replace ${ip} ${state}: neighbor_state is ${state} (auto)`);
    for (const address of ADDRESSES)
      node.netns.ipBatch([`address add ${address} dev ${BRIDGE}${address.includes(':') ? ' nodad' : ''}`]);
    assert.deepEqual(changes(), []);

    snoopy.configure({ bridges: [{ name: BRIDGE, subnets: 'any' }] });
    assert.deepEqual(changes().sort(), both('stale'));
    assert.deepEqual(changes(), []);
    assert.equal(snoopy.bindings().find(({ ip }) => ip === vm.ip)?.neighbor, 'stale');

    // Without any IPv4 address the kernel would delete the IPv4 neighbors of the device.
    node.netns.ipBatch([
      `address add 192.0.2.1/24 dev ${BRIDGE}`,
      ...ADDRESSES.slice(0, 2).map((address) => `address del ${address} dev ${BRIDGE}`),
    ]);
    assert.deepEqual(changes().sort(), both('noarp'));
    assert.deepEqual(changes(), []);
  });
});

describe('where no message may change a neighbor', () => {
  deepTest('it is NOARP on a bridge without an address', () => {
    const host = machine([]);
    const { vm } = host;
    for (const ip of [vm.ip, vm.ip6]) assert.equal(stateOf(host, ip), 'noarp');
    replaceInterface(host);
    const claim = { senderMac: OTHER_MAC, senderIp: vm.ip, targetIp: vm.ip };
    vm.send(arpFrame({ operation: 'request', ...claim }), naFrame({ target: vm.ip6, targetMac: OTHER_MAC }));
    for (const ip of [vm.ip, vm.ip6]) assert.equal(macOf(host, ip), vm.mac);
  });

  deepTest('it is NOARP for a static entry, whichever MAC claims the address', () => {
    const entry = { ip: '10.1.0.53', mac: '02:00:00:00:01:01' };
    const host = machine(ADDRESSES, { static: [entry] });
    const { vm } = host;
    assert.equal(stateOf(host, entry.ip), 'noarp');
    replaceInterface(host);
    vm.netns.ipBatch([`address add ${entry.ip}/16 dev eth0`, `route add ${OWN}/32 dev eth0 src ${entry.ip}`]);
    assert.equal(reaches(vm.netns, OWN), false, 'the node answers to the provisioned MAC');
    assert.equal(stateOf(host, entry.ip), 'noarp');
    assert.equal(macOf(host, entry.ip), entry.mac);
  });
});

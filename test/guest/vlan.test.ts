// Bridges with VLANs, and devices of other kinds beside and below them: each neighbor is on the device of its VLAN.
import assert from 'node:assert/strict';
import { release } from 'node:os';
import { describe, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import type { Check } from '../lib/doctor.ts';
import { attachedPrograms, findNeighbor } from '../lib/oracles.ts';
import { outputOf } from '../lib/snoopy.ts';
import { VlanNode } from './vlans.ts';

/** What iproute2 6.1 cannot do, for a port and a VLAN: suppression of its own for each VLAN, on in that one. */
const SUPPRESS_IN_VLAN = `
import socket, struct, sys
port, vlan = socket.if_nametoindex(sys.argv[1]), int(sys.argv[2])
def attribute(kind, value):
    return struct.pack('HH', 4 + len(value), kind) + value + bytes(-len(value) % 4)
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
def send(kind, message):
    kernel.send(struct.pack('IHHII', 16 + len(message), kind, 5, 0, 0) + message)
    error, = struct.unpack_from('i', kernel.recv(4096), 16)
    assert error == 0, error
# RTM_SETLINK: IFLA_PROTINFO with IFLA_BRPORT_NEIGH_VLAN_SUPPRESS
send(19, struct.pack('BxHiII', 7, 0, port, 0, 0) + attribute(0x800c, attribute(43, bytes([1]))))
# RTM_NEWVLAN: BRIDGE_VLANDB_ENTRY with the VLAN (BRIDGE_VLAN_INFO_ONLY_OPTS) and NEIGH_SUPPRESS
options = attribute(1, struct.pack('HH', 0x80, vlan)) + attribute(9, bytes([1]))
send(112, struct.pack('BBHI', 7, 0, 0, port) + attribute(0x8001, options))
`;

/** Linux 6.5. */
const [MAJOR = 0, MINOR = 0] = release().split('.').map(Number);
const NEEDS_VLAN_SUPPRESSION =
  MAJOR * 100 + MINOR >= 605 ? {} : { skip: 'the kernel has no neigh_vlan_suppress (6.5)' };

describe('doctor', () => {
  deepTest('looks at the suppression of each VLAN where a port has it so', NEEDS_VLAN_SUPPRESSION, (t) => {
    const node = new VlanNode(t, { aware: true });
    for (const vlan of [10, 20]) node.addSvi(vlan);
    const tunnel = node.addSingleVxlan([10, 20], '192.0.2.1');
    node.reconcile();
    const suppression = (): string[] => {
      const { stdout } = node.snoopy.run('doctor', '--format', 'json');
      const checks = (JSON.parse(stdout) as { checks: Check[] }).checks.filter(
        ({ id }) => id === 'neigh-suppress',
      );
      return checks.map(({ status, found, remedy }) => `${status}: ${found}: ${remedy}`);
    };
    const suppress = (vlan: number): void => {
      node.netns.run('bridge', 'link', 'set', 'dev', tunnel, 'neigh_suppress', 'off');
      node.netns.run('python3', '-c', SUPPRESS_IN_VLAN, tunnel, String(vlan));
    };
    suppress(10);
    const fix = 'bridge vlan set dev vxlan0 vid 20 neigh_suppress on';
    assert.deepEqual(suppression(), [`warning: set for each VLAN, and off in VLAN 20: ${fix}`]);
    suppress(20);
    assert.deepEqual(suppression(), ['ok: on for each VLAN with a neighbor device: null']);
  });
});

describe('a VLAN-aware bridge', () => {
  test('has its neighbors on the SVI of their VLAN, with an address or without', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10, '10.1.0.254/24');
    const twenty = node.addSvi(20);
    const access = node.addHost({ id: 1, pvid: 10 });
    const trunk = node.addHost({ id: 2, tagged: [10, 20] });
    const other = node.addHost({ id: 3, pvid: 20 });
    node.reconcile();
    access.announce();
    trunk.announce(10);
    other.announce();
    await access.forwarded(10);
    await trunk.forwarded(10);
    await other.forwarded(20);

    const report = node.reconcile();

    assert.deepEqual(node.own(ten), [access.line, trunk.line]);
    assert.deepEqual(node.own(twenty), [other.line]);
    assert.deepEqual(node.own('br0'), []);
    assert.deepEqual(
      report.neighbors.changes.map(({ device, vlan, ip, port }) => `${device} ${vlan} ${ip} ${port}`).sort(),
      [
        `br0.10 10 ${access.ip} ${access.port}`,
        `br0.10 10 ${trunk.ip} ${trunk.port}`,
        `br0.20 20 ${other.ip} ${other.port}`,
      ],
    );
    assert.deepEqual(trunk.forwardedIn(), [10]);
    node.assertIdle();
  });

  deepTest('has the neighbors of its own PVID on itself', async (t) => {
    const node = new VlanNode(t, { aware: true });
    node.setPvid('br0', 5);
    const untagged = node.addHost({ id: 1, pvid: 5 });
    const tagging = node.addHost({ id: 2, tagged: [5] });
    node.reconcile();
    untagged.announce();
    tagging.announce(5);
    await untagged.forwarded(5);
    await tagging.forwarded(5);

    const report = node.reconcile();

    assert.deepEqual(node.own('br0'), [untagged.line, tagging.line]);
    assert.deepEqual(
      report.neighbors.changes.map(({ device, vlan }) => `${device} ${vlan}`),
      ['br0 5', 'br0 5'],
    );
    node.assertIdle();
  });

  deepTest(
    'keeps the bindings of a VLAN without a device until the device exists, and reports that',
    async (t) => {
      const node = new VlanNode(t, { aware: true });
      const host = node.addHost({ id: 1, pvid: 30 });
      node.reconcile();
      host.announce();
      await host.forwarded(30);

      const without = node.reconcile();

      assert.deepEqual(without.neighbors.changes, []);
      assert.deepEqual(node.states(), [`30 ${host.ip} homeless`]);
      const status = node.snoopy.run('status');
      assert.equal(status.code, 0, outputOf(status));
      assert.match(status.stdout, /VLAN 30/);
      assert.match(status.stdout, /no device/);

      const device = node.addSvi(30);
      node.reconcile();

      assert.deepEqual(node.own(device), [host.line]);
      assert.deepEqual(node.states(), [`30 ${host.ip} installed`]);
    },
  );

  deepTest('ends the bindings of a VLAN whose device is gone', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const device = node.addSvi(10);
    const host = node.addHost({ id: 1, pvid: 10 });
    node.reconcile();
    host.announce();
    await host.forwarded(10);
    node.reconcile();
    assert.deepEqual(node.own(device), [host.line]);

    node.netns.run('ip', 'link', 'del', device);
    node.reconcile();
    assert.deepEqual(node.states(), [`10 ${host.ip} homeless`]);

    const again = node.addSvi(10);
    node.reconcile();
    assert.deepEqual(node.own(again), [host.line]);
  });

  deepTest('follows a port into another VLAN', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const host = node.addHost({ id: 1, pvid: 10 });
    node.reconcile();
    host.announce();
    await host.forwarded(10);
    node.reconcile();
    assert.deepEqual(node.own(ten), [host.line]);

    node.vlan('del', host.port, 10);
    node.setPvid(host.port, 20);
    const moved = node.reconcile();

    assert.deepEqual(
      moved.steps.map(({ action }) => `${action.kind} ${action.port}`),
      [`set-port ${host.port}`],
    );
    assert.deepEqual(node.own(ten), [], 'the port is not in VLAN 10 any more');

    host.announce();
    await host.forwarded(20);
    node.reconcile();
    assert.deepEqual(node.own(twenty), [host.line]);
    assert.deepEqual(node.own(ten), []);
    assert.deepEqual(node.states(), [`20 ${host.ip} installed`]);
    node.assertIdle();
  });

  deepTest('has the same address in two VLANs twice, on two ports and on one', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const ip = '10.1.0.77';
    const one = node.addHost({ id: 1, pvid: 10, ip });
    const two = node.addHost({ id: 2, pvid: 20, ip });
    const both = node.addHost({ id: 3, tagged: [10, 20] });
    node.reconcile();
    one.announce();
    two.announce();
    both.announce(10);
    both.announce(20);
    await one.forwarded(10);
    await two.forwarded(20);
    await both.forwarded(10);
    await both.forwarded(20);

    node.reconcile();

    assert.deepEqual(node.own(ten), [both.line, one.line]);
    assert.deepEqual(node.own(twenty), [both.line, two.line]);
    node.assertIdle();
  });

  deepTest("installs a host's claim in a VLAN only if its MAC is forwarded in that VLAN", async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const host = node.addHost({ id: 1, tagged: [20] });
    node.reconcile();
    // The bridge drops a frame with the tag of a VLAN that the port is not in. The program sees it first.
    host.announce(10);
    host.mark(20);
    await host.forwarded(20);

    const report = node.reconcile();

    assert.deepEqual(host.forwardedIn(), [20]);
    assert.deepEqual(report.neighbors.changes, []);
    assert.deepEqual([...node.own(ten), ...node.own(twenty)], []);

    host.announce(20);
    node.reconcile();
    assert.deepEqual(node.own(ten), []);
    assert.deepEqual(node.own(twenty), [host.line]);
  });

  deepTest('has subnets for each VLAN, which follow the addresses of its SVI', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10, '10.1.0.254/24');
    const twenty = node.addSvi(20, '10.2.0.254/24');
    const one = node.addHost({ id: 1, pvid: 10 });
    const two = node.addHost({ id: 2, pvid: 20, ip: '10.2.0.2' });
    node.reconcile();
    one.announce();
    one.announce(0, '10.2.0.1');
    two.announce();
    two.announce(0, '10.1.0.2');
    await one.forwarded(10);
    await two.forwarded(20);

    const report = node.reconcile();

    assert.deepEqual(node.own(ten), [one.line]);
    assert.deepEqual(node.own(twenty), [two.line]);
    assert.equal(report.counters.rejected['subnet'], 2);

    // In this order: the kernel flushes the neighbors of a device that loses its last address.
    node.netns.ipBatch([
      `address add 10.9.0.254/24 dev ${twenty}`,
      `address del 10.2.0.254/24 dev ${twenty}`,
    ]);
    const changed = node.reconcile();

    assert.deepEqual(
      changed.neighbors.changes.map(({ kind, device, ip }) => `${kind} ${device} ${ip}`),
      [`remove ${twenty} ${two.ip}`],
    );
    assert.deepEqual(node.own(ten), [one.line]);
    assert.deepEqual(node.own(twenty), []);
    node.assertIdle();
  });

  deepTest('has static entries only in their VLAN', async (t) => {
    const ip = '10.1.0.50';
    const mac = '02:00:00:00:00:01';
    const bridges = [{ name: 'br0', static: [{ ip, mac, vlan: 10 }] }];
    const node = new VlanNode(t, { aware: true, config: { bridges } });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const provisioned = node.addHost({ id: 1, pvid: 10, ip: '10.1.0.1' });
    const claimant = node.addHost({ id: 2, tagged: [10, 20], ip });
    assert.equal(provisioned.mac, mac);
    node.reconcile();
    provisioned.mark(0);
    claimant.announce(10);
    claimant.announce(20);
    await provisioned.forwarded(10);
    await claimant.forwarded(20);

    const report = node.reconcile();

    assert.deepEqual(node.own(ten), [`${ip} ${mac}`]);
    assert.deepEqual(node.own(twenty), [claimant.line]);
    assert.equal(report.counters.rejected['static'], 1);
    node.assertIdle();
  });

  deepTest('has the router flag and IPv6 hosts in each VLAN', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const router = node.addHost({ id: 1, tagged: [10] });
    const host = node.addHost({ id: 2, pvid: 20 });
    node.reconcile();
    router.advertise(10, { router: true });
    host.advertise(0);
    await router.forwarded(10);
    await host.forwarded(20);

    node.reconcile();

    assert.deepEqual(node.own(ten), [`${router.ip6} ${router.mac}`]);
    assert.deepEqual(node.own(twenty), [`${host.ip6} ${host.mac}`]);
    assert.equal(findNeighbor(node.netns, ten, router.ip6)?.router, null);
    assert.equal(findNeighbor(node.netns, twenty, host.ip6)?.router, undefined);
    node.assertIdle();
  });

  deepTest('has its SVI in a VRF', async (t) => {
    const node = new VlanNode(t, { aware: true });
    node.netns.ipBatch(['link add red type vrf table 100', 'link set red up']);
    const ten = node.addSvi(10);
    node.netns.ipBatch([`link set ${ten} master red`, `address add 10.1.0.254/24 dev ${ten}`]);
    const host = node.addHost({ id: 1, pvid: 10 });
    node.reconcile();
    host.announce();
    host.announce(0, '10.2.0.1');
    host.advertise(0);
    await host.forwarded(10);

    const report = node.reconcile();

    assert.deepEqual(node.own(ten), [host.line, `${host.ip6} ${host.mac}`]);
    assert.equal(report.counters.rejected['subnet'], 1);
    node.assertIdle();
  });
});

describe('a VLAN-aware bridge, with ports of other kinds', () => {
  deepTest('treats a bond as a trunk with the VLANs of the bond', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const host = node.addHost({ id: 1 });
    node.addBond('bond0', host);
    node.vlan('add', 'bond0', 10);
    node.setPvid('bond0', 20);
    node.reconcile();
    host.announce(10);
    host.announce(0, '10.2.0.1');
    await host.forwarded(10, 'bond0');
    await host.forwarded(20, 'bond0');

    const report = node.reconcile();

    assert.deepEqual(report.bridges[0]?.ports, ['bond0']);
    assert.deepEqual(node.own(ten), [host.line]);
    assert.deepEqual(node.own(twenty), [`10.2.0.1 ${host.mac}`]);
    node.assertIdle();
  });

  deepTest('never learns from a single VXLAN device, and treats hosts behind it as remote', async (t) => {
    const node = new VlanNode(t, { aware: true });
    const ten = node.addSvi(10);
    const twenty = node.addSvi(20);
    const tunnel = node.addSingleVxlan([10, 20], '192.0.2.1');
    const host = node.addHost({ id: 1, tagged: [10, 20] });
    const first = node.reconcile();
    assert.deepEqual(first.bridges[0]?.ports, [host.port]);
    assert.deepEqual(attachedPrograms(node.netns, tunnel), []);
    host.announce(10);
    host.announce(20);
    await host.forwarded(10);
    await host.forwarded(20);
    node.reconcile();
    assert.deepEqual([...node.own(ten), ...node.own(twenty)], [host.line, host.line]);

    // As zebra writes it when another node has announced the host in that VNI. Frames that the host's kernel sends
    // meanwhile do not bring it back.
    node.netns.run('bridge', 'link', 'set', 'dev', host.port, 'learning', 'off');
    const entry = [
      'fdb',
      'replace',
      host.mac,
      'dev',
      tunnel,
      'vlan',
      '10',
      'master',
      'dynamic',
      'extern_learn',
    ];
    node.netns.run('bridge', ...entry);
    assert.deepEqual(host.forwardedIn(tunnel), [10]);
    const moved = node.reconcile();

    assert.deepEqual(
      moved.neighbors.changes.map(({ kind, device, ip }) => `${kind} ${device} ${ip}`),
      [`remove ${ten} ${host.ip}`],
    );
    assert.deepEqual(node.own(twenty), [host.line]);
    node.assertIdle();
  });
});

describe('a plain bridge', () => {
  test('has the neighbors of a VLAN on the VLAN device above it', async (t) => {
    const node = new VlanNode(t, { aware: false });
    const ten = node.addSvi(10, '10.1.0.254/24');
    const host = node.addHost({ id: 1 });
    const guest = node.addHost({ id: 2 });
    node.reconcile();
    host.announce(10);
    host.announce(0, '10.5.0.1');
    host.announce(20, '10.6.0.1');
    guest.announce();
    await host.forwarded(0);
    await guest.forwarded(0);

    node.reconcile();

    assert.deepEqual(node.own(ten), [host.line]);
    assert.deepEqual(node.own('br0'), [guest.line, `10.5.0.1 ${host.mac}`]);
    assert.deepEqual(node.states(), [
      `0 ${guest.ip} installed`,
      '0 10.5.0.1 installed',
      `10 ${host.ip} installed`,
      '20 10.6.0.1 homeless',
    ]);
    node.assertIdle();

    const twenty = node.addSvi(20);
    node.reconcile();
    assert.deepEqual(node.own(twenty), [`10.6.0.1 ${host.mac}`]);
  });

  deepTest('that begins to filter moves its neighbors to the device of their new VLAN', async (t) => {
    const node = new VlanNode(t, { aware: false });
    const ten = node.addSvi(10);
    const host = node.addHost({ id: 1 });
    node.reconcile();
    host.announce();
    await host.forwarded(0);
    node.reconcile();
    assert.deepEqual(node.own('br0'), [host.line]);

    node.filterByVlan();
    node.vlan('add', 'br0', 10);
    node.setPvid(host.port, 10);
    host.announce();
    await host.forwarded(10);
    node.reconcile();
    host.announce();
    node.reconcile();

    assert.deepEqual(node.own('br0'), []);
    assert.deepEqual(node.own(ten), [host.line]);
    node.assertIdle();
  });

  deepTest('learns from a bond, and attaches only to the bond', async (t) => {
    const node = new VlanNode(t, { aware: false });
    const host = node.addHost({ id: 1 });
    node.addBond('bond0', host);
    const first = node.reconcile();
    assert.deepEqual(first.bridges[0]?.ports, ['bond0']);
    assert.equal(attachedPrograms(node.netns, 'bond0').length, 1);
    assert.deepEqual(attachedPrograms(node.netns, host.port), []);
    host.announce();
    await host.forwarded(0, 'bond0');

    const report = node.reconcile();

    assert.deepEqual(node.own('br0'), [host.line]);
    assert.equal(report.neighbors.changes[0]?.port, 'bond0');
    node.assertIdle();
  });
});

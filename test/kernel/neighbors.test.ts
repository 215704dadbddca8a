// Which neighbors a run writes, keeps, removes and leaves to other owners, on a real bridge.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { markerFrame } from '../lib/frames.ts';
import { findFdb, findNeighbor, listNeighbors, neighborText } from '../lib/oracles.ts';
import { outputOf } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { assertExit, failureCodes, Machine, neighborChanges, TUNNEL } from './machine.ts';

/** Lines about hosts, without the multicast groups of the bridge itself. */
const HOSTS = /^(10\.1\.|2001:db8:)/;

function stateOf(machine: Machine, ip: string): string | undefined {
  return machine.snoopy.bindings().find((binding) => binding.ip === ip)?.state;
}

/** `locked on mab on` of bridge(8) for a port, in words that iproute2 before 6.2 does not know. */
const NO_MAB = 95;
const LOCK = `
import socket, struct, sys
def attribute(kind, data): return struct.pack('=HH', 4 + len(data), kind) + data.ljust(len(data) + 3 & ~3, b'\\0')
# struct ifinfomsg with AF_BRIDGE, IFLA_PROTINFO of IFLA_BRPORT_LOCKED and IFLA_BRPORT_MAB
index = socket.if_nametoindex(sys.argv[1])
port = struct.pack('=BxHiII', 7, 0, index, 0, 0)
port += attribute(12 | 0x8000, attribute(39, b'\\1') + attribute(40, b'\\1'))
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
kernel.send(struct.pack('=IHHII', 16 + len(port), 19, 5, 1, 0) + port)
error, = struct.unpack_from('=i', kernel.recv(4096), 16)
if error != 0: sys.exit(-error)
# A kernel that does not know IFLA_BRPORT_MAB ignores it without an error.
kernel.send(struct.pack('=IHHII', 32, 18, 1, 2, 0) + struct.pack('=BxHiII', 0, 0, index, 0, 0))
sys.exit(0 if struct.pack('=HHB', 5, 40, 1) in kernel.recv(65536) else ${NO_MAB})
`;

/** The entry that zebra writes for a host of another node. */
function writeRemoteNeighbor(machine: Machine, ip: string, mac: string): void {
  const request = `neigh replace ${ip} lladdr ${mac} dev br0 nud noarp extern_learn proto zebra`;
  machine.run('ip', ...request.split(' '));
}

/** The entry that zebra writes for a MAC of another node. */
function writeRemoteMac(machine: Machine, mac: string): void {
  machine.run('bridge', ...`fdb replace ${mac} dev ${TUNNEL} master dynamic extern_learn`.split(' '));
}

describe('entries of other owners', () => {
  test('a valid entry stays, with another MAC or with the same', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const [one, two] = [machine.host(1), machine.host(2)];
    machine.run('ip', ...`neigh add ${one.ip} lladdr 02:aa:00:00:00:01 dev br0 nud permanent`.split(' '));
    machine.run('ip', ...`neigh add ${two.ip} lladdr ${two.mac} dev br0 nud permanent`.split(' '));
    const before = neighborText(machine.netns, 'br0', HOSTS);
    machine.reconcile();
    await one.announceAndWait();
    await two.announceAndWait();
    assert.deepEqual(neighborChanges(machine.reconcile()), []);
    assert.equal(neighborText(machine.netns, 'br0', HOSTS), before);
    assert.equal(stateOf(machine, one.ip), 'waiting');
    assert.equal(stateOf(machine, two.ip), 'installed');
    machine.assertIdle();
    machine.remove();
    assert.equal(neighborText(machine.netns, 'br0', HOSTS), before);
  });

  deepTest('a FAILED or INCOMPLETE entry counts as silence until the host is seen again', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const [one, two] = [machine.host(1), machine.host(2)];
    machine.reconcile();
    await one.announceAndWait();
    await two.announceAndWait();
    machine.run('ip', ...`neigh add ${one.ip} dev br0 nud failed`.split(' '));
    machine.run('ip', ...`neigh add ${two.ip} dev br0 nud incomplete`.split(' '));
    const states = () => listNeighbors(machine.netns, 'br0').map((line) => line.state.join());
    assert.ok(
      states().every((state) => state === 'FAILED' || state === 'INCOMPLETE'),
      states().join(),
    );
    assert.deepEqual(neighborChanges(machine.reconcile()), []);
    for (const { ip } of [one, two]) assert.equal(stateOf(machine, ip), 'waiting');
    await one.announceAndWait();
    await two.announceAndWait();
    // The kernel has seen them too.
    await until('valid entries of the kernel', states, (found) => found.join() === 'STALE,STALE');
    assert.deepEqual(neighborChanges(machine.reconcile()), []);
    for (const { ip } of [one, two]) assert.equal(stateOf(machine, ip), 'installed');
    machine.run('ip', ...'neigh flush dev br0'.split(' '));
    assert.deepEqual(neighborChanges(machine.reconcile()), [
      `add ${one.ip} ${one.mac}`,
      `add ${two.ip} ${two.mac}`,
    ]);
    machine.assertIdle();
  });

  test("zebra's entry for a host behind the tunnel stays unchanged, byte for byte", async (t) => {
    const machine = new Machine(t, { tunnel: true });
    const host = machine.host(1);
    machine.reconcile();
    await host.announceAndWait();
    machine.reconcile();
    writeRemoteMac(machine, host.mac);
    writeRemoteNeighbor(machine, host.ip, host.mac);
    const before = neighborText(machine.netns, 'br0', HOSTS);
    assert.match(before, /extern_learn.*proto zebra|proto zebra.*extern_learn/);
    assert.deepEqual(neighborChanges(machine.reconcile()), []);
    machine.assertIdle();
    assert.equal(neighborText(machine.netns, 'br0', HOSTS), before);
    assert.equal(stateOf(machine, host.ip), 'remote');
    machine.remove();
    assert.equal(neighborText(machine.netns, 'br0', HOSTS), before);
  });

  test("zebra's entry is replaced when the host is behind a local port again", async (t) => {
    const machine = new Machine(t, { tunnel: true });
    const host = machine.host(1);
    machine.reconcile();
    writeRemoteMac(machine, host.mac);
    writeRemoteNeighbor(machine, host.ip, host.mac);
    await host.announceAndWait();
    assert.deepEqual(neighborChanges(machine.reconcile()), [`replace ${host.ip} ${host.mac}`]);
    const neighbor = findNeighbor(machine.netns, 'br0', host.ip);
    assert.equal(neighbor?.protocol, '115');
    assert.ok(neighbor && !('extern_learn' in neighbor));
    machine.assertIdle();
  });

  deepTest(
    "zebra's entry with another MAC is replaced only by a host that sent after it was written",
    async (t) => {
      const machine = new Machine(t, { tunnel: true });
      const host = machine.host(1);
      machine.reconcile();
      await host.announceAndWait();
      machine.reconcile();
      writeRemoteMac(machine, '02:bb:00:00:00:01');
      writeRemoteNeighbor(machine, host.ip, '02:bb:00:00:00:01');
      assert.deepEqual(neighborChanges(machine.reconcile()), []);
      assert.equal(machine.macOf(host.ip), '02:bb:00:00:00:01');
      assert.equal(stateOf(machine, host.ip), 'remote');
      // The kernel reports the age of an entry in hundredths of a second, and the program records times in tenths.
      const report = await until(
        'the host to get its address back',
        () => {
          host.announce();
          return machine.reconcile();
        },
        (found) => found.neighbors.changed,
        { timeoutMs: 3_000 },
      );
      assert.deepEqual(neighborChanges(report), [`replace ${host.ip} ${host.mac}`]);
      machine.assertIdle();
    },
  );
});

describe('deleted entries', () => {
  test('come back without a message from the host while the bridge forwards its MAC', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const host = machine.host(1);
    machine.reconcile();
    await host.announceAndWait();
    host.advertise();
    const added = neighborChanges(machine.reconcile());
    assert.deepEqual(added, [`add ${host.ip} ${host.mac}`, `add ${host.ip6} ${host.mac}`]);

    machine.run('ip', 'neigh', 'flush', 'dev', 'br0', 'nud', 'noarp');
    machine.run('ip', '-6', 'neigh', 'flush', 'dev', 'br0', 'nud', 'noarp');
    assert.deepEqual(machine.ownNeighbors(), []);
    assert.deepEqual(neighborChanges(machine.reconcile()), added);

    machine.run('ip', 'link', 'set', 'br0', 'address', '02:ff:00:00:00:09');
    assert.deepEqual(machine.ownNeighbors(), [], 'a new MAC of the bridge flushes its neighbors');
    assert.deepEqual(neighborChanges(machine.reconcile()), added);
    machine.assertIdle();
  });

  deepTest('come back after the bridge was down as soon as the host sends any frame', async (t) => {
    const machine = new Machine(t);
    const host = machine.host(1);
    machine.reconcile();
    await host.announceAndWait();
    machine.reconcile();
    machine.run('ip', 'link', 'set', 'br0', 'down');
    machine.run('ip', 'link', 'set', 'br0', 'up');
    assert.deepEqual(machine.ownNeighbors(), []);
    await until(
      'the port to forward again',
      () => machine.run('bridge', 'link', 'show', 'dev', host.port),
      (text) => text.includes('state forwarding'),
    );
    host.send(markerFrame(host.mac));
    await host.forwarded();
    const report = machine.reconcile();
    assert.equal(report.ring.records, 0);
    assert.deepEqual(neighborChanges(report), [`add ${host.ip} ${host.mac}`]);
    machine.assertIdle();
  });
});

describe('where the bridge forwards a MAC', () => {
  deepTest('a claim is rejected when the bridge forwards its MAC to another port', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const [owner, thief] = [machine.host(1), machine.host(2)];
    machine.reconcile();
    machine.run('bridge', 'fdb', 'replace', owner.mac, 'dev', owner.port, 'master', 'static', 'sticky');
    await owner.announceAndWait();
    machine.reconcile();
    thief.announce('10.1.0.66', owner.mac);
    await until(
      'the claim in the bindings',
      () => machine.boundIps(),
      (ips) => ips.includes('10.1.0.66'),
    );
    assert.deepEqual(neighborChanges(machine.reconcile()), []);
    assert.equal(stateOf(machine, '10.1.0.66'), 'waiting');
    assert.equal(findNeighbor(machine.netns, 'br0', '10.1.0.66'), undefined);
    machine.assertIdle();
  });

  deepTest('a claim is rejected while the bridge knows its MAC but does not admit it (MAB)', async (t) => {
    const machine = new Machine(t);
    const host = machine.host(1);
    machine.reconcile();
    const locked = machine.netns.tryRun(['/usr/bin/python3', '-c', LOCK, host.port]);
    if (locked.code === NO_MAB) {
      t.skip('the kernel has no MAB (6.2)');
      return;
    }
    assert.equal(locked.code, 0, outputOf(locked));
    await host.announceAndWait();
    assert.deepEqual(neighborChanges(machine.reconcile()), []);
    assert.equal(stateOf(machine, host.ip), 'waiting');
    machine.run('bridge', ...`fdb replace ${host.mac} dev ${host.port} master dynamic`.split(' '));
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${host.ip} ${host.mac}`]);
    machine.assertIdle();
  });

  test('a MAC that moves behind the tunnel loses its neighbor, and gets it back when it returns', async (t) => {
    const machine = new Machine(t, { tunnel: true });
    const host = machine.host(1);
    machine.reconcile();
    await host.announceAndWait();
    host.advertise();
    machine.reconcile();
    writeRemoteMac(machine, host.mac);
    const report = machine.reconcile();
    assert.deepEqual(neighborChanges(report), [
      `remove ${host.ip} ${host.mac}`,
      `remove ${host.ip6} ${host.mac}`,
    ]);
    assert.deepEqual(machine.ownNeighbors(), []);
    assert.equal(stateOf(machine, host.ip), 'remote');
    machine.assertIdle();
    host.send(markerFrame(host.mac));
    await host.forwarded();
    assert.equal(machine.reconcile().neighbors.changes.length, 2);
    machine.assertIdle();
  });

  deepTest('a host that moves from port to port keeps its neighbor', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const [here, there] = [machine.host(1), machine.host(2)];
    machine.reconcile();
    await here.announceAndWait();
    machine.reconcile();
    there.announce(here.ip, here.mac);
    await there.forwarded(here.mac);
    assert.deepEqual(machine.reconcile().neighbors.changes, []);
    assert.equal(machine.snoopy.bindings()[0]?.port, there.port);
    here.unplug();
    assert.deepEqual(machine.reconcile().neighbors.changes, []);
    assert.deepEqual(machine.ownNeighbors(), [`${here.ip} ${here.mac}`]);
  });

  test('an address of the node, or outside its subnet, is never learned', async (t) => {
    const machine = new Machine(t, { addresses: ['10.1.255.254/16'] });
    const host = machine.host(1);
    machine.reconcile();
    for (const ip of ['10.1.255.254', '10.1.255.255', '192.168.77.7']) host.announce(ip);
    await host.announceAndWait();
    const report = machine.reconcile();
    assert.deepEqual(neighborChanges(report), [`add ${host.ip} ${host.mac}`]);
    assert.equal(report.counters.rejected['subnet'], 3);
    machine.snoopy.configure({ bridges: [{ name: 'br0', subnets: ['192.168.77.0/24'] }] });
    assert.deepEqual(neighborChanges(machine.reconcile()), [`remove ${host.ip} ${host.mac}`]);
    host.announce('192.168.77.7');
    await until(
      'the address in the bindings',
      () => machine.boundIps().join(),
      (ips) => ips === '192.168.77.7',
    );
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add 192.168.77.7 ${host.mac}`]);
  });
});

describe('the lifetime of a binding', () => {
  test('it outlives max_age while the bridge forwards its MAC, then ends with its neighbor and map entry', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const [silent, gone] = [machine.host(1), machine.host(2)];
    machine.reconcile();
    await silent.announceAndWait();
    await gone.announceAndWait();
    machine.reconcile();
    gone.forgetMac();
    assert.deepEqual(machine.reconcile().neighbors.changes, [], 'too early');
    machine.snoopy.configure({ bridges: [{ name: 'br0', max_age: '1s' }] });
    const report = await until(
      'the binding to age out',
      () => machine.reconcile(),
      (found) => found.neighbors.changed,
      { timeoutMs: 30_000, everyMs: 100 },
    );
    assert.deepEqual(neighborChanges(report), [`remove ${gone.ip} ${gone.mac}`]);
    assert.equal(report.changed, false);
    assert.deepEqual(machine.boundIps(), [silent.ip]);
    assert.deepEqual(machine.ownNeighbors(), [`${silent.ip} ${silent.mac}`]);
    machine.assertIdle();
    await gone.announceAndWait();
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${gone.ip} ${gone.mac}`]);
  });

  deepTest('a port at its limit accepts a new host once another has aged out', async (t) => {
    const limits = { bindings_per_port: 2 };
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0', max_age: '1s', limits }] } });
    const host = machine.host(1);
    const macs = ['02:00:00:00:0a:01', '02:00:00:00:0a:02', '02:00:00:00:0a:03'] as const;
    machine.reconcile();
    for (const [i, mac] of macs.entries()) {
      host.announce(`10.1.0.10${i}`, mac);
      await host.forwarded(mac);
    }
    const full = machine.reconcile();
    assert.equal(full.counters.rejected['port_limit'], 1);
    assert.deepEqual(machine.boundIps(), ['10.1.0.100', '10.1.0.101']);
    machine.run('bridge', 'fdb', 'del', macs[0], 'dev', host.port, 'master');
    await until(
      'the first to age out',
      () => machine.reconcile(),
      (found) => found.neighbors.changed,
      { timeoutMs: 30_000, everyMs: 100 },
    );
    host.announce('10.1.0.102', macs[2]);
    await until(
      'the third in the bindings',
      () => machine.boundIps().join(),
      (ips) => ips === '10.1.0.101,10.1.0.102',
    );
    host.announce('10.1.0.103', macs[2]);
    // It answers no probes, and is not to age out as well on a slow machine.
    host.announce('10.1.0.101', macs[1]);
    const report = machine.reconcile();
    assert.deepEqual(neighborChanges(report), [`add 10.1.0.102 ${macs[2]}`]);
    assert.equal(report.counters.rejected['port_limit'], 2, 'the port is full again');
    machine.assertIdle();
  });

  deepTest(
    'bindings that a new configuration ends make room on their port, and bindings that move free their old port',
    async (t) => {
      const bridge = { name: 'br0', limits: { bindings_per_port: 2 } };
      const machine = new Machine(t, { hosts: 2, config: { bridges: [bridge] } });
      const [one, two] = [machine.host(1), machine.host(2)];
      machine.reconcile();
      for (const ip of ['10.2.0.1', '10.2.0.2']) one.announce(ip);
      await one.forwarded();
      machine.reconcile();
      two.announce('10.2.0.2');
      await two.forwarded();
      one.announce('10.2.0.3');
      assert.equal(machine.reconcile().counters.rejected['port_limit'], 0);
      assert.deepEqual(machine.boundIps(), ['10.2.0.1', '10.2.0.2', '10.2.0.3']);
      one.announce('10.2.0.4');
      assert.equal(machine.reconcile().counters.rejected['port_limit'], 1);
      machine.snoopy.configure({ bridges: [{ ...bridge, subnets: ['10.2.0.2/31'] }] });
      assert.deepEqual(neighborChanges(machine.reconcile()), [`remove 10.2.0.1 ${one.mac}`]);
      machine.snoopy.configure({ bridges: [bridge] });
      machine.reconcile();
      one.announce('10.2.0.4');
      assert.deepEqual(neighborChanges(machine.reconcile()), [`add 10.2.0.4 ${one.mac}`]);
      machine.assertIdle();
    },
  );

  deepTest('an address that two hosts claim in turn is frozen and withdrawn, with a warning', async (t) => {
    const duplicates = { moves: 3, window: '1m', hold: '1m' };
    const machine = new Machine(t, { hosts: 2, config: { bridges: [{ name: 'br0', duplicates }] } });
    const [one, two] = [machine.host(1), machine.host(2)];
    machine.reconcile();
    await one.announceAndWait();
    machine.reconcile();
    for (let i = 0; i < 2; i++) {
      two.announce(one.ip);
      one.announce(one.ip);
    }
    await two.forwarded();
    const run = machine.snoopy.reconcile();
    assertExit(run, 0);
    assert.deepEqual(
      run.report.neighbors.changes.map(({ kind, ip }) => `${kind} ${ip}`),
      [`remove ${one.ip}`],
    );
    assert.match(run.stdout, new RegExp(`Duplicate address ${one.ip.replaceAll('.', '\\.')}`));
    assert.equal(stateOf(machine, one.ip), 'frozen');
    assert.deepEqual(machine.ownNeighbors(), []);
  });
});

describe('static entries', () => {
  deepTest('are installed when their MAC is seen, and override learned ones', async (t) => {
    const machine = new Machine(t, { hosts: 3 });
    const [claimant, owner, other] = [machine.host(1), machine.host(2), machine.host(3)];
    const entry = { ip: '10.1.0.53', mac: owner.mac };
    machine.reconcile();
    claimant.announce(entry.ip);
    await claimant.forwarded();
    machine.reconcile();
    assert.equal(machine.macOf(entry.ip), claimant.mac);

    machine.snoopy.configure({ bridges: [{ name: 'br0', static: [entry] }] });
    assert.deepEqual(neighborChanges(machine.reconcile()), [`remove ${entry.ip} ${claimant.mac}`]);
    assert.deepEqual(machine.boundIps(), []);
    assert.equal(stateOf(machine, entry.ip), 'waiting');
    machine.assertIdle();

    owner.send(markerFrame(owner.mac));
    await owner.forwarded();
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${entry.ip} ${owner.mac}`]);
    const binding = machine.snoopy.bindings().find(({ ip }) => ip === entry.ip);
    assert.deepEqual([binding?.source, binding?.state], ['static', 'installed']);
    machine.assertIdle();

    other.announce(entry.ip);
    await other.forwarded();
    const report = machine.reconcile();
    assert.equal(report.counters.rejected['static'], 1);
    assert.deepEqual(report.neighbors.changes, []);
    assert.equal(machine.macOf(entry.ip), owner.mac);

    owner.announce(entry.ip);
    assert.deepEqual(machine.reconcile().neighbors.changes, [], 'its owner may claim it');
    machine.assertIdle();

    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    machine.reconcile();
    assert.equal(machine.macOf(entry.ip), owner.mac, 'now it is learned from its owner');
    machine.assertIdle();
  });

  test('are installed by the first run when their MAC is forwarded already', async (t) => {
    const host = { mac: '02:00:00:00:00:01', ip: '10.1.0.1' };
    const machine = new Machine(t, { config: { bridges: [{ name: 'br0', static: [host] }] } });
    machine.host(1).send(markerFrame(host.mac));
    await machine.host(1).forwarded();
    assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${host.ip} ${host.mac}`]);
    machine.assertIdle();
  });
});

describe('errors of the kernel', () => {
  deepTest(
    'IPv6 switched off on the bridge is reported with the fix, and everything else is done',
    async (t) => {
      const machine = new Machine(t, { hosts: 2 });
      const [one, two] = [machine.host(1), machine.host(2)];
      machine.reconcile();
      machine.netns.sysctl({ 'net/ipv6/conf/br0/disable_ipv6': 1 });
      one.advertise();
      await one.forwarded();
      await two.announceAndWait();
      const run = machine.snoopy.reconcile();
      assertExit(run, 1);
      assert.equal(run.report.ok, false);
      assert.deepEqual(failureCodes(run.report), ['neighbor_failed']);
      const failed = run.report.neighbors.changes.find(({ outcome }) => outcome.kind === 'failed');
      assert.equal(failed?.ip, one.ip6);
      assert.match(failed?.outcome.message ?? '', /disable_ipv6/, outputOf(run));
      assert.deepEqual(machine.ownNeighbors(), [`${two.ip} ${two.mac}`]);
      assert.equal(machine.snoopy.reconcile().report.neighbors.changes.length, 1, 'it is tried again');

      const text = machine.snoopy.run('reconcile');
      assertExit(text, 1);
      assert.match(text.stdout + text.stderr, /disable_ipv6/);

      machine.netns.sysctl({ 'net/ipv6/conf/br0/disable_ipv6': 0 });
      assert.deepEqual(neighborChanges(machine.reconcile()), [`add ${one.ip6} ${one.mac}`]);
      machine.assertIdle();
      assert.equal(findFdb(machine.netns, 'br0', one.mac).length, 1);
    },
  );
});

// Hosts that do not announce themselves, and that something suggests are here: they are probed, learned and installed
// by one run. The VMs are namespaces with the stack of the kernel.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Capture } from '../lib/capture.ts';
import { deepTest, sample } from '../lib/depth.ts';
import { naFrame, rarpFrame } from '../lib/frames.ts';
import { Node, type Vm } from '../lib/node.ts';
import { findFdb, findNeighbor, listNeighbors } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, Snoopy } from '../lib/snoopy.ts';
import { sleepSync, until } from '../lib/wait.ts';

const BRIDGE = 'br0';
const TUNNEL = 'vxlan100';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.close());

interface Machine {
  readonly node: Node;
  readonly snoopy: Snoopy;
}

/** A node with a tunnel port, on which a first run has attached to the ports that there are. */
function machine({
  addresses = [] as readonly string[],
  bridge = {},
  vms = [] as readonly number[],
} = {}): Machine & {
  readonly vms: readonly Vm[];
} {
  const node = new Node(scope, { name: 'n1', addresses, vxlan: { vni: 100, local: '192.0.2.1' } });
  const plugged = vms.map((id) => node.addVm({ id }));
  const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE, ...bridge }] });
  const host = { node, snoopy, vms: plugged };
  run(host);
  return host;
}

function run({ snoopy }: Machine, ...args: string[]): Report {
  const result = snoopy.reconcile(...args);
  assert.equal(result.code, 0, outputOf(result));
  return result.report;
}

/** `kind IP MAC` of each change, in the order of the addresses. */
function changesOf({ neighbors }: Report): string[] {
  return neighbors.changes.map(({ kind, ip, mac }) => `${kind} ${ip} ${mac}`).sort();
}

/** What zebra writes for a host of another node. */
function writeRemote({ node }: Machine, { mac }: { readonly mac: string }, ...ips: readonly string[]): void {
  node.netns.run('bridge', ...`fdb replace ${mac} dev ${TUNNEL} master dynamic extern_learn`.split(' '));
  for (const ip of ips) {
    const entry = `neigh replace ${ip} lladdr ${mac} dev ${BRIDGE} nud noarp extern_learn proto zebra`;
    node.netns.run('ip', ...entry.split(' '));
  }
}

/** What zebra does when the MAC of such a host is seen on a local port: within a fifth of a second. */
function withdrawRemote({ node }: Machine, ...ips: readonly string[]): void {
  for (const ip of ips) node.netns.run('ip', 'neigh', 'del', ip, 'dev', BRIDGE);
}

function macOf({ node }: Machine, ip: string): string | undefined {
  return findNeighbor(node.netns, BRIDGE, ip)?.lladdr;
}

describe('a host of another node that moved here', () => {
  const mac = '02:00:00:00:01:01';
  const vmIps = ['10.1.1.1', '2001:db8:1::101'];

  it('is learned by one run although it only sent RARP, and zebra has withdrawn its entries', () => {
    const host = machine();
    writeRemote(host, { mac }, ...vmIps);
    assert.deepEqual(run(host).neighbors.changes, [], 'a run remembers the entries');
    withdrawRemote(host, ...vmIps);
    const vm = host.node.addVm({ id: 101 });
    vm.send(rarpFrame(vm.mac));
    const report = run(host);
    assert.deepEqual(
      changesOf(report),
      vmIps.map((ip) => `add ${ip} ${mac}`),
    );
    assert.equal(report.hints.probed, 2);
    assert.equal(report.hints.learned, 2);
    const again = run(host);
    assert.deepEqual([again.neighbors.changes, again.hints], [[], { probed: 0, learned: 0 }]);
  });

  deepTest('takes the place of zebra’s entries that are still there', () => {
    const host = machine();
    writeRemote(host, { mac }, ...vmIps);
    run(host);
    const vm = host.node.addVm({ id: 101 });
    vm.sendMarker();
    assert.deepEqual(
      changesOf(run(host)),
      vmIps.map((ip) => `replace ${ip} ${mac}`),
    );
  });

  it('is learned at once by a run that listens', async () => {
    const host = machine();
    writeRemote(host, { mac }, ...vmIps);
    run(host);
    const listening = host.snoopy.startReconcile('--listen', '20s');
    withdrawRemote(host, ...vmIps);
    const vm = host.node.addVm({ id: 101 });
    vm.send(rarpFrame(vm.mac));
    for (const ip of vmIps)
      await until(
        `${ip} of ${mac}`,
        () => macOf(host, ip),
        (found) => found === mac,
      );
    await listening.stop();
  });

  deepTest(
    'is not probed while its MAC is elsewhere, and less and less often while it does not answer',
    () => {
      const host = machine({ vms: [102] });
      const [other] = host.vms;
      assert.ok(other !== undefined);
      writeRemote(host, { mac }, '10.1.9.9');
      run(host);
      assert.equal(run(host).hints.probed, 0);
      // A frame with its source, but nobody who answers for the address.
      other.send(rarpFrame(mac));
      assert.deepEqual(
        findFdb(host.node.netns, BRIDGE, mac).map(({ ifname }) => ifname),
        [other.port],
      );
      assert.deepEqual(
        [run(host), run(host)].map(({ hints }) => hints.probed),
        [1, 0],
      );
      sleepSync(1_000);
      assert.deepEqual(
        [run(host), run(host)].map(({ hints }) => hints.probed),
        [1, 0],
      );
    },
  );
});

describe('a host of this node', () => {
  it('is back as soon as its port is back in the bridge', () => {
    const host = machine({ vms: [101] });
    const [vm] = host.vms;
    assert.ok(vm !== undefined);
    vm.gratuitous();
    vm.sendNa();
    assert.equal(run(host).neighbors.changes.length, 2);
    host.node.netns.run('ip', 'link', 'set', vm.port, 'nomaster');
    assert.deepEqual(changesOf(run(host)), [`remove ${vm.ip} ${vm.mac}`, `remove ${vm.ip6} ${vm.mac}`]);
    assert.deepEqual(
      host.snoopy.bindings().map(({ state }) => state),
      ['waiting', 'waiting'],
    );
    host.node.netns.run('ip', 'link', 'set', vm.port, 'master', BRIDGE);
    assert.deepEqual(changesOf(run(host)), [`add ${vm.ip} ${vm.mac}`, `add ${vm.ip6} ${vm.mac}`]);
  });

  deepTest(
    'keeps its addresses when a run that listens sees its port leave the bridge for a moment',
    async () => {
      const host = machine({ vms: [101] });
      const [vm] = host.vms;
      assert.ok(vm !== undefined);
      vm.gratuitous();
      run(host);
      const listening = host.snoopy.startReconcile('--listen', '20s');
      host.node.netns.run('ip', 'link', 'set', vm.port, 'nomaster');
      await until(
        'no neighbor',
        () => macOf(host, vm.ip),
        (found) => found === undefined,
      );
      host.node.netns.run('ip', 'link', 'set', vm.port, 'master', BRIDGE);
      await until(
        'its neighbor',
        () => macOf(host, vm.ip),
        (found) => found === vm.mac,
      );
      await listening.stop();
    },
  );

  it('whose interface was deleted is learned again when its MAC is back on any port', () => {
    const host = machine({ addresses: ['10.1.0.1/16', '2001:db8:1::1/64'], vms: [101] });
    const [vm] = host.vms;
    assert.ok(vm !== undefined);
    vm.gratuitous();
    vm.sendNa();
    run(host);
    vm.unplug();
    assert.deepEqual(changesOf(run(host)), [`remove ${vm.ip} ${vm.mac}`, `remove ${vm.ip6} ${vm.mac}`]);
    assert.deepEqual(host.snoopy.bindings(), []);
    const again = host.node.addVm({ id: 103, mac: vm.mac, ip: vm.ip, ip6: vm.ip6 });
    again.sendMarker();
    assert.deepEqual(changesOf(run(host)), [`add ${vm.ip} ${vm.mac}`, `add ${vm.ip6} ${vm.mac}`]);
  });

  deepTest('and that may check its address anew gets an ARP Probe only when that is over', async () => {
    const host = machine({ vms: [101] });
    const [vm] = host.vms;
    assert.ok(vm !== undefined);
    vm.gratuitous();
    vm.sendNa();
    run(host);
    vm.unplug();
    run(host);
    // A host that is back sooner has not restarted.
    sleepSync(3_000);
    const again = host.node.addVm({ id: 103, mac: vm.mac, ip: vm.ip, ip6: vm.ip6 });
    const capture = await Capture.start(again.netns, 'eth0', 'arp');
    again.sendMarker();
    assert.deepEqual(changesOf(run(host)), [`add ${vm.ip6} ${vm.mac}`]);
    assert.deepEqual(changesOf(run(host)), []);
    assert.equal(capture.count(/who-has/), 0);
    sleepSync(10_000);
    assert.deepEqual(changesOf(run(host)), [`add ${vm.ip} ${vm.mac}`]);
  });
});

/** Sends a datagram from the node to a VM: the kernel resolves it. */
function speakTo({ node }: Machine, { ip }: Vm): void {
  node.netns.run('bash', '-c', `echo >/dev/udp/${ip}/9`);
}

describe('a neighbor that the kernel keeps', () => {
  for (const accept of sample([0], [0, 1])) {
    it(`goes back to its owner after a forged announcement, with arp_accept=${accept}`, async () => {
      const host = machine({ addresses: ['10.1.0.1/16'], vms: [101, 102] });
      const [owner, liar] = host.vms;
      assert.ok(owner !== undefined && liar !== undefined);
      host.node.netns.sysctl({ [`net/ipv4/conf/${BRIDGE}/arp_accept`]: accept });
      // It exchanges traffic with the node, so the kernel has an entry of its own, and snoopy leaves it alone.
      assert.ok(owner.arping('10.1.0.1'));
      speakTo(host, owner);
      assert.deepEqual(run(host).neighbors.changes, []);
      const entry = findNeighbor(host.node.netns, BRIDGE, owner.ip);
      assert.deepEqual([entry?.lladdr, entry?.protocol], [owner.mac, undefined]);
      // The kernel takes no other MAC within locktime, which is a second.
      sleepSync(1_100);
      liar.gratuitous(owner.ip);
      await until(
        'the forged entry',
        () => macOf(host, owner.ip),
        (mac) => mac === liar.mac,
      );
      const report = run(host);
      assert.deepEqual(report.confirms, { sent: 1, answered: 1 });
      assert.match(
        report.warnings.join('\n'),
        new RegExp(
          `^${liar.mac} on port "${liar.port}" claims .*: its owner ${owner.mac} on port "${owner.port}" still answers`,
          'm',
        ),
      );
      assert.equal(macOf(host, owner.ip), owner.mac, JSON.stringify(listNeighbors(host.node.netns, BRIDGE)));
      assert.deepEqual(run(host).confirms, { sent: 0, answered: 0 });
    });
  }

  deepTest('goes to the claimant when its owner does not answer, and is not probed again', async () => {
    const host = machine({ addresses: ['10.1.0.1/16'], vms: [101, 102] });
    const [owner, heir] = host.vms;
    assert.ok(owner !== undefined && heir !== undefined);
    assert.ok(owner.arping('10.1.0.1'));
    speakTo(host, owner);
    run(host);
    owner.run('ip', 'address', 'flush', 'dev', 'eth0');
    sleepSync(1_100);
    heir.run('ip', 'address', 'add', `${owner.ip}/16`, 'dev', 'eth0');
    heir.gratuitous(owner.ip);
    await until(
      'the new entry',
      () => macOf(host, owner.ip),
      (mac) => mac === heir.mac,
    );
    assert.deepEqual(run(host).confirms, { sent: 1, answered: 0 });
    assert.equal(macOf(host, owner.ip), heir.mac);
    assert.deepEqual(run(host).confirms, { sent: 0, answered: 0 });
  });
});

describe('a host that only opens connections', () => {
  for (const addresses of sample([[]], [[], ['10.1.0.1/16', '2001:db8:1::1/64']])) {
    const where = addresses.length === 0 ? 'without addresses' : 'with addresses';

    it(`is learned for both families by one run, on a bridge ${where}`, async () => {
      const host = machine({ addresses, vms: [101, 102] });
      const [vm, gateway] = host.vms;
      assert.ok(vm !== undefined && gateway !== undefined);
      speak(vm, gateway);
      const report = run(host);
      const found = changesOf(report).filter((line) => line.endsWith(vm.mac));
      assert.deepEqual(found, [`add ${vm.ip} ${vm.mac}`, `add ${vm.ip6} ${vm.mac}`], JSON.stringify(report));
      assert.ok(report.hints.probed > 0);
    });
  }

  it('is learned within a second by a run that listens', async () => {
    const host = machine({ vms: [101, 102] });
    const [vm, gateway] = host.vms;
    assert.ok(vm !== undefined && gateway !== undefined);
    const listening = host.snoopy.startReconcile('--listen', '20s');
    speak(vm, gateway);
    for (const ip of [vm.ip, vm.ip6]) {
      await until(
        `${ip} of ${vm.mac}`,
        () => macOf(host, ip),
        (found) => found === vm.mac,
      );
    }
    await listening.stop();
  });
});

/** A VM opens connections to another one: it resolves it, and answers when the other one resolves it. */
function speak(vm: Vm, { ip, ip6 }: Vm): void {
  for (const address of [ip, ip6]) vm.run('bash', '-c', `echo >/dev/udp/${address}/9`);
}

it('two hosts with one address, one of them at another node, freeze it as two hosts here do', () => {
  const host = machine({ vms: [101], bridge: { duplicates: { moves: 3, window: '1m', hold: '1m' } } });
  const [vm] = host.vms;
  assert.ok(vm !== undefined);
  vm.gratuitous();
  run(host);
  const far = '02:00:00:00:99:99';
  // zebra has the other host's route each time, and the host here answers a probe: it takes the address back.
  const reports = [1, 2, 3].map(() => {
    writeRemote(host, { mac: far }, vm.ip);
    return run(host);
  });
  assert.deepEqual(reports.map(changesOf), [
    [`replace ${vm.ip} ${vm.mac}`],
    [`replace ${vm.ip} ${vm.mac}`],
    [],
  ]);
  assert.equal(macOf(host, vm.ip), far);
  assert.equal(reports[2]?.warnings.length, 1);
  assert.match(reports[2]?.warnings[0] ?? '', new RegExp(`${vm.ip}.*${vm.mac}.*${far}`));
  assert.deepEqual(
    host.snoopy.bindings().map(({ ip, state }) => `${ip} ${state}`),
    [`${vm.ip} frozen`],
  );
  const after = run(host);
  assert.deepEqual([after.neighbors.changes, after.probes.sent], [[], 0]);
  assert.deepEqual(changesOf(run(host, '--unfreeze', vm.ip)), [`replace ${vm.ip} ${vm.mac}`]);
});

it('a host is not probed for hints that another port has forged with its MAC', () => {
  const host = machine({ vms: [101, 102] });
  const [liar, victim] = host.vms;
  assert.ok(liar !== undefined && victim !== undefined);
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
    findFdb(host.node.netns, BRIDGE, victim.mac).map(({ ifname }) => ifname);
  liar.send(...forged);
  assert.deepEqual(portsOf(), [liar.port]);
  victim.sendMarker();
  assert.deepEqual(portsOf(), [victim.port]);
  const report = run(host);
  assert.ok(report.counters.hints >= forged.length, 'the program has taken them for hints');
  assert.equal(report.hints.probed, 0);
  // The same messages on the victim's own port are probed there.
  victim.send(...forged);
  assert.ok(run(host).hints.probed > 0);
});

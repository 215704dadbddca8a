// RFC 9161, section 3.7b: before an address goes to another MAC, its owner is probed.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { NEEDS_VALIDATED } from '../kernel/probe.ts';
import { Capture } from '../lib/capture.ts';
import { deepTest } from '../lib/depth.ts';
import { arpFrame, naFrame } from '../lib/frames.ts';
import { Node, type Vm } from '../lib/node.ts';
import { findFdb, findNeighbor } from '../lib/oracles.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, Snoopy, withReport } from '../lib/snoopy.ts';
import { sleepSync, until } from '../lib/wait.ts';

const BRIDGE = 'br0';
const OWN = ['10.1.255.254/16', '2001:db8:1::ffff/64'];
/** No address is ever frozen. */
const NO_FREEZE = { moves: 0, window: '1m', hold: '1m' };

const GARP = { operation: 'request' } as const;

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.close());

interface Machine {
  readonly node: Node;
  readonly owner: Vm;
  readonly other: Vm;
  readonly snoopy: Snoopy;
}

/** A node that knows the owner, VM 101, and a VM 102 that will claim the owner's address. */
function machine(bridge: object = {}, { addresses = OWN, runtime = {} } = {}): Machine {
  const node = new Node(scope, { name: 'n1', addresses });
  const [owner, other] = [101, 102].map((id) => node.addVm({ id }));
  assert.ok(owner !== undefined && other !== undefined);
  // The kernel rewrites no neighbor: what changes is what a run has written.
  const settings = { name: BRIDGE, neighbor_state: 'noarp', ...bridge };
  const snoopy = new Snoopy(scope, node.netns, { runtime, bridges: [settings] });
  const host = { node, owner, other, snoopy };
  run(host);
  owner.gratuitous();
  owner.sendNa();
  run(host);
  for (const ip of [owner.ip, owner.ip6]) assert.equal(macOf(host, ip), owner.mac, ip);
  return host;
}

function run({ snoopy }: Machine, ...args: string[]): Report {
  const result = snoopy.reconcile(...args);
  assert.equal(result.code, 0, outputOf(result));
  return result.report;
}

/** The virtual MACs of VRID 7 (RFC 9568, section 7.3). */
const VIRTUAL_MACS = ['00:00:5e:00:01:07', '00:00:5e:00:02:07'] as const;

/** Announces the addresses of a VM with virtual router MACs, from its port. */
function announceVirtually(vm: Vm): void {
  const [mac4, mac6] = VIRTUAL_MACS;
  vm.send(
    arpFrame({ ...GARP, senderMac: mac4, senderIp: vm.ip, targetIp: vm.ip }),
    naFrame({ target: vm.ip6, targetMac: mac6 }),
  );
}

function macOf({ node }: Machine, ip: string): string | undefined {
  return findNeighbor(node.netns, BRIDGE, ip)?.lladdr;
}

/** A claim that any host accepts. */
function claim(claimant: Vm, ip: string, mac = claimant.mac): void {
  const frame = ip.includes(':')
    ? naFrame({ target: ip, targetMac: mac })
    : arpFrame({ operation: 'request', senderMac: mac, senderIp: ip, targetIp: ip });
  claimant.send(frame);
}

/** The bindings of an address in the map, by `status`. */
function boundMac({ snoopy }: Machine, ip: string): string | undefined {
  return snoopy.bindings().find((binding) => binding.ip === ip)?.mac;
}

/** The owner has given the address up, as in a failover: it is alive, and no longer answers for the address. */
function giveUp({ owner }: Machine, ip = owner.ip): void {
  const length = ip.includes(':') ? 64 : 16;
  owner.netns.run('ip', 'address', 'del', `${ip}/${length}`, 'dev', 'eth0');
}

describe('an address that another MAC claims', () => {
  it('stays with its owner when the owner answers, for both families and without a timeout', async () => {
    const host = machine();
    const { owner, other } = host;
    const asked = await Capture.start(owner.netns, 'eth0', 'arp or icmp6');
    const elsewhere = await Capture.start(other.netns, 'eth0', 'arp or icmp6');
    claim(other, owner.ip);
    claim(other, owner.ip6);

    const report = run(host);

    assert.deepEqual(report.confirms, { sent: 2, answered: 2 });
    assert.deepEqual(report.neighbors.changes, []);
    for (const ip of [owner.ip, owner.ip6]) {
      assert.equal(macOf(host, ip), owner.mac, ip);
      assert.equal(boundMac(host, ip), owner.mac, `${ip}: the answer is a claim of the owner`);
    }
    assert.deepEqual(
      report.warnings,
      [owner.ip, owner.ip6].map(
        (ip) =>
          `${other.mac} on port "${other.port}" claims ${ip} on "${BRIDGE}": its owner ${owner.mac} on port ` +
          `"${owner.port}" still answers and keeps it; find out why both have this address`,
      ),
    );
    await asked.saw(new RegExp(`> ${owner.mac}, .*Request who-has ${owner.ip} .*tell 10\\.1\\.255\\.254,`));
    await asked.saw(new RegExp(`> ${owner.mac}, .*2001:db8:1::ffff > ff02::1:ff00:101: .*neighbor solicit`));
    assert.equal(elsewhere.count(/> ff:ff.* tell 10\.1\.255\.254/), 0, 'only its MAC is probed');
    assert.equal(elsewhere.count(/ > ff02::1:ff00:101.*> 33:33/), 0);
    assert.equal(run(host).confirms.sent, 0, 'one probe is enough');
  });

  it('goes to the claimant when the owner has given it up', () => {
    const host = machine();
    const { owner, other } = host;
    for (const ip of [owner.ip, owner.ip6]) {
      giveUp(host, ip);
      claim(other, ip);
    }
    const report = run(host);
    assert.deepEqual(report.confirms, { sent: 2, answered: 0 });
    for (const ip of [owner.ip, owner.ip6]) assert.equal(macOf(host, ip), other.mac, ip);
    assert.deepEqual(report.warnings, []);
    const waitedS = report.durations['confirm'] ?? 0;
    assert.ok(waitedS >= 0.1 && waitedS < 10, `${waitedS} s`);
    assert.equal(run(host).confirms.sent, 0, 'nothing is left to decide');
  });

  deepTest(
    'stays with an owner that answers, though a host behind its own port claims it with a virtual router MAC',
    () => {
      const host = machine();
      const { owner } = host;
      announceVirtually(owner);
      const report = run(host);
      assert.deepEqual(report.confirms, { sent: 2, answered: 2 });
      for (const ip of [owner.ip, owner.ip6]) assert.equal(macOf(host, ip), owner.mac, ip);
      assert.equal(report.warnings.length, 2);
      assert.equal(run(host).confirms.sent, 0);
    },
  );

  for (const state of ['noarp', 'stale'] as const) {
    deepTest(
      `stays with its owner, however often a virtual router MAC behind its port claims it, ${state}`,
      () => {
        const host = machine({ neighbor_state: state, duplicates: { moves: 3, window: '3m', hold: '3m' } });
        const { owner } = host;
        for (let turn = 0; turn < 4; turn++) {
          announceVirtually(owner);
          const report = run(host);
          assert.deepEqual(report.confirms, { sent: 2, answered: 2 }, `turn ${turn}`);
          for (const ip of [owner.ip, owner.ip6]) assert.equal(macOf(host, ip), owner.mac, ip);
        }
      },
    );

    deepTest(`stays with the first MAC that claimed it, before there was a neighbor, ${state}`, () => {
      const host = machine({ neighbor_state: state });
      const { owner } = host;
      const ip = '10.1.0.99';
      owner.netns.run('ip', 'address', 'add', `${ip}/16`, 'dev', 'eth0');
      claim(owner, ip);
      claim(owner, ip, VIRTUAL_MACS[0]);
      assert.deepEqual(run(host).confirms, { sent: 1, answered: 1 });
      assert.equal(macOf(host, ip), owner.mac);
    });

    deepTest(`stays with an owner that has just moved here from another node, ${state}`, async () => {
      const duplicates = { moves: 4, window: '3m', hold: '5s' };
      const host = machine({ neighbor_state: state, duplicates });
      const { owner, other, node } = host;
      const ip = '10.1.0.99';
      const there = ['lladdr', '02:00:00:00:09:09', 'dev', BRIDGE, 'nud', 'noarp', 'extern_learn'];
      node.netns.run('ip', 'neigh', 'replace', ip, ...there, 'proto', 'zebra');
      run(host);
      owner.netns.run('ip', 'address', 'add', `${ip}/16`, 'dev', 'eth0');
      claim(owner, ip);
      run(host);
      assert.equal(macOf(host, ip), owner.mac);

      claim(other, ip);
      assert.deepEqual(run(host).confirms, { sent: 1, answered: 1 });
      assert.equal(macOf(host, ip), owner.mac);

      // With the move between the nodes, and the answer of the owner, this one is too many.
      claim(other, ip);
      run(host);
      assert.equal(macOf(host, ip), undefined);
      await until(
        'the end of the hold time',
        () => run(host) && macOf(host, ip),
        (mac) => mac === owner.mac,
      );
    });
  }

  it('goes to the physical MAC of a host that no longer uses its virtual router MAC', () => {
    const host = machine();
    const { owner } = host;
    for (const ip of [owner.ip, owner.ip6]) giveUp(host, ip);
    announceVirtually(owner);
    run(host);
    for (const [i, ip] of [owner.ip, owner.ip6].entries()) assert.equal(macOf(host, ip), VIRTUAL_MACS[i]);

    owner.gratuitous();
    owner.sendNa();
    assert.deepEqual(run(host).confirms, { sent: 2, answered: 0 });
    for (const ip of [owner.ip, owner.ip6]) assert.equal(macOf(host, ip), owner.mac, ip);
  });

  it('goes in one run to a host that was only hinted at, answers, and takes the place of another', () => {
    const host = machine();
    const { owner, other } = host;
    const ip = owner.ip6;
    giveUp(host, ip);
    other.netns.run('ip', 'address', 'add', `${ip}/64`, 'dev', 'eth0', 'nodad');
    other.send(naFrame({ target: ip, targetMac: other.mac, override: false }));
    const report = run(host);
    assert.deepEqual([report.hints.probed, report.confirms], [1, { sent: 1, answered: 0 }]);
    assert.deepEqual(report.warnings, []);
    assert.equal(macOf(host, ip), other.mac);
  });

  deepTest('goes to the claimant when the owner’s port is gone', () => {
    const host = machine();
    host.owner.unplug();
    claim(host.other, host.owner.ip);
    assert.deepEqual(run(host).confirms, { sent: 1, answered: 0 });
    assert.equal(macOf(host, host.owner.ip), host.other.mac);
  });

  deepTest('stays though the claimant repeats its claim faster than the owner answers', () => {
    const host = machine({ duplicates: NO_FREEZE });
    const { owner, other } = host;
    const frame = arpFrame({
      operation: 'request',
      senderMac: other.mac,
      senderIp: owner.ip,
      targetIp: owner.ip,
    }).toString('hex');
    const flood = `
import socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
end = time.monotonic() + 60
while time.monotonic() < end:
    s.send(bytes.fromhex('${frame}'))
    time.sleep(0.0002)
`;
    const flooding = other.netns.start('/usr/bin/python3', '-c', flood);
    let answered = 0;
    for (let i = 0; i < 5; i++) {
      const report = run(host);
      answered += report.confirms.answered;
      assert.deepEqual(report.neighbors.changes, []);
      assert.equal(macOf(host, owner.ip), owner.mac);
      assert.ok((report.durations['confirm'] ?? 0) < 10);
    }
    assert.ok(flooding.running, flooding.stderr);
    assert.ok(answered >= 3, `${answered} of 5`);
  });

  deepTest(
    "stays with an owner that the bridge has aged out, even if the bridge has never seen the claimant's MAC",
    () => {
      const host = machine();
      const { owner, other, node } = host;
      owner.netns.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1 });
      const bridgeMac = node.netns.json<{ address: string }[]>('ip', '-json', 'link', 'show', BRIDGE)[0]
        ?.address;
      assert.ok(bridgeMac !== undefined);
      node.netns.run('bridge', 'fdb', 'del', owner.mac, 'dev', owner.port, 'master');
      assert.deepEqual(findFdb(node.netns, BRIDGE, owner.mac), []);
      claim(other, owner.ip, bridgeMac);
      const report = run(host);
      assert.deepEqual(report.confirms, { sent: 1, answered: 1 });
      assert.equal(macOf(host, owner.ip), owner.mac);
      assert.equal(boundMac(host, owner.ip), owner.mac);
    },
  );

  deepTest('stays with an owner whose MAC was stolen before: every port is probed', () => {
    const host = machine();
    const { owner, other, node } = host;
    const isStolen = () => findFdb(node.netns, BRIDGE, owner.mac)[0]?.ifname === other.port;
    // More than once: a frame of the owner's kernel may have moved its MAC back in between.
    for (let turn = 0; turn < 50 && !isStolen(); turn++) {
      if (turn > 0) sleepSync(20);
      other.send(
        // The bridge moves the MAC to this port, and the program the address as well.
        arpFrame({ operation: 'request', senderMac: owner.mac, senderIp: owner.ip, targetIp: owner.ip }),
        arpFrame({ operation: 'request', senderMac: other.mac, senderIp: owner.ip, targetIp: owner.ip }),
      );
    }
    assert.ok(isStolen());
    const report = run(host);
    assert.deepEqual(report.confirms, { sent: 1, answered: 1 });
    assert.match(report.warnings.join(), new RegExp(`its owner ${owner.mac} on port "${owner.port}" still`));
    assert.equal(macOf(host, owner.ip), owner.mac);
    assert.equal(findFdb(node.netns, BRIDGE, owner.mac)[0]?.ifname, owner.port, 'and has its MAC back');
  });

  deepTest('is probed even before there is a neighbor, and the first to claim it is the owner', () => {
    const host = machine();
    const { owner, other } = host;
    const ip = '10.1.9.9';
    owner.run('ip', 'address', 'add', `${ip}/16`, 'dev', 'eth0');
    claim(owner, ip);
    claim(other, ip);
    assert.deepEqual(run(host).confirms, { sent: 1, answered: 1 });
    assert.equal(macOf(host, ip), owner.mac);
  });

  deepTest('is probed even if the ring had no room for the record of its move', () => {
    const host = machine(
      { limits: { bindings_per_port: 200, new_bindings_per_second: 100_000 } },
      { runtime: { ring_size: '4KiB' } },
    );
    const { owner, other } = host;
    const many = Array.from({ length: 100 }, (_, i) => `10.1.200.${i + 1}`);
    other.send(
      ...many.map((ip) =>
        arpFrame({ operation: 'request', senderMac: other.mac, senderIp: ip, targetIp: ip }),
      ),
    );
    claim(other, owner.ip);
    const report = run(host);
    assert.ok(report.ring.dropped >= 2, 'the ring was full, for the answer as well');
    assert.equal(report.confirms.sent, 1);
    assert.equal(macOf(host, owner.ip), owner.mac);
    assert.equal(boundMac(host, owner.ip), owner.mac);
  });

  deepTest(
    'goes to the claimant even if the ring has no room for answers: the binding did not move back',
    () => {
      const host = machine(
        { limits: { bindings_per_port: 200, new_bindings_per_second: 100_000 } },
        { runtime: { ring_size: '4KiB' } },
      );
      const { owner, other } = host;
      const ips = Array.from({ length: 100 }, (_, i) => `10.1.200.${i + 1}`);
      giveUp(host);
      claim(other, owner.ip);
      other.send(...ips.map((ip) => arpFrame({ ...GARP, senderMac: other.mac, senderIp: ip, targetIp: ip })));
      // The record of this host's answer finds no room.
      claim(other, owner.ip6);
      const report = run(host);
      assert.ok(report.ring.dropped > 0, 'the ring was full');
      assert.equal(macOf(host, owner.ip), other.mac);
      assert.equal(macOf(host, owner.ip6), owner.mac, 'the record of its answer found no room');
    },
  );

  deepTest('stays with an owner that answers, even if the MAC that claims it is behind the tunnel', () => {
    const host = machine({ duplicates: NO_FREEZE });
    const { owner, other, node } = host;
    const mac = '02:00:00:00:09:09';
    node.netns.run(
      'ip',
      'link',
      'add',
      'vx9',
      'master',
      BRIDGE,
      'up',
      'type',
      'vxlan',
      'id',
      '9',
      'dstport',
      '4789',
    );
    node.netns.run('bridge', 'fdb', 'add', mac, 'dev', 'vx9', 'master', 'static');
    for (let turn = 0; turn < 3; turn++) {
      claim(other, owner.ip, mac);
      assert.equal(run(host).confirms.answered, 1);
      assert.equal(macOf(host, owner.ip), owner.mac);
    }
  });

  deepTest('stays where it is while the owner cannot be probed, and the run reports that', () => {
    const host = machine();
    const { owner, other, snoopy } = host;
    claim(other, owner.ip);
    const withoutRaw = [
      'setpriv',
      '--bounding-set',
      '-net_raw',
      ...snoopy.argv('reconcile', '--format', 'json'),
    ];
    const failed = withReport(host.node.netns.tryRun(withoutRaw));
    assert.equal(failed.code, 1, outputOf(failed));
    assert.match(failed.report.errors[0]?.message ?? '', /CAP_NET_RAW/);
    assert.match(failed.report.warnings.join(), /1 address is claimed by another MAC/);
    assert.equal(macOf(host, owner.ip), owner.mac);
    assert.deepEqual(run(host).confirms, { sent: 1, answered: 1 });
    assert.equal(macOf(host, owner.ip), owner.mac);
  });

  deepTest('stays with an owner behind a full queue, and goes when nothing is behind the port', () => {
    const host = machine();
    const { owner, other, node } = host;
    giveUp(host);
    claim(other, owner.ip);
    // Every frame sent to the owner fails.
    node.netns.run('tc', 'qdisc', 'add', 'dev', owner.port, 'root', 'handle', '1:', 'pfifo', 'limit', '0');
    assert.equal(run(host).confirms.sent, 0);
    assert.equal(macOf(host, owner.ip), owner.mac);
    node.netns.run('tc', 'qdisc', 'del', 'dev', owner.port, 'root');
    run(host);
    assert.equal(macOf(host, owner.ip), other.mac);
  });

  it('is frozen when the claimant does not give up: each answer counts as a move', () => {
    const host = machine();
    const { owner, other } = host;
    for (const answered of [1, 1]) {
      claim(other, owner.ip);
      assert.equal(run(host).confirms.answered, answered);
    }
    claim(other, owner.ip);
    const report = run(host);
    assert.equal(report.confirms.sent, 0, 'the owner of a frozen address is not probed');
    assert.match(report.warnings.join('\n'), new RegExp(`Duplicate address ${owner.ip}`));
    assert.equal(macOf(host, owner.ip), undefined);
    assert.equal(boundMac(host, owner.ip), owner.mac, 'the owner has it again when the hold time is over');
  });

  deepTest(
    'costs at most one wait for all such addresses together, and at most as many probes as a port has bindings',
    () => {
      const host = machine({ limits: { bindings_per_port: 64, new_bindings_per_second: 100_000 } });
      const { owner, other } = host;
      const ips = Array.from({ length: 100 }, (_, i) => `10.1.50.${i + 1}`);
      const claimAll = (claimant: Vm) =>
        claimant.send(
          ...ips.map((ip) =>
            arpFrame({ operation: 'request', senderMac: claimant.mac, senderIp: ip, targetIp: ip }),
          ),
        );
      // No host has these addresses, so none answers.
      claimAll(owner);
      run(host);
      claimAll(other);
      const report = run(host);
      assert.ok(report.confirms.sent > 50 && report.confirms.sent <= 64, `${report.confirms.sent} questions`);
      assert.equal(report.confirms.answered, 0);
      assert.ok((report.durations['confirm'] ?? 0) < 10);
    },
  );

  deepTest('is not probed by --check, which reports what it would write without an answer', async () => {
    const host = machine();
    const { owner, other } = host;
    claim(other, owner.ip);
    const asked = await Capture.start(owner.netns, 'eth0', 'arp');
    const report = run(host, '--check');
    assert.deepEqual(report.confirms, { sent: 0, answered: 0 });
    assert.deepEqual(
      report.neighbors.changes.map(({ kind, mac }) => `${kind} ${mac}`),
      [`replace ${other.mac}`],
    );
    owner.sendMarker();
    other.ask('10.1.7.7');
    await asked.saw(/who-has 10\.1\.7\.7/);
    assert.equal(asked.count(/tell 10\.1\.255\.254/), 0);
    assert.equal(run(host).confirms.answered, 1, 'and the record is still there for the run');
  });

  for (const [declare, name, bridge, addresses] of [
    [it, 'probes are switched off', { probe: { enabled: 'never' } }, OWN],
    [
      deepTest,
      'the node has no address of the subnet and probe.enabled is own',
      { probe: { enabled: 'own' } },
      [],
    ],
    [deepTest, 'answers are not learned from', { learn: ['arp-request', 'ns'] }, OWN],
  ] as const) {
    declare(`goes to the last claim where ${name}`, () => {
      const node = new Node(scope, { name: 'n1', addresses: [...addresses] });
      const [owner, other] = [101, 102].map((id) => node.addVm({ id }));
      assert.ok(owner !== undefined && other !== undefined);
      const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE, ...bridge }] });
      const host = { node, owner, other, snoopy };
      run(host);
      owner.gratuitous();
      run(host);
      claim(other, owner.ip);
      assert.deepEqual(run(host).confirms, { sent: 0, answered: 0 });
      assert.equal(macOf(host, owner.ip), other.mac);
    });
  }

  deepTest('is probed by an ARP probe where the node has no address', async () => {
    const host = machine({ probe: { source: '2001:db8:1::fffe' } }, { addresses: [] });
    const { owner, other } = host;
    const asked = await Capture.start(owner.netns, 'eth0', 'arp');
    claim(other, owner.ip);
    assert.deepEqual(run(host).confirms, { sent: 1, answered: 1 });
    await asked.saw(new RegExp(`Request who-has ${owner.ip} .*tell 0\\.0\\.0\\.0,`));
    assert.equal(macOf(host, owner.ip), owner.mac);
  });

  deepTest('stays with its owner while a run listens, and goes when the owner gives it up', async () => {
    const host = machine();
    const { owner, other } = host;
    const listening = host.snoopy.startReconcile('--listen', '3s');
    sleepSync(1_000);
    claim(other, owner.ip);
    sleepSync(500);
    assert.equal(macOf(host, owner.ip), owner.mac);
    giveUp(host);
    claim(other, owner.ip);
    sleepSync(700);
    assert.equal(macOf(host, owner.ip), other.mac);
    await listening.ended();
  });
});

/** The kernel writes the last claim into the neighbor: a run corrects it, or leaves it. */
describe('an address whose neighbor the kernel keeps current', NEEDS_VALIDATED, () => {
  const AUTO = { neighbor_state: 'auto', duplicates: NO_FREEZE };

  it('goes back to its owner in the next run when the owner answers, with a warning', () => {
    const host = machine(AUTO);
    const { owner, other } = host;
    for (const ip of [owner.ip, owner.ip6]) {
      claim(other, ip);
      assert.equal(macOf(host, ip), other.mac, 'the kernel checks less');
    }
    const report = run(host);
    assert.deepEqual(report.confirms, { sent: 2, answered: 2 });
    for (const ip of [owner.ip, owner.ip6]) {
      assert.equal(macOf(host, ip), owner.mac, ip);
      assert.equal(boundMac(host, ip), owner.mac, ip);
      const words = new RegExp(
        `^${other.mac} on port "${other.port}" claims ${ip} .*owner ${owner.mac} on port "${owner.port}"`,
      );
      assert.equal(
        report.warnings.filter((warning) => words.test(warning)).length,
        1,
        report.warnings.join(),
      );
    }
    const next = run(host);
    assert.equal(next.confirms.sent, 0);
    assert.deepEqual(next.neighbors.changes, []);
  });

  it('stays with the claimant when the owner has given it up, and nothing is left to decide', () => {
    const host = machine(AUTO);
    const { owner, other } = host;
    for (const ip of [owner.ip, owner.ip6]) {
      giveUp(host, ip);
      claim(other, ip);
    }
    const report = run(host);
    assert.deepEqual(report.confirms, { sent: 2, answered: 0 });
    for (const ip of [owner.ip, owner.ip6]) assert.equal(macOf(host, ip), other.mac, ip);
    const next = run(host);
    assert.equal(next.confirms.sent, 0);
    assert.deepEqual(next.neighbors.changes, []);
  });

  it('stays with a host that took it over a moment ago and answers, and a freeze gives it back to that host', () => {
    const host = machine({ neighbor_state: 'auto', duplicates: { moves: 3, window: '10m', hold: '10m' } });
    const { node, owner, other } = host;
    const { ip } = owner;
    giveUp(host);
    other.netns.run('ip', 'address', 'add', `${ip}/16`, 'dev', 'eth0');
    claim(other, ip);
    assert.deepEqual(run(host).confirms, { sent: 1, answered: 0 });
    assert.equal(macOf(host, ip), other.mac);

    const third = node.addVm({ id: 103 });
    run(host);
    claim(third, ip);
    const report = run(host);
    assert.deepEqual(report.confirms, { sent: 1, answered: 1 });
    assert.match(
      report.warnings.join(),
      new RegExp(`${third.mac} .* claims ${ip} .*owner ${other.mac} on port`),
    );
    const [binding] = host.snoopy.bindings().filter((one) => one.ip === ip);
    // Three changes of the MAC: the take-over, the claim, and the answer.
    assert.deepEqual([binding?.mac, binding?.port, binding?.state], [other.mac, other.port, 'frozen']);
  });
});

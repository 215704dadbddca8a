// What a host can achieve by impersonating another: every row of docs/impersonation.md, on nodes with FRR.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Fabric } from '../lib/fabric.ts';
import { arpFrame, type NaFields, naFrame, sendScapy } from '../lib/frames.ts';
import { Node, type Vm } from '../lib/node.ts';
import { findFdb, findNeighbor, listOwnNeighbors, neighborText } from '../lib/oracles.ts';
import { runJson } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, Snoopy } from '../lib/snoopy.ts';
import { sleepSync, until } from '../lib/wait.ts';

const BRIDGE = 'br0';
const ALL_ONES = 'ff:ff:ff:ff:ff:ff';

/** A provisioned address of the victim, and one of a gateway at another place. */
const STATIC = '10.1.0.53';
const GATEWAY = '10.1.0.254';
const GATEWAY_MAC = '02:00:00:00:fe:01';

function garp(mac: string, ip: string, fields: object = {}): Buffer {
  return arpFrame({ operation: 'request', senderMac: mac, senderIp: ip, targetIp: ip, ...fields });
}

function advert(mac: string | null, target: string, fields: Partial<NaFields> = {}): Buffer {
  return naFrame({ target, targetMac: mac, ...fields });
}

/** The frame with a tag in front of its own EtherType. */
function tagged(frame: Buffer, vlan: number, type = 0x8100): Buffer {
  return Buffer.concat([
    frame.subarray(0, 12),
    Buffer.from([type >> 8, type & 0xff, vlan >> 8, vlan & 0xff]),
    frame.subarray(12),
  ]);
}

/** The frame with one byte changed. */
function patched(frame: Buffer, offset: number, value: number): Buffer {
  const copy = Buffer.from(frame);
  copy[offset] = value;
  return copy;
}

type Counters = Readonly<Record<string, number>>;

/** Index -> name of each counter, from the program's own header. */
const COUNTER_NAMES = new Map(
  [
    ...readFileSync(new URL('../../../bpf/snoopy.h', import.meta.url), 'utf8').matchAll(
      /SNOOPY_COUNTER_(\w+) +(\d+)/g,
    ),
  ].map(([, name = '', index]) => [Number(index), name.toLowerCase()]),
);

/** The program's counters, as bpftool reads them. */
function countersOf({ bpffs }: Snoopy): Counters {
  const argv = ['bpftool', '--json', 'map', 'dump', 'pinned', `${bpffs}/snoopy/counters`];
  const entries = runJson<{ formatted: { key: number; values: { value: number }[] } }[]>(argv);
  return Object.fromEntries(
    entries.map(({ formatted: { key, values } }) => [
      COUNTER_NAMES.get(key) ?? String(key),
      values.reduce((sum, { value }) => sum + value, 0),
    ]),
  );
}

/** The counters that have grown, and by how much. */
function grown(before: Counters, now: Counters): Record<string, number> {
  const differences = Object.entries(now).map(([name, value]) => [name, value - (before[name] ?? 0)]);
  return Object.fromEntries(differences.filter(([, difference]) => difference !== 0));
}

function run(snoopy: Snoopy, ...args: string[]): Report {
  const result = snoopy.reconcile(...args);
  assert.equal(result.code, 0, outputOf(result));
  return result.report;
}

describe('impersonation', () => {
  let fabric: Fabric;
  /** snoopy at the node of victim and attacker, and at the other one. */
  let near: Snoopy;
  let far: Snoopy;
  let victim: Vm;
  let attacker: Vm;
  let remote: Vm;
  let config: (extra?: object) => object;

  before(async () => {
    fabric = await Fabric.start({
      addresses: (number) => [`10.1.255.${number}/16`, `2001:db8:1::ff0${number}/64`],
    });
    victim = fabric.vm(1, 1);
    attacker = fabric.vm(1, 2);
    remote = fabric.vm(2, 1);
    // Without a router their kernels ask for one again and again, and each message takes a stolen MAC back.
    for (const vm of [victim, remote]) vm.netns.sysctl({ 'net/ipv6/conf/eth0/router_solicitations': 0 });
    config = (extra = {}) => ({
      bridges: [
        {
          name: BRIDGE,
          static: [
            { ip: STATIC, mac: victim.mac },
            { ip: GATEWAY, mac: GATEWAY_MAC },
          ],
          neighbor_state: 'noarp',
          // The effects of one test must not freeze an address in the next.
          duplicates: { moves: 0, window: '1m', hold: '2s' },
          ...extra,
        },
      ],
    });
    near = new Snoopy(fabric.scope, fabric.node(1).node.netns, config() as Record<string, unknown>);
    far = new Snoopy(fabric.scope, fabric.node(2).node.netns, {
      bridges: [{ name: BRIDGE, neighbor_state: 'noarp' }],
    });
    run(near);
    run(far);
    for (const vm of [victim, remote]) {
      vm.gratuitous();
      vm.sendNa();
    }
    run(near);
    run(far);
    await farHas(victim.ip, victim.mac);
    await farHas(victim.ip6, victim.mac);
    await farHas(STATIC, victim.mac);
    await nodeHas(1, remote.ip, remote.mac);
  });

  after(() => fabric?.close());

  function configure(extra: object = {}): void {
    near.configure(config(extra) as Record<string, unknown>);
    run(near);
  }

  function macAt(node: number, ip: string): string | undefined {
    return findNeighbor(fabric.node(node).node.netns, BRIDGE, ip)?.lladdr;
  }

  /** Waits until a node's kernel has this MAC for an address; undefined: no entry. */
  async function nodeHas(node: number, ip: string, mac: string | undefined): Promise<void> {
    await until(
      `${ip} to be ${mac} at node ${node}`,
      () => macAt(node, ip),
      (found) => found === mac,
      { everyMs: 5 },
    );
  }

  const farHas = (ip: string, mac: string | undefined): Promise<void> => nodeHas(2, ip, mac);

  function bindingOf(snoopy: Snoopy, ip: string) {
    return snoopy.bindings().find((binding) => binding.ip === ip && binding.vlan === 0);
  }

  describe('rejected at once: one counter grows, and nothing else changes', () => {
    let counters: Counters;
    let atNear: string;
    let atFar: string;

    before(() => {
      const tables = snapshot();
      atNear = tables.near;
      atFar = tables.far;
      counters = countersOf(near);
    });

    after(() => {
      const report = run(near);
      assert.deepEqual(report.neighbors.changes, []);
      assert.equal(report.confirms.sent, 0);
      assert.deepEqual(snapshot(), { near: atNear, far: atFar });
      for (const ip of [victim.ip, victim.ip6]) assert.equal(bindingOf(near, ip)?.mac, victim.mac);
    });

    function snapshot(): { near: string; far: string } {
      const text = (node: number) =>
        neighborText(fabric.node(node).node.netns, BRIDGE, /lladdr/).replaceAll(/\b(used|ref) \S+/g, '');
      return { near: text(1), far: text(2) };
    }

    const cases: readonly [name: string, counter: string, frame: () => Buffer][] = [
      // The sender is not the host that the message names.
      [
        'ARP whose sender is not the Ethernet source',
        'spoofed',
        () => garp(victim.mac, victim.ip, { source: attacker.mac }),
      ],
      [
        "ARP in a frame with another host's Ethernet source",
        'spoofed',
        () => garp(attacker.mac, victim.ip, { source: victim.mac }),
      ],
      [
        'an advertisement whose target address is not the Ethernet source',
        'spoofed',
        () => advert(victim.mac, victim.ip6, { source: attacker.mac }),
      ],
      [
        "an advertisement without a target option for another host's address",
        'nd_option',
        () => advert(null, victim.ip6, { source: attacker.mac }),
      ],
      [
        'an advertisement without override',
        'hints',
        () => advert(attacker.mac, victim.ip6, { override: false }),
      ],
      [
        'an advertisement from no address',
        'nd_header',
        () => advert(attacker.mac, victim.ip6, { sourceIp: '::' }),
      ],
      [
        'a solicited advertisement to all nodes',
        'nd_header',
        () => advert(attacker.mac, victim.ip6, { solicited: true }),
      ],
      [
        'an advertisement with a hop limit below 255',
        'hop_limit',
        () => advert(attacker.mac, victim.ip6, { hopLimit: 254 }),
      ],
      // No MAC of a host.
      ['a broadcast MAC', 'mac', () => garp(ALL_ONES, victim.ip, { source: attacker.mac })],
      ['a multicast MAC', 'mac', () => garp('01:00:5e:00:00:01', victim.ip, { source: attacker.mac })],
      ['a zero MAC', 'mac', () => garp('00:00:00:00:00:00', victim.ip, { source: attacker.mac })],
      // No address of a host.
      [
        '0.0.0.0, an ARP probe',
        'hints',
        () =>
          arpFrame({
            operation: 'request',
            senderMac: attacker.mac,
            senderIp: '0.0.0.0',
            targetIp: '10.1.7.7',
          }),
      ],
      ['an IPv4 loopback address', 'ip', () => garp(attacker.mac, '127.0.0.1')],
      ['an IPv4 multicast address', 'ip', () => garp(attacker.mac, '224.0.0.5')],
      ['240/4', 'ip', () => garp(attacker.mac, '240.0.0.1')],
      ['the limited broadcast address', 'ip', () => garp(attacker.mac, '255.255.255.255')],
      ['the IPv6 loopback address', 'ip', () => advert(attacker.mac, '::1', { sourceIp: attacker.ip6 })],
      [
        'an IPv4-mapped address',
        'ip',
        () => advert(attacker.mac, '::ffff:a01:101', { sourceIp: attacker.ip6 }),
      ],
      ['an IPv6 multicast address', 'ip', () => advert(attacker.mac, 'ff02::2', { sourceIp: attacker.ip6 })],
      ['an IPv4 link-local address', 'link_local', () => garp(attacker.mac, '169.254.1.1')],
      ['an IPv6 link-local address', 'link_local', () => advert(attacker.mac, 'fe80::1')],
      // An address with a known owner.
      [
        "the bridge's own IPv4 address, which is a gateway's",
        'subnet',
        () => garp(attacker.mac, '10.1.255.1'),
      ],
      ["the bridge's own IPv6 address", 'subnet', () => advert(attacker.mac, '2001:db8:1::ff01')],
      [
        "the gateways' anycast address of an IPv6 subnet",
        'subnet',
        () => advert(attacker.mac, '2001:db8:1::', { sourceIp: attacker.ip6 }),
      ],
      ["the subnet's broadcast address", 'subnet', () => garp(attacker.mac, '10.1.255.255')],
      ['an address of another IPv4 subnet', 'subnet', () => garp(attacker.mac, '10.2.0.1')],
      ['an address of another IPv6 subnet', 'subnet', () => advert(attacker.mac, '2001:db8:2::1')],
      ["the node's own tunnel address", 'subnet', () => garp(attacker.mac, '192.0.2.1')],
      ["another node's tunnel address", 'subnet', () => garp(attacker.mac, '192.0.2.2')],
      ['a provisioned address of another host', 'static', () => garp(attacker.mac, STATIC)],
      ['a provisioned address of a gateway elsewhere', 'static', () => garp(attacker.mac, GATEWAY)],
      // Tags.
      ['two VLAN tags', 'vlan', () => tagged(tagged(garp(attacker.mac, victim.ip), 20), 10)],
      [
        'a priority tag before a VLAN tag',
        'vlan',
        () => tagged(tagged(garp(attacker.mac, victim.ip), 10), 0),
      ],
      ['an 802.1ad tag', 'vlan', () => tagged(garp(attacker.mac, victim.ip), 10, 0x88a8)],
      // No message to learn from.
      [
        'an ARP operation other than request and reply',
        'arp_header',
        () => patched(garp(attacker.mac, victim.ip), 21, 3),
      ],
      ['a truncated ARP message', 'truncated', () => garp(attacker.mac, victim.ip).subarray(0, 40)],
      ['a Neighbor Solicitation', 'ignored', () => patched(advert(attacker.mac, victim.ip6), 54, 135)],
    ];

    for (const [name, counter, frame] of cases) {
      test(name, () => {
        attacker.send(frame());
        const now = countersOf(near);
        const found = grown(counters, now);
        counters = now;
        assert.deepEqual(found, { [counter]: 1 });
      });
    }
  });

  /** A Neighbor Solicitation of the attacker, from the victim's address. */
  function solicit(): void {
    const layers = [
      `Ether(src='${attacker.mac}',dst='33:33:ff:00:ff:01')`,
      `IPv6(src='${victim.ip6}',dst='ff02::1:ff00:ff01')`,
      "ICMPv6ND_NS(tgt='2001:db8:1::ff01')",
      `ICMPv6NDOptSrcLLAddr(lladdr='${attacker.mac}')`,
    ];
    sendScapy(attacker.netns, 'eth0', layers.join('/'));
  }

  test('a forged hint has its sender probed, and changes nothing when that does not answer', () => {
    // The pause after the probe for the advertisement without override is over: it was the same hint.
    sleepSync(1_000);
    const counters = countersOf(near);
    solicit();
    assert.deepEqual(grown(counters, countersOf(near)), { hints: 1 });
    const report = run(near);
    // The hint of the ARP Probe above is due after 10 s, and may be probed as well.
    assert.ok(report.hints.probed >= 1);
    assert.deepEqual([report.neighbors.changes, report.confirms.sent], [[], 0]);
    assert.equal(macAt(1, victim.ip6), victim.mac);
  });

  test('a host that answers the probe of its forged hint makes a claim like any other: the owner keeps the address', () => {
    attacker.run('ip', 'address', 'add', `${victim.ip6}/64`, 'dev', 'eth0', 'nodad');
    // The pause after two probes for hints of this MAC is over.
    sleepSync(8_000);
    solicit();
    const reports = [run(near), run(near)];
    attacker.run('ip', 'address', 'del', `${victim.ip6}/64`, 'dev', 'eth0');
    assert.ok((reports[0]?.hints.probed ?? 0) >= 1);
    assert.deepEqual(
      reports.flatMap(({ neighbors }) => neighbors.changes),
      [],
    );
    assert.equal(macAt(1, victim.ip6), victim.mac);
    victim.sendNa();
    run(near);
    assert.equal(bindingOf(near, victim.ip6)?.mac, victim.mac);
  });

  test('an address whose owner answers stays with its owner at every node, however often it is claimed', async () => {
    const { netns } = fabric.node(2).node;
    const monitor = netns.start('ip', 'monitor', 'neigh', 'dev', BRIDGE);
    const listening = near.startReconcile('--listen', '4s');
    for (let i = 0; i < 15; i++) {
      attacker.send(garp(attacker.mac, victim.ip), advert(attacker.mac, victim.ip6));
      sleepSync(200);
    }
    const ended = await listening.ended();
    assert.equal(ended.code, 0, outputOf(ended));
    assert.match(
      ended.stdout,
      new RegExp(`${attacker.mac} .*claims ${victim.ip} on .* still answers and keeps it`),
    );
    const printed = (await monitor.stop()).stdout;
    for (const ip of [victim.ip, victim.ip6]) {
      // The attacker has routes of its own, also to its link-local address.
      const lines = printed.split('\n').filter((line) => line.includes(`${ip} `));
      assert.ok(!lines.some((line) => line.includes(attacker.mac)), printed + outputOf(ended));
      assert.equal(macAt(1, ip), victim.mac);
      assert.equal(macAt(2, ip), victim.mac);
      assert.deepEqual(
        fabric
          .node(2)
          .frr.routesTo(ip)
          .map(({ mac }) => mac),
        [victim.mac],
      );
    }
  });

  test('a failover of a virtual address reaches the other node', async (t) => {
    const shared = '10.1.0.99';
    victim.netns.run('ip', 'address', 'add', `${shared}/16`, 'dev', 'eth0');
    victim.gratuitous(shared);
    run(near);
    await farHas(shared, victim.mac);
    const listening = near.startReconcile('--listen', '5s');
    sleepSync(1_500);
    victim.netns.run('ip', 'address', 'del', `${shared}/16`, 'dev', 'eth0');
    attacker.netns.run('ip', 'address', 'add', `${shared}/16`, 'dev', 'eth0');
    attacker.gratuitous(shared);
    const announced = performance.now();
    await farHas(shared, attacker.mac);
    t.diagnostic(`failover: at the other node after ${(performance.now() - announced).toFixed(0)} ms`);
    assert.ok(performance.now() - announced < 3_000);
    await listening.ended();
    assert.equal(macAt(1, shared), attacker.mac);
    attacker.netns.run('ip', 'address', 'del', `${shared}/16`, 'dev', 'eth0');
  });

  test("a stolen MAC changes only the port: no neighbor, no route, and the owner's next message takes it back", () => {
    // The victim's kernel verifies an entry that it has of the node, and that is a message of its own.
    for (const family of ['-4', '-6']) victim.run('ip', family, 'neigh', 'flush', 'dev', 'eth0');
    const counters = countersOf(near);
    attacker.send(garp(victim.mac, victim.ip));
    assert.deepEqual(grown(counters, countersOf(near)), { sightings: 1, moved: 1 });
    const report = run(near);
    assert.equal(report.confirms.sent, 0);
    assert.deepEqual(report.neighbors.changes, []);
    assert.equal(bindingOf(near, victim.ip)?.port, attacker.port, 'and so does the bridge');
    assert.equal(findFdb(fabric.node(1).node.netns, BRIDGE, victim.mac)[0]?.ifname, attacker.port);
    assert.equal(macAt(1, victim.ip), victim.mac);
    assert.equal(macAt(2, victim.ip), victim.mac);
    victim.gratuitous();
    assert.equal(bindingOf(near, victim.ip)?.port, victim.port);
    assert.deepEqual(run(near).neighbors.changes, []);
  });

  test("the bridge's own MAC is accepted nowhere: no neighbor has it, and the owner gets its address back", () => {
    const { netns } = fabric.node(1).node;
    const own = netns.json<{ address: string }[]>('ip', '-json', 'link', 'show', BRIDGE)[0]?.address ?? '';
    attacker.send(garp(own, victim.ip), garp(own, '10.1.0.77'));
    const report = run(near);
    assert.deepEqual(report.confirms, { sent: 1, answered: 1 });
    assert.deepEqual(report.neighbors.changes, []);
    assert.equal(bindingOf(near, victim.ip)?.mac, victim.mac);
    assert.equal(macAt(1, '10.1.0.77'), undefined);
    assert.equal(bindingOf(near, '10.1.0.77')?.state, 'waiting');
  });

  test('a MAC of another port of the bridge is rejected as well: no frame with it comes from this port', () => {
    const { netns } = fabric.node(1).node;
    const own =
      netns.json<{ address: string }[]>('ip', '-json', 'link', 'show', victim.port)[0]?.address ?? '';
    attacker.send(garp(own, '10.1.0.78'));
    assert.deepEqual(run(near).neighbors.changes, []);
    assert.equal(bindingOf(near, '10.1.0.78')?.state, 'waiting');
  });

  test('a priority tag counts as no tag: the owner is probed as for any other claim', () => {
    attacker.send(tagged(garp(attacker.mac, victim.ip), 0));
    assert.deepEqual(run(near).confirms, { sent: 1, answered: 1 });
    assert.equal(macAt(1, victim.ip), victim.mac);
  });

  test('a tag on a bridge without VLANs claims an address only in that VLAN, which has no device', () => {
    attacker.send(tagged(garp(attacker.mac, victim.ip), 10));
    const report = run(near);
    assert.equal(report.confirms.sent, 0);
    assert.deepEqual(report.neighbors.changes, []);
    const states = near.bindings().filter(({ ip }) => ip === victim.ip);
    assert.deepEqual(states.map(({ vlan, mac, state }) => `${vlan} ${mac} ${state}`).sort(), [
      `0 ${victim.mac} installed`,
      `10 ${attacker.mac} homeless`,
    ]);
  });

  test('a rotation of MACs freezes the address: withdrawn everywhere for the hold time, then the owner’s again', async () => {
    const ip = '10.1.0.66';
    victim.run('ip', 'address', 'add', `${ip}/16`, 'dev', 'eth0');
    configure({ duplicates: { moves: 5, window: '1m', hold: '4s' } });
    victim.gratuitous(ip);
    run(near);
    await farHas(ip, victim.mac);
    attacker.send(...Array.from({ length: 8 }, (_, i) => garp(`02:00:00:00:66:0${i}`, ip)));
    const report = run(near);
    assert.match(report.warnings.join('\n'), new RegExp(`Duplicate address ${ip} `));
    assert.deepEqual(
      report.neighbors.changes.map((change) => `${change.kind} ${change.ip}`),
      [`remove ${ip}`],
    );
    await farHas(ip, undefined);
    assert.ok(remote.arping(ip), 'it is reached all the same, by ARP through the tunnel');
    assert.equal(bindingOf(near, ip)?.mac, victim.mac);
    await until(
      'the end of the hold time',
      () => run(near),
      () => macAt(1, ip) === victim.mac,
    );
    await farHas(ip, victim.mac);
    victim.run('ip', 'address', 'del', `${ip}/16`, 'dev', 'eth0');
    configure();
  });

  test('a provisioned address is never frozen, however many MACs rotate', () => {
    configure({ duplicates: { moves: 2, window: '1m', hold: '1m' } });
    const counters = countersOf(near);
    attacker.send(...Array.from({ length: 8 }, (_, i) => garp(`02:00:00:00:66:0${i}`, STATIC)));
    assert.deepEqual(grown(counters, countersOf(near)), { static: 8 });
    assert.deepEqual(run(near).neighbors.changes, []);
    assert.equal(macAt(2, STATIC), victim.mac);
    configure();
  });

  test('two interfaces of one host that both answer for both addresses freeze them, as RFC 9161 requires', () => {
    configure({ duplicates: { moves: 5, window: '1m', hold: '1m' } });
    const twice = '10.1.0.88';
    for (const vm of [victim, attacker]) vm.run('ip', 'address', 'add', `${twice}/16`, 'dev', 'eth0');
    victim.gratuitous(twice);
    run(near);
    for (let turn = 0; turn < 3; turn++) {
      attacker.gratuitous(twice);
      run(near);
    }
    assert.equal(bindingOf(near, twice)?.state, 'frozen');
    assert.equal(bindingOf(near, twice)?.mac, victim.mac);
    assert.equal(macAt(1, twice), undefined);
    for (const vm of [victim, attacker]) vm.run('ip', 'address', 'del', `${twice}/16`, 'dev', 'eth0');
    configure();
  });

  test('the tunnel address of a node in a tenant network without subnets never reaches the underlay', async () => {
    configure({ subnets: 'any' });
    attacker.gratuitous('192.0.2.2');
    run(near);
    assert.deepEqual(
      listOwnNeighbors(fabric.node(1).node.netns, BRIDGE)
        .filter(({ dst }) => dst === '192.0.2.2')
        .map(({ lladdr }) => lladdr),
      [attacker.mac],
    );
    await farHas('192.0.2.2', attacker.mac);
    for (const number of [1, 2]) {
      const { netns } = fabric.node(number).node;
      const route = netns.json<{ dev: string }[]>('ip', '-json', 'route', 'get', `192.0.2.${3 - number}`);
      assert.equal(route[0]?.dev, 'underlay');
    }
    assert.ok(attacker.arping(remote.ip) && remote.arping(victim.ip));
    await fabric.node(1).frr.established(1);
    configure();
    await farHas('192.0.2.2', undefined);
  });

  test('a rejected message changes a neighbor that the kernel keeps current only until the next run', async () => {
    configure({ neighbor_state: 'auto' });
    const forged = '02:66:00:00:00:01';
    const counters = countersOf(near);
    attacker.send(
      garp(forged, victim.ip, { source: attacker.mac }),
      advert(forged, victim.ip6, { source: attacker.mac }),
    );
    assert.deepEqual(grown(counters, countersOf(near)), { spoofed: 2 });
    for (const ip of [victim.ip, victim.ip6]) {
      assert.equal(macAt(1, ip), forged, 'the kernel checks less');
      assert.equal(bindingOf(near, ip)?.mac, victim.mac);
    }
    assert.deepEqual(run(near).confirms, { sent: 2, answered: 2 });
    for (const ip of [victim.ip, victim.ip6]) assert.equal(macAt(1, ip), victim.mac);
    for (const ip of [victim.ip, victim.ip6]) await farHas(ip, victim.mac);
    configure();
  });

  test("an attacker's announcement at the other node is not learned from the tunnel that it would come through", async () => {
    const counters = countersOf(near);
    fabric.vm(2, 2).send(garp(fabric.vm(2, 2).mac, victim.ip));
    remote.arping(victim.ip);
    assert.equal(grown(counters, countersOf(near))['moved'], undefined);
    assert.equal(bindingOf(near, victim.ip)?.mac, victim.mac);
    assert.deepEqual(run(near).neighbors.changes, []);
    assert.equal(macAt(1, victim.ip), victim.mac);
  });

  test('the address of a host at another node goes to a local MAC that claims it, until its own node has probed it', async () => {
    attacker.send(garp(attacker.mac, remote.ip));
    const report = run(near);
    assert.equal(report.confirms.sent, 0, 'no probe leaves through the tunnel');
    assert.deepEqual(
      report.neighbors.changes.map(({ kind, ip, mac }) => `${kind} ${ip} ${mac}`),
      [`replace ${remote.ip} ${attacker.mac}`],
    );
    await farHas(remote.ip, attacker.mac);
    const back = run(far);
    assert.ok(back.probes.sent >= 1);
    assert.deepEqual(
      back.neighbors.changes
        .filter(({ ip }) => ip === remote.ip)
        .map(({ kind, ip, mac }) => `${kind} ${ip} ${mac}`),
      [`replace ${remote.ip} ${remote.mac}`],
    );
    await nodeHas(1, remote.ip, remote.mac);
    assert.deepEqual(
      run(near).neighbors.changes.filter(({ ip }) => ip === remote.ip),
      [],
      'an old claim no longer counts',
    );
  });

  test('an old claim does not count either once the host of the other node is gone, until the claimant answers for the address', async () => {
    const { netns } = fabric.node(2).node;
    netns.run('ip', 'link', 'set', remote.port, 'nomaster');
    run(far);
    await nodeHas(1, remote.ip, undefined);
    assert.deepEqual(run(near).neighbors.changes, []);
    const claim = bindingOf(near, remote.ip);
    assert.equal(claim?.state, 'waiting');
    assert.equal(
      claim?.because,
      'its MAC has changed, and it has not answered a probe since it was last seen',
    );
    // It takes over for good.
    attacker.run('ip', 'address', 'add', `${remote.ip}/16`, 'dev', 'eth0');
    await until(
      'it to be probed again, and to have the neighbor',
      () => {
        run(near);
        return macAt(1, remote.ip);
      },
      (mac) => mac === attacker.mac,
    );
    await farHas(remote.ip, attacker.mac);
    attacker.run('ip', 'address', 'del', `${remote.ip}/16`, 'dev', 'eth0');
    netns.run('ip', 'link', 'set', remote.port, 'master', BRIDGE);
    remote.gratuitous();
    run(far);
    await nodeHas(1, remote.ip, remote.mac);
  });

  test('a claim to MAC and address of a host at another node is treated as a move, until the host sends again', async () => {
    attacker.send(garp(remote.mac, remote.ip));
    const changes = run(near).neighbors.changes.filter(({ ip }) => ip === remote.ip);
    assert.deepEqual(
      changes.map(({ mac }) => mac),
      [remote.mac],
    );
    await until(
      'the MAC to be behind the tunnel at its own node',
      () => findFdb(fabric.node(2).node.netns, BRIDGE, remote.mac)[0]?.ifname,
      (port) => port === `vxlan${fabric.vni}`,
    );
    remote.gratuitous();
    run(far);
    run(near);
    await nodeHas(1, remote.ip, remote.mac);
    await until(
      'the MAC to be behind the tunnel',
      () => findFdb(fabric.node(1).node.netns, BRIDGE, remote.mac)[0]?.ifname,
      (port) => port === `vxlan${fabric.vni}`,
    );
  });

  test('a static entry protects the address of a host at another node as well', async () => {
    configure({ static: [{ ip: remote.ip, mac: remote.mac }] });
    const counters = countersOf(near);
    attacker.send(garp(attacker.mac, remote.ip));
    assert.deepEqual(grown(counters, countersOf(near)), { static: 1 });
    assert.deepEqual(run(near).neighbors.changes, []);
    assert.equal(macAt(1, remote.ip), remote.mac);
    configure();
  });
});

describe("the node's own addresses", () => {
  test('on a device above the bridge are no host’s, nor is one that the bridge got after the last run', () => {
    const scope = new Scope();
    try {
      const node = new Node(scope, { name: 'n1' });
      const vm = node.addVm({ id: 101 });
      node.netns.ipBatch([
        `link add ${BRIDGE}-v0 link ${BRIDGE} address 00:00:5e:00:01:01 type macvlan mode private`,
        `address add 10.1.0.254/32 dev ${BRIDGE}-v0`,
        `link set ${BRIDGE}-v0 up`,
      ]);
      const snoopy = new Snoopy(scope, node.netns, { bridges: [{ name: BRIDGE, subnets: 'any' }] });
      run(snoopy);
      vm.gratuitous('10.1.0.254');
      vm.gratuitous('10.1.0.253');
      assert.equal(countersOf(snoopy)['subnet'], 1);
      node.netns.ipBatch([`address add 10.1.0.253/16 dev ${BRIDGE}`]);
      const report = run(snoopy);
      assert.deepEqual(report.neighbors.changes, []);
      assert.deepEqual(snoopy.bindings(), []);
      vm.gratuitous('10.1.0.253');
      assert.equal(countersOf(snoopy)['subnet'], 2);
    } finally {
      scope.close();
    }
  });
});

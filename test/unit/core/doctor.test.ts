// doctor's checks that no test machine can fail: garbage collection, and zebra's answers about a neighbor.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type IfIndex, type IpAddress, type Mac, parseIp, parseMac } from '../../../src/base/address.ts';
import { problemOf } from '../../../src/base/errors.ts';
import { findBlocker } from '../../../src/core/blockers.ts';
import type { Check, Findings } from '../../../src/core/doctor/check.ts';
import { diagnose, reportOf } from '../../../src/core/doctor/diagnose.ts';
import type { Frr, FrrNeighbor } from '../../../src/core/frr.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import { plan } from '../../../src/core/plan.ts';
import type { Port } from '../../../src/core/topology.ts';
import { missingIn, relevantTo } from '../../../src/core/zebra.ts';
import { readDuplicates, readFrr } from '../../../src/host/frr.ts';
import { NTF_EXT_LEARNED } from '../../../src/netlink/neighbor.ts';
import type { PortVlans } from '../../../src/netlink/vlan.ts';
import { ROOT } from '../golden.ts';
import { readCase, withForgotten } from './case.ts';

/** A machine after a finished run, with one neighbor of ours, and the further input of doctor. */
function findings(
  overrides: Partial<Findings> = {},
  folder = 'unprotected-noarp-entries-are-written-again-in-time',
): Findings {
  const { configuration, desired, observed, hosts, topology } = readCase(
    `${ROOT}test/unit/core/cases/${folder}`,
  );
  return {
    configuration,
    desired,
    observed,
    hosts,
    topology,
    plan: planHosts(topology, hosts, { protocol: desired.runtime.neighborProtocol, whole: true }),
    due: plan(desired, topology, observed, { whole: true }),
    rejections: [],
    counters: {
      sightings: 0,
      ignored: 0,
      hints: 0,
      created: 0,
      moved: 0,
      duplicates: 0,
      rejected: {},
      ringDropped: 0,
    },
    host: {
      kernel: '6.1.0',
      libbpf: '1.1',
      loadFailure: null,
      missingCapabilities: [],
      bpffsShared: true,
      sharesMounts: true,
      hasMountPoint: true,
      lastSuccessAgeMs: 1000,
      gcThresholds: null,
    },
    devices: new Map(),
    vlanOptions: new Map(),
    rivals: new Map(),
    frr: { kind: 'absent' },
    unconfigured: null,
    ...overrides,
  };
}

function check(all: Findings, id: string): Check {
  const checks = diagnose(all).filter((one) => one.id === id);
  const [found] = [...checks.filter(({ status }) => status !== 'ok'), ...checks];
  assert.ok(found, id);
  return found;
}

describe('gc_thresh', () => {
  const withThresholds = (first: number, soft: number, hard: number): Findings => {
    const base = findings();
    return findings({
      host: { ...base.host, gcThresholds: { ipv4: [first, soft, hard], ipv6: [128, 512, 1024] } },
    });
  };

  test('is a warning where neighbors are not exempt from garbage collection', () => {
    const { hosts } = findings();
    const count = hosts.neighbors.length;
    assert.equal(check(withThresholds(count + 1, count + 2, count + 3), 'gc-thresh').status, 'ok');
    const collected = check(withThresholds(count, count + 1, count + 2), 'gc-thresh');
    assert.equal(collected.status, 'warning');
    assert.match(collected.remedy ?? '', /^run at least every 30 s, or: sysctl -w /);
    assert.equal(check(withThresholds(1, count, count + 1), 'gc-thresh').status, 'warning');
    const full = check(withThresholds(1, 1, count), 'gc-thresh');
    assert.equal(full.status, 'failure');
    assert.equal(full.subject, 'ipv4');
    assert.match(full.remedy ?? '', /^sysctl -w net\.ipv4\.neigh\.default\.gc_thresh1=\d+ .*gc_thresh3=\d+$/);
  });

  test('is no warning where they are exempt', () => {
    const base = findings({}, 'a-neighbor-is-kept-while-its-host-is-silent');
    const strict = findings(
      { host: { ...base.host, gcThresholds: { ipv4: [0, 0, 0], ipv6: [0, 0, 0] } } },
      'a-neighbor-is-kept-while-its-host-is-silent',
    );
    assert.ok(strict.hosts.neighbors.length > 0);
    assert.equal(check(strict, 'gc-thresh').status, 'ok');
    // zebra has replaced one of our entries, which keeps our protocol number; the kernel never collects such an entry.
    const [ours] = strict.hosts.neighbors;
    assert.ok(ours);
    const taken = { ...ours, ip: '10.0.0.99' as IpAddress, flags: NTF_EXT_LEARNED, extFlags: 0 };
    const hosts = { ...strict.hosts, neighbors: [...strict.hosts.neighbors, taken] };
    assert.equal(check({ ...strict, hosts }, 'gc-thresh').status, 'ok');
  });
});

describe('a neighbor that is installed and not advertised', () => {
  const base = findings();
  const verdict = base.plan.decisions.find(({ state, due }) => state === 'installed' && !due);
  assert.ok(verdict);
  const { ip, mac, device } = verdict;
  const other = parseMac('02:00:00:00:99:99') as Mac;
  const whole: FrrNeighbor = { mac, isLocal: true, isActive: true, isProxy: false, isDuplicate: false };

  function checkWith(
    entry: FrrNeighbor | undefined,
    isAdvertised = false,
    isHere = true,
    facts: Findings = base,
  ): Check {
    const table = new Map<IpAddress, FrrNeighbor>(entry === undefined ? [] : [[ip, entry]]);
    // The other neighbors of the case have no complaint.
    for (const each of base.plan.decisions) {
      if (each.ip !== ip) table.set(each.ip, { ...whole, mac: each.mac });
    }
    const frr: Frr = {
      vnis: [{ vni: 7, svi: device }],
      l3Vnis: new Set(),
      neighbors: new Map([[7, table]]),
      duplicates: new Map([
        [7, { macs: new Map([[mac, isHere]]), advertised: new Set(isAdvertised ? [ip] : []) }],
      ]),
      advertiseAllVni: true,
      peers: [],
    };
    return check({ ...facts, frr: { kind: 'answered', frr } }, 'advertised');
  }

  test('has a fix for each reason', () => {
    assert.equal(checkWith(whole).status, 'ok');
    for (const [entry, status, reason, remedy] of [
      [
        undefined,
        'failure',
        /does not have the neighbor/,
        /^wait five minutes, in which a run writes it anew .*; then: vtysh -c "show evpn arp-cache vni 7 ip/,
      ],
      [{ ...whole, isLocal: false }, 'failure', /a route of another node/, /bridge fdb show/],
      [{ ...whole, mac: other }, 'failure', /another MAC/, /^wait five minutes/],
      [{ ...whole, isDuplicate: true }, 'failure', /frozen .* duplicate/, /clear evpn dup-addr vni 7 mac/],
      [
        { ...whole, isActive: false },
        'failure',
        /local inactive in zebra, which has no local MAC for it/,
        /^bridge fdb del 02:[0-9a-f:]+ dev tap\d+ master; then let the host send/,
      ],
    ] as const) {
      const found = checkWith(entry);
      assert.equal(found.status, status, found.found);
      assert.match(found.found, reason);
      assert.match(found.remedy ?? '', remedy);
      assert.deepEqual(found.items, [ip]);
    }
    const forgotten = checkWith({ ...whole, isActive: false }, false, true, withForgotten(base, ip));
    assert.equal(forgotten.status, 'warning');
    assert.match(forgotten.found, /local inactive in zebra: the bridge has no local entry/);
    assert.match(forgotten.remedy ?? '', /let the host send/);
    assert.deepEqual(
      [checkWith({ ...whole, isProxy: true })].map(({ status, items }) => [status, items]),
      [['ok', []]],
    );
    // zebra's own state does not tell: FRR 10.3 has it as active even when its route is withdrawn.
    const marked = checkWith({ ...whole, isDuplicate: true, isActive: false }, true);
    assert.equal(marked.status, 'warning');
    assert.match(marked.found, /marked .* duplicate/);
    const silent = checkWith({ ...whole, isDuplicate: true, isActive: false }, false, false);
    assert.match(silent.found, /local inactive/);
  });

  test('has the VLAN in the command for a MAC that zebra has missed, on a VLAN-aware bridge', () => {
    const frr = {
      neighbors: new Map([[7, new Map([[ip, { ...whole, isActive: false }]])]]),
      duplicates: new Map(),
    };
    const port = {
      ifIndex: 3 as IfIndex,
      name: 'tap9',
      pvid: 10,
      vlans: [{ start: 10, end: 10, untagged: true }],
    };
    const commandOn = (vlans: Port['vlans']) =>
      findBlocker({ ip, mac, vlan: 10 }, 7, frr, { kind: 'local', port: { ...port, vlans } })?.fix.split(
        ';',
      )[0];
    assert.equal(commandOn(port.vlans), `bridge fdb del ${mac} dev tap9 master vlan 10`);
    assert.equal(commandOn([]), `bridge fdb del ${mac} dev tap9 master`);
  });

  test('is looked up in each VNI of its device', () => {
    const elsewhere: Frr['neighbors'] = new Map(
      [8, 9].map((vni) => [vni, new Map<IpAddress, FrrNeighbor>()]),
    );
    for (const vni of [8, 9]) {
      const tables = new Map(base.plan.decisions.map((one) => [one.ip, { ...whole, mac: one.mac }]));
      const frr: Frr = {
        vnis: [8, 9].map((each) => ({ vni: each, svi: device })),
        l3Vnis: new Set(),
        neighbors: new Map([...elsewhere, [vni, tables]]),
        duplicates: new Map(),
        advertiseAllVni: true,
        peers: [],
      };
      assert.equal(check({ ...base, frr: { kind: 'answered', frr } }, 'advertised').status, 'ok');
      const [entry] = base.hosts.neighbors.filter((one) => one.ip === ip);
      assert.ok(entry && device);
      const relevant = relevantTo(frr, [{ device, entry }]);
      assert.deepEqual([relevant.length, missingIn(frr, relevant)], [1, []]);
    }
  });
});

test('a glob has the bridges that it serves, without those of a name or of an earlier glob', () => {
  const checks = diagnose(findings({}, 'names-go-before-globs-and-earlier-globs-before-later'));
  assert.deepEqual(
    checks.filter(({ id }) => id === 'glob').map(({ subject, found }) => [subject, found]),
    [
      ['*', 'vx6'],
      ['vx[0-9]', 'serves no bridge now'],
    ],
  );
});

test('the MAC of a host that another node of its Ethernet segment has seen has an address', () => {
  const folder = 'a-host-that-sends-to-another-node-of-its-ethernet-segment-is-probed-at-once';
  const base = findings({}, folder);
  const mac = '02:00:00:00:00:0a' as Mac;
  const withProxy = (isProxy: boolean): Findings => {
    const entry: FrrNeighbor = { mac, isLocal: true, isActive: true, isProxy, isDuplicate: false };
    const frr: Frr = {
      vnis: [{ vni: 100, svi: 'br0' }],
      l3Vnis: new Set(),
      neighbors: new Map([[100, new Map([['10.0.0.10' as IpAddress, entry]])]]),
      duplicates: new Map(),
      advertiseAllVni: true,
      peers: [],
    };
    // This node has seen no message of it.
    const hosts = { ...base.hosts, bindings: [] };
    const decided = planHosts(base.topology, hosts, { protocol: 115, whole: true });
    return { ...base, hosts, plan: decided, frr: { kind: 'answered', frr } };
  };
  assert.equal(check(withProxy(true), 'silent').status, 'ok');
  assert.equal(check(withProxy(false), 'silent').status, 'warning');
});

describe('a single VXLAN device', () => {
  const base = findings({}, 'vlan-aware-bridge');
  const found = [...base.observed.links.values()].find(({ name }) => name === 'vxlan100');
  assert.ok(found);
  const tunnel = { ...found, vxlan: { vni: 0, learning: false, external: true } };
  const [bridge] = base.topology.bridges;

  /** `id subject status` of the checks of its VNIs, with one VNI that zebra knows and one of a VRF. */
  function vnisOf(vnis: PortVlans['vnis']): string[] {
    const { ifIndex } = tunnel;
    const observed = {
      ...base.observed,
      links: new Map([...base.observed.links, [ifIndex, tunnel]]),
      portVlans: new Map([...base.observed.portVlans, [ifIndex, { ifIndex, pvid: 0, ranges: [], vnis }]]),
    };
    const frr: Frr = {
      vnis: [{ vni: 1010, svi: bridge?.domains.get(10)?.deviceName ?? null }],
      l3Vnis: new Set([1012]),
      neighbors: new Map(),
      duplicates: new Map(),
      advertiseAllVni: true,
      peers: [],
    };
    return diagnose({ ...base, observed, frr: { kind: 'answered', frr } })
      .filter(({ id }) => id === 'vni' || id === 'neighbor-device')
      .map(({ id, subject, status }) => `${id} ${subject} ${status}`);
  }

  test('is checked VNI by VNI, one for each of its VLANs', () => {
    assert.deepEqual(vnisOf([{ start: 10, end: 12, vni: 1010 }]), [
      'vni VNI 1010 ok',
      'neighbor-device VNI 1010 ok',
      'vni VNI 1011 failure',
      'vni VNI 1012 ok',
    ]);
  });

  test('without VNIs is reported as having none', () => {
    assert.deepEqual(vnisOf([]), ['vni vxlan100 warning']);
  });
});

test('a failure makes the report fail, a warning does not', () => {
  const all = diagnose(findings());
  assert.ok(all.some(({ status }) => status === 'warning'));
  assert.equal(reportOf(all.filter(({ status }) => status !== 'failure')).ok, true);
  const loadFailure = problemOf(new Error('no BTF'), 'snoopy');
  const broken = diagnose(findings({ host: { ...findings().host, loadFailure } }));
  assert.equal(reportOf(broken).ok, false);
});

describe("FRR's answers", () => {
  test('are read in the form of FRR 8.4.4', () => {
    const frr = readFrr(
      [
        { vni: 100, type: 'L2', vxlanInterface: 'vxlan100', sviInterface: 'br0' },
        { vni: 5000, type: 'L3', vxlanIntf: 'vxlan5000', sviIf: 'br5' },
      ],
      {
        100: {
          numArpNd: 1,
          '2001:DB8::0001': {
            type: 'local',
            state: 'inactive',
            mac: '02:00:00:00:01:01',
            isDuplicate: false,
          },
        },
      },
      { advertiseAllVnis: 'Enabled', numVnis: 1 },
      { peers: { '192.0.2.2': { state: 'Established' }, swp1: { state: 'Active' } } },
    );
    assert.deepEqual(frr.vnis, [{ vni: 100, svi: 'br0' }]);
    assert.deepEqual([...frr.l3Vnis], [5000]);
    assert.deepEqual(
      [...(frr.neighbors.get(100)?.entries() ?? [])],
      [
        [
          parseIp('2001:db8::1'),
          { mac: '02:00:00:00:01:01', isLocal: true, isActive: false, isProxy: false, isDuplicate: false },
        ],
      ],
    );
    assert.equal(frr.advertiseAllVni, true);
    assert.deepEqual(frr.peers, [
      { name: '192.0.2.2', state: 'Established' },
      { name: 'swp1', state: 'Active' },
    ]);
  });

  test('about the neighbors of Ethernet segments say for which the node is a proxy, as FRR 8.4.4 and 10.3 print them', () => {
    const entry = { type: 'local', state: 'active', mac: '02:00:00:00:01:01', isDuplicate: false };
    const lines: readonly (readonly [string, object])[] = [
      ['10.1.1.1', { ...entry, peerProxy: true }],
      ['10.1.1.2', { ...entry, localInactive: true, peerActive: true }],
      ['10.1.1.3', { ...entry, localInactive: true, peerProxy: true }],
      ['10.1.1.4', { ...entry, localInactive: true }],
    ];
    const frr = readFrr([], { 100: { numArpNd: 4, ...Object.fromEntries(lines) } }, {}, {});
    assert.deepEqual(
      [...(frr.neighbors.get(100) ?? [])].map(([ip, { isActive, isProxy }]) => [ip, isActive, isProxy]),
      [
        ['10.1.1.1', true, false],
        ['10.1.1.2', true, true],
        ['10.1.1.3', false, false],
        ['10.1.1.4', false, false],
      ],
    );
  });

  test('about duplicates have their MACs, and the addresses of the paths without a peer', () => {
    const path = { valid: true, bestpath: true, mac: '02:00:00:00:01:01', ipLen: 32 };
    const { macs, advertised } = readDuplicates(
      { numMacs: 1, macs: { '02:00:00:00:01:01': { type: 'local', isDuplicate: true } } },
      {
        '[2]:[0]:[48]:[02:00:00:00:01:01]': { paths: [[{ ...path, peerId: '(unspec)' }]] },
        '[2]:[0]:[48]:[02:00:00:00:01:01]:[32]:[10.1.1.1]': {
          paths: [[{ ...path, ip: '10.1.1.1', peerId: '(unspec)' }]],
        },
        '[2]:[0]:[48]:[02:00:00:00:01:01]:[32]:[10.1.1.2]': {
          paths: [[{ ...path, ip: '10.1.1.2', peerId: '192.0.2.2' }]],
        },
        numPrefix: 3,
        numPaths: 3,
      },
    );
    assert.deepEqual([...macs], [['02:00:00:00:01:01', true]]);
    assert.deepEqual([...advertised], ['10.1.1.1']);
  });

  test('are empty when they have an unknown form', () => {
    for (const odd of [null, [], {}, 'text', 7, [null, 'x', { vni: 'x' }]]) {
      const { macs, advertised } = readDuplicates(odd, odd);
      assert.deepEqual([macs.size, advertised.size], [0, 0]);
      const { vnis, neighbors, advertiseAllVni, peers } = readFrr(odd, odd, odd, odd);
      assert.deepEqual(
        [vnis, [...neighbors.values()].flatMap((table) => [...table]), advertiseAllVni],
        [[], [], false],
      );
      assert.deepEqual(peers, []);
    }
  });
});

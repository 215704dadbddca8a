// doctor: every complaint it can make is provoked here by its input. Tests on machines provoke them again.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import type { Problem } from '../../../src/base/errors.ts';
import type { BridgeEntry } from '../../../src/core/desired.ts';
import type { Findings } from '../../../src/core/doctor/check.ts';
import { diagnose, reportOf } from '../../../src/core/doctor/diagnose.ts';
import type { Frr, FrrNeighbor } from '../../../src/core/frr.ts';
import type { Decision } from '../../../src/core/neighbors/decide.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import { plan } from '../../../src/core/plan.ts';
import type { Bridge } from '../../../src/core/topology.ts';
import type { SeenHint } from '../../../src/datapath/records/seen-hint.ts';
import { ForwardingTable } from '../../../src/netlink/forwarding-table.ts';
import type { Link } from '../../../src/netlink/link.ts';
import { renderDoctor } from '../../../src/render/doctor.ts';
import type { RenderOptions } from '../../../src/render/style.ts';
import { assertGolden, ROOT } from '../golden.ts';
import { readCase, withForgotten } from './case.ts';

const PLAIN: RenderOptions = { color: false, diff: false, verbose: false, width: 80 };
const { configuration, desired, observed, hosts, topology } = readCase(
  `${ROOT}test/unit/core/cases/unprotected-noarp-entries-are-written-again-in-time`,
);
const [BRIDGE, PORT, TUNNEL] = [1, 2, 4] as IfIndex[] as [IfIndex, IfIndex, IfIndex];

/** Changes what is known of a link. */
function withLink(base: Findings, ifIndex: IfIndex, change: Partial<Link>): Findings {
  const link = base.observed.links.get(ifIndex);
  assert.ok(link);
  const links = new Map(base.observed.links).set(ifIndex, { ...link, ...change });
  return { ...base, observed: { ...base.observed, links } };
}

function withTunnel(base: Findings, learning: boolean, neighSuppress: boolean): Findings {
  const link = {
    vxlan: { vni: 100, learning: false, external: false },
    bridgePort: { learning, neighSuppress },
  };
  return withLink(base, TUNNEL, link as Partial<Link>);
}

function withBridge(base: Findings, change: Partial<Bridge>): Findings {
  const bridges = base.topology.bridges.map((bridge) => ({ ...bridge, ...change }));
  return { ...base, topology: { ...base.topology, bridges } };
}

/** Makes the bridge VLAN-aware; its hosts and the tunnel port send without a tag, in this VLAN. */
function withUntaggedVlan(base: Findings, vlan: number): Findings {
  const ranges = [{ start: vlan, end: vlan, untagged: true }];
  const portVlans = new Map([[TUNNEL, { ifIndex: TUNNEL, pvid: vlan, ranges, vnis: [] }]]);
  const decisions = base.plan.decisions.map((decision) => ({ ...decision, vlan }));
  const domains = new Map(
    topology.bridges.flatMap(({ domains }) => [...domains.values()]).map((one) => [vlan, { ...one, vlan }]),
  );
  return {
    ...withBridge(base, { vlanAware: true, ownVlan: vlan, domains }),
    observed: { ...base.observed, portVlans },
    plan: { ...base.plan, decisions },
  };
}

/** Suppression is set for each VLAN of the tunnel port, and off on the port itself. */
function withVlanSuppression(base: Findings, neighSuppress: boolean): Findings {
  const bridgePort = { learning: false, neighSuppress: false, neighVlanSuppress: true };
  const options = { start: 1, end: 9, untagged: false, isPvid: false, neighSuppress };
  const vlanOptions = new Map([[TUNNEL, [options]]]);
  return { ...withLink(withUntaggedVlan(base, 1), TUNNEL, { bridgePort } as Partial<Link>), vlanOptions };
}

/** Adds a host to those of the machine. */
function withHost(base: Findings, change: Partial<Decision>): Findings {
  const [first] = base.plan.decisions;
  assert.ok(first);
  return { ...base, plan: { ...base.plan, decisions: [...base.plan.decisions, { ...first, ...change }] } };
}

function withHostFacts(base: Findings, change: Partial<Findings['host']>): Findings {
  return { ...base, host: { ...base.host, ...change } };
}

const decided = planHosts(topology, hosts, { protocol: desired.runtime.neighborProtocol, whole: true });
const FRR: Frr = {
  vnis: [{ vni: 100, svi: 'br0' }],
  l3Vnis: new Set(),
  neighbors: new Map([
    [
      100,
      new Map(
        decided.decisions.map(({ ip, mac }) => [
          ip,
          { mac, isLocal: true, isActive: true, isProxy: false, isDuplicate: false },
        ]),
      ),
    ],
  ]),
  duplicates: new Map(),
  advertiseAllVni: true,
  peers: [{ name: '192.0.2.2', state: 'Established' }],
};

function withFrr(base: Findings, change: Partial<Frr>): Findings {
  return { ...base, frr: { kind: 'answered', frr: { ...FRR, ...change } } };
}

const [[FIRST, ENTRY] = assert.fail('no host'), ...REST] = FRR.neighbors.get(100) ?? [];

/** zebra's answer about the hosts, with something else about the first one, or without it. */
function withFirst(change: Partial<FrrNeighbor> | null): Frr['neighbors'] {
  return new Map([[100, new Map(change === null ? REST : [[FIRST, { ...ENTRY, ...change }], ...REST])]]);
}

/** FRR's duplicate address detection has marked the first host, and perhaps its MAC, and perhaps withdrawn its route. */
function withDuplicate(base: Findings, isOfMac: boolean, isAdvertised: boolean): Findings {
  const macs = new Map(isOfMac ? [[ENTRY.mac, true]] : []);
  const advertised = new Set(isAdvertised ? [FIRST] : []);
  const duplicates = new Map([[100, { macs, advertised }]]);
  return withFrr(base, { neighbors: withFirst({ isDuplicate: true }), duplicates });
}

const SILENT_MAC = '02:00:00:00:ff:00' as Mac;

/** The bridge forwards these MACs to a local port. */
function withForwarded(base: Findings, ...macs: readonly Mac[]): Findings {
  const table = new ForwardingTable();
  for (const mac of macs) table.push({ vlan: 0, mac, port: PORT });
  return { ...base, hosts: { ...base.hosts, forwarding: new Map([[BRIDGE, table]]) } };
}

function thousandMacs(): Mac[] {
  return Array.from(
    { length: 1000 },
    (_, i) => `02:00:00:01:${i.toString(16).padStart(4, '0').replace(/../, '$&:')}` as Mac,
  );
}

/** A local host has sent a message that only hints at its address, and answers no probe. */
function withHint(base: Findings, kind: SeenHint['kind']): Findings {
  const mac = SILENT_MAC;
  const { nowMs } = base.hosts;
  const hint: SeenHint = {
    bridge: BRIDGE,
    port: PORT,
    slot: 0,
    vlan: 0,
    ip: '2001:db8::c' as IpAddress,
    mac,
    kind,
    probes: 1,
    seenMs: nowMs - 60_000,
    probedMs: nowMs - 1_000,
  };
  const forwarded = withForwarded(base, mac);
  return { ...forwarded, hosts: { ...forwarded.hosts, seenHints: [hint] } };
}

/** A healthy machine. */
const HEALTHY: Findings = withTunnel(
  {
    configuration,
    desired,
    observed,
    hosts,
    topology,
    plan: decided,
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
    devices: new Map([[BRIDGE, { disableIpv6: false, macPinned: true }]]),
    vlanOptions: new Map(),
    rivals: new Map(),
    frr: { kind: 'answered', frr: FRR },
    unconfigured: null,
  },
  false,
  true,
);

const NO_BTF: Problem = {
  code: 'load_failed',
  object: 'snoopy',
  operation: 'load the eBPF program "snoopy"',
  cause: 'EINVAL (no BTF)',
  fix: 'boot a kernel with BTF',
};
const BRIDGE_MISSING: Problem = {
  code: 'bridge_missing',
  object: 'br9',
  operation: 'use bridge "br9"',
  cause: 'it does not exist',
  fix: 'create it',
};
const RIVALS: Findings['rivals'] = new Map([[PORT, [{ kind: 'filter', name: 'filter u32 pref 1' }]]]);
const WITHOUT_IPV6: Findings['devices'] = new Map([[BRIDGE, { disableIpv6: true, macPinned: true }]]);
const thresholds = (first: number, soft: number, hard: number): Partial<Findings['host']> => ({
  gcThresholds: { ipv4: [first, soft, hard], ipv6: [128, 512, 1024] },
});

/** Each complaint, and an input that provokes it. */
const BROKEN: Readonly<Record<string, (base: Findings) => Findings>> = {
  'failure kernel': (base) => withHostFacts(base, { loadFailure: NO_BTF }),
  'warning capabilities': (base) => withHostFacts(base, { missingCapabilities: ['CAP_NET_RAW'] }),
  'warning bpffs': (base) => ({ ...base, observed: { ...base.observed, bpffsMounted: false } }),
  'failure bpffs': (base) => withHostFacts(base, { bpffsShared: false }),
  'warning pins': (base) => withLoadReason(base, 'program'),
  'failure pins': (base) => withLoadReason(base, 'absent'),
  'warning last-run': (base) => withHostFacts(base, { lastSuccessAgeMs: null }),
  'warning due': (base) => ({ ...base, due: [{ kind: 'unpin', path: '/x' }] }),
  'warning table': (base) => withMaxBindings(base, base.hosts.bindings.length + 1),
  'failure table': (base) => withMaxBindings(base, base.hosts.bindings.length),
  'warning ring': (base) => ({ ...base, counters: { ...base.counters, ringDropped: 1 } }),
  'warning gc-thresh': (base) => withHostFacts(base, thresholds(1, 100, 200)),
  'failure gc-thresh': (base) => withHostFacts(base, thresholds(1, 1, 1)),
  'warning bridge': (base) => withEntries(base, []),
  'warning configuration': (base) => ({
    ...base,
    unconfigured: { path: '/etc/snoopy/snoopy.yaml', node: '20.19.2' },
  }),
  'warning unnamed': (base) => withEntries(base, []),
  'warning glob': (base) => ({
    ...withEntries(base, [{ name: 'vx*', isGlob: true }]),
    desired: { ...base.desired, bridges: [] },
  }),
  'failure bridge': (base) => ({
    ...base,
    topology: {
      ...base.topology,
      problems: [BRIDGE_MISSING],
    },
  }),
  'warning ports': (base) => withBridge(base, { ports: [] }),
  'failure ports': (base) => ({ ...base, observed: { ...base.observed, attachments: new Map() } }),
  'warning chain': (base) => ({ ...base, rivals: RIVALS }),
  'failure chain': (base) => ({ ...base, rivals: RIVALS, hosts: { ...base.hosts, bindings: [] } }),
  'failure tunnel': (base) => withBridge(base, { tunnelPorts: new Set() }),
  'warning learning': (base) => withTunnel(base, true, true),
  'warning neigh-suppress': (base) => withTunnel(base, false, false),
  'warning bridge-mac': (base) => ({
    ...base,
    devices: new Map([[BRIDGE, { disableIpv6: false, macPinned: false }]]),
  }),
  'warning ipv6': (base) => ({ ...base, devices: WITHOUT_IPV6 }),
  'failure ipv6': (base) =>
    withHost({ ...base, devices: WITHOUT_IPV6 }, { ip: '2001:db8::1' as IpAddress, device: 'br0' }),
  'warning ageing': (base) => withAgeing(base, 1_300_000),
  'failure ageing': (base) => withAgeing(base, 0),
  'warning frr': (base) => ({ ...base, frr: { kind: 'absent' } }),
  'failure frr': (base) => ({
    ...base,
    frr: { kind: 'silent', daemon: 'zebra', message: 'vtysh fails', isLate: false },
  }),
  'failure advertise-all-vni': (base) => withFrr(base, { advertiseAllVni: false }),
  'warning peers': (base) => withFrr(base, { peers: [] }),
  'failure peers': (base) => withFrr(base, { peers: [{ name: '192.0.2.2', state: 'Active' }] }),
  'failure vni': (base) => withFrr(base, { vnis: [] }),
  'warning vni': (base) => withLink(base, TUNNEL, { vxlan: { vni: 0, learning: false, external: true } }),
  'warning neighbor-device': (base) => ({
    ...withBridge(base, { domains: new Map() }),
    plan: { ...base.plan, decisions: [] },
  }),
  'failure neighbor-device': (base) => withFrr(base, { vnis: [{ vni: 100, svi: null }] }),
  'warning limits': (base) => ({
    ...base,
    plan: { ...base.plan, fullPorts: [{ port: 'tap1', count: 1000, limit: 64 }] },
  }),
  'warning virtual-router': (base) => ({
    ...base,
    rejections: base.topology.bridges.slice(0, 1).map(({ ifIndex }) => ({
      bridge: ifIndex,
      vlan: 10,
      ip: '10.0.0.254' as IpAddress,
      reason: 'spoofed' as const,
      port: 2 as IfIndex,
      source: '02:00:00:00:00:0a' as Mac,
      claimed: '00:00:5e:00:01:07' as Mac,
      count: 1,
      firstMs: 0,
      lastMs: 0,
    })),
  }),
  'warning frozen': (base) => withHost(base, { state: 'frozen' }),
  'warning hosts': (base) => withHost(base, { state: 'waiting', because: 'its MAC is not in the FDB' }),
  'warning silent': (base) => withForwarded(base, SILENT_MAC),
  'warning hinted': (base) => withHint(base, 'unnamed'),
  'warning advertised': (base) =>
    withFrr(withForgotten(base, FIRST), { neighbors: withFirst({ isActive: false }) }),
  'failure advertised': (base) => withFrr(base, { neighbors: withFirst(null) }),
};

/** More inputs of complaints that have several causes, by what is wrong. */
const VARIANTS: Readonly<Record<string, readonly [complaint: string, (base: Findings) => Findings]>> = {
  'bpffs has no directory to be mounted on': [
    'failure bpffs',
    (base) => withHostFacts(base, { hasMountPoint: false }),
  ],
  'a thousand MACs without an address': ['warning silent', (base) => withForwarded(base, ...thousandMacs())],
  'two bridges that no entry names': ['warning unnamed', (base) => withEntries(withSecondBridge(base), [])],
  'a MAC without an address on a bridge of a glob': [
    'warning silent',
    (base) => withEntries(withForwarded(base, SILENT_MAC), [{ name: 'br*', isGlob: true }]),
  ],
  'a solicitation that is not learned from': ['warning hinted', (base) => withHint(base, 'solicitation')],
  'untagged hosts of a VLAN-aware bridge': [
    'failure neighbor-device',
    (base) => withFrr(withUntaggedVlan(base, 1), { vnis: [{ vni: 100, svi: null }] }),
  ],
  'suppression is off in a VLAN of a port that has it for each VLAN': [
    'warning neigh-suppress',
    (base) => withVlanSuppression(base, false),
  ],
  'two VNIs with one device': [
    'warning vni',
    (base) =>
      withFrr(base, {
        vnis: [
          { vni: 50, svi: 'br0' },
          { vni: 100, svi: 'br0' },
        ],
      }),
  ],
  'bgpd does not answer': [
    'failure frr',
    (base) => {
      const message = 'vtysh -c "show bgp l2vpn evpn vni json" fails: bgpd is not running';
      return { ...base, frr: { kind: 'silent', daemon: 'bgpd', message, isLate: false } };
    },
  ],
  'zebra has no VNI at all': ['warning advertised', (base) => withFrr(base, { vnis: [] })],
  'zebra has no VNI for this device': [
    'warning advertised',
    (base) => withFrr(base, { vnis: [{ vni: 7, svi: null }] }),
  ],
  'the MAC of a host that the bridge forwards is unknown to zebra': [
    'failure advertised',
    (base) => withFrr(base, { neighbors: withFirst({ isActive: false }) }),
  ],
  'a duplicate for FRR with a route': ['warning advertised', (base) => withDuplicate(base, true, true)],
  'a duplicate for FRR without a route': ['failure advertised', (base) => withDuplicate(base, true, false)],
  'a duplicate for FRR by its address alone': [
    'failure advertised',
    (base) => withDuplicate(base, false, false),
  ],
};

/** With a second bridge that has a tunnel port. */
function withSecondBridge(base: Findings): Findings {
  const [bridge, tunnel] = [BRIDGE, TUNNEL].map((ifIndex) => base.observed.links.get(ifIndex));
  assert.ok(bridge && tunnel);
  const [ifIndex, port] = [91, 92] as IfIndex[] as [IfIndex, IfIndex];
  const links = new Map(base.observed.links)
    .set(ifIndex, { ...bridge, ifIndex, name: 'vnet9' })
    .set(port, { ...tunnel, ifIndex: port, name: 'vxlan9', master: ifIndex });
  return { ...base, observed: { ...base.observed, links } };
}

/** With these entries, whose settings are those of the first one. */
function withEntries(base: Findings, changes: readonly Partial<BridgeEntry>[]): Findings {
  const [first] = base.configuration.entries;
  assert.ok(first);
  const entries = changes.map((change) => ({ ...first, ...change }));
  return { ...base, configuration: { ...base.configuration, entries } };
}

function withLoadReason(base: Findings, loadReason: 'program' | 'absent'): Findings {
  return { ...base, observed: { ...base.observed, datapath: { ...base.observed.datapath, loadReason } } };
}

function withMaxBindings(base: Findings, maxBindings: number): Findings {
  return { ...base, desired: { ...base.desired, runtime: { ...base.desired.runtime, maxBindings } } };
}

function withAgeing(base: Findings, ageingTimeMs: number): Findings {
  const bridge = base.observed.links.get(BRIDGE)?.bridge;
  assert.ok(bridge);
  return withLink(base, BRIDGE, { bridge: { ...bridge, ageingTimeMs } });
}

function complaintsOf(findings: Findings): string[] {
  return diagnose(findings)
    .filter(({ status }) => status !== 'ok')
    .map(({ status, id }) => `${status} ${id}`);
}

test('a healthy machine has no complaint', () => {
  assert.deepEqual(complaintsOf(HEALTHY), []);
});

for (const [complaint, breaks] of Object.entries(BROKEN)) {
  test(`${complaint}: has a fix`, () => {
    const broken = breaks(HEALTHY);
    const complaints = complaintsOf(broken);
    assert.ok(complaints.includes(complaint), complaints.join(', ') || 'nothing is found');
    for (const { status, remedy, why, id } of diagnose(broken)) {
      assert.equal(remedy === null, status === 'ok', id);
      assert.ok(why !== '' && remedy !== '', id);
    }
  });
}

for (const [what, [complaint, breaks]] of Object.entries(VARIANTS)) {
  test(`${what}: ${complaint}`, () => {
    const complaints = complaintsOf(breaks(HEALTHY));
    assert.ok(complaints.includes(complaint), complaints.join(', ') || 'nothing is found');
  });
}

test('suppression of each VLAN is no complaint, though the flag of the port is off', () => {
  const complaints = complaintsOf(withVlanSuppression(HEALTHY, true));
  assert.ok(!complaints.some((complaint) => complaint.endsWith('neigh-suppress')), complaints.join());
});

test('ports that the configuration leaves out are named', () => {
  const found = (base: Findings) => diagnose(base).find(({ id }) => id === 'ports')?.found;
  assert.equal(found(HEALTHY), 'all 2 attached');
  const ports = topology.bridges.flatMap((bridge) => bridge.ports.filter(({ ifIndex }) => ifIndex === PORT));
  assert.equal(found(withBridge(HEALTHY, { ports })), 'all 1 attached; left out by "ports": tap2');
});

test('each complaint has its exact wording', () => {
  const texts = [...Object.entries(BROKEN), ...Object.values(VARIANTS)].map(([complaint, breaks]) => {
    const [status, id] = complaint.split(' ');
    const checks = diagnose(breaks(HEALTHY)).filter((check) => check.status === status && check.id === id);
    return renderDoctor({ ...reportOf(checks), checks }, PLAIN).replace(/[^\n]+\n$/, '');
  });
  assertGolden('test/unit/render/snapshots/doctor-complaints.txt', texts.join('\n'));
});

test('rejected messages are reported only where no host is learned: elsewhere they may be an attack', () => {
  const refused = {
    ...HEALTHY,
    counters: { ...HEALTHY.counters, rejected: { subnet: 8, spoofed: 0, mac: 1 } },
  };
  assert.deepEqual(complaintsOf(refused), []);
  const unlearned = { ...refused, plan: { ...refused.plan, decisions: [] } };
  const found = diagnose(unlearned).find(({ id, status }) => id === 'hosts' && status === 'warning');
  assert.equal(found?.found, 'none is learned, and messages were rejected: 8 subnet, 1 mac');
  assert.match(found?.remedy ?? '', /snoopy explain IP/);
  assert.deepEqual(complaintsOf({ ...unlearned, counters: HEALTHY.counters }), []);
});

function sourcesIn(directory: string, pattern: RegExp): string {
  return readdirSync(`${ROOT}${directory}`)
    .filter((name) => pattern.test(name))
    .map((name) => readFileSync(`${ROOT}${directory}/${name}`, 'utf8'))
    .join('\n');
}

const known = [
  ...sourcesIn('src/core/doctor', /\.ts$/).matchAll(/\b(warning|failure)\(\s*'([a-z0-9-]+)'/g),
].map(([, status, id]) => ({ complaint: `${status} ${id}`, id: id ?? '' }));

test('this file has every complaint that doctor can make', () => {
  const complaints = new Set(known.map(({ complaint }) => complaint));
  assert.deepEqual(Object.keys(BROKEN).sort(), [...complaints].sort());
});

test('each check fails on a machine as well, except the one that only a whole host can show', () => {
  const tests = ['kernel', 'fabric', 'guest']
    .map((name) => sourcesIn(`test/${name}`, /\.test\.ts$/))
    .join('\n');
  const seen = (id: string): boolean =>
    new RegExp(`(warning|failure) ${id}\\b(?!-)|find\\((machine, )?'${id}'\\)|id === '${id}'`).test(tests);
  const unseen = [...new Set(known.map(({ id }) => id))].filter((id) => !seen(id));
  // gc_thresh1 to 3 exist only in the first network namespace, which tests do not change.
  assert.deepEqual(unseen, ['gc-thresh']);
});

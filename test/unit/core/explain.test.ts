// Stories: the output of explain for an address on the machines of the golden cases, word for word, in 80 columns.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type IfIndex, type IpAddress, type Mac, parseIp } from '../../../src/base/address.ts';
import { explain } from '../../../src/core/explain/explain.ts';
import { findPlaces } from '../../../src/core/explain/places.ts';
import { describeRejection } from '../../../src/core/explain/rejection.ts';
import type { ExplainReport } from '../../../src/core/explain/report.ts';
import type { Closeup } from '../../../src/core/explain/scene.ts';
import type { FrrAnswer, FrrHost, FrrNeighbor } from '../../../src/core/frr.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import { isReason, type RejectionReason } from '../../../src/datapath/records/counters.ts';
import type { Rejection } from '../../../src/datapath/records/rejection.ts';
import { COUNTERS } from '../../../src/generated/layouts.ts';
import { readFrrHost } from '../../../src/host/frr.ts';
import { renderExplain } from '../../../src/render/explain.ts';
import { renderJson } from '../../../src/render/json.ts';
import type { RenderOptions } from '../../../src/render/style.ts';
import { assertGolden, ROOT } from '../golden.ts';
import { type Case, readCase } from './case.ts';

const PLAIN: RenderOptions = { color: false, diff: false, verbose: false, width: 80 };
const A = '02:00:00:00:00:0a' as Mac;
const B = '02:00:00:00:00:0b' as Mac;

/** A healthy FRR that has VNI 100 for a device. */
function frr(
  svi: string | null = 'br0',
  changes: Partial<Extract<FrrAnswer, { kind: 'answered' }>['frr']> = {},
): FrrAnswer {
  const peers = [{ name: '192.0.2.2', state: 'Established' }];
  const vnis = [{ vni: 100, svi }];
  const nothing = { l3Vnis: new Set<number>(), neighbors: new Map(), duplicates: new Map() };
  return { kind: 'answered', frr: { vnis, ...nothing, advertiseAllVni: true, peers, ...changes } };
}

const ADVERTISED: FrrHost = {
  neighbor: { mac: A, isLocal: true, isActive: true, isProxy: false, isDuplicate: false },
  isMacDuplicate: false,
  tunnelEnd: null,
  route: { isLocal: true, nextHop: '192.0.2.1', peers: ['192.0.2.2'] },
};
/** zebra has its neighbor and no local MAC. */
const INACTIVE: FrrHost = {
  ...ADVERTISED,
  neighbor: { mac: A, isLocal: true, isActive: false, isProxy: false, isDuplicate: false },
  route: null,
};
const DUPLICATE: FrrHost = {
  ...ADVERTISED,
  neighbor: { mac: A, isLocal: true, isActive: true, isProxy: false, isDuplicate: true },
  isMacDuplicate: true,
};
const REMOTE: FrrHost = {
  neighbor: { mac: A, isLocal: false, isActive: true, isProxy: false, isDuplicate: false },
  isMacDuplicate: false,
  tunnelEnd: '192.0.2.2',
  route: { isLocal: false, nextHop: '192.0.2.2', peers: [] },
};
const NOTHING: FrrHost = { neighbor: null, isMacDuplicate: false, tunnelEnd: null, route: null };

const PROXY: FrrNeighbor = { mac: A, isLocal: true, isActive: true, isProxy: true, isDuplicate: false };
const SEGMENT = 'a-host-that-sends-to-another-node-of-its-ethernet-segment-is-probed-at-once';

interface Story {
  /** True for a story without a fault that has a fix nevertheless. */
  readonly hasAdvice?: true;
  readonly folder: string;
  /** True: only a glob matches the bridge. */
  readonly isOfGlob?: true;
  readonly ip: string;
  readonly frr?: FrrAnswer;
  readonly host?: FrrHost;
  readonly fdbAgeMs?: number;
  readonly rejected?: Partial<Rejection>;
}

function index({ observed }: Case, name: string): IfIndex {
  const link = [...observed.links.values()].find((one) => one.name === name);
  assert.ok(link, name);
  return link.ifIndex;
}

function reportOf(story: Story): ExplainReport {
  const golden = readCase(`${ROOT}test/unit/core/cases/${story.folder}`);
  const { configuration, desired, observed, hosts, topology } = golden;
  const ip = parseIp(story.ip);
  assert.ok(ip);
  const rejection: Rejection = {
    bridge: index(golden, 'br0'),
    vlan: 0,
    ip,
    reason: 'spoofed',
    port: index(golden, 'tap2'),
    source: B,
    claimed: A,
    count: 3,
    firstMs: hosts.nowMs - 300_000,
    lastMs: hosts.nowMs - 4_000,
    ...story.rejected,
  };
  const entries = configuration.entries.map((entry) => ({ ...entry, name: '*', isGlob: true }));
  const facts = {
    ip,
    configuration: story.isOfGlob ? { ...configuration, entries } : configuration,
    desired,
    topology,
    observed,
    hosts,
    plan: planHosts(topology, hosts, { protocol: desired.runtime.neighborProtocol, whole: true }),
    rejections: story.rejected === undefined ? [] : [rejection],
    frr: story.frr ?? { kind: 'absent' as const },
  };
  const places = findPlaces(facts, false);
  const closeups = places.map(
    ({ vnis: [vni = null] }): Closeup => ({
      fdbAgeMs: story.fdbAgeMs ?? null,
      vni,
      frr: vni === null ? null : (story.host ?? NOTHING),
    }),
  );
  return explain(facts, places, closeups);
}

/** Installed by a finished run. */
const RECONCILED = { folder: 'nothing-to-do', ip: '10.0.0.10', fdbAgeMs: 2_000 } as const;

const STORIES: Readonly<Record<string, Story & { readonly ok: boolean; readonly state: string | null }>> = {
  advertised: { ...RECONCILED, frr: frr(), host: ADVERTISED, ok: true, state: 'installed' },
  'a-claim-that-is-not-answered-for': {
    folder: 'an-old-claim-gets-no-neighbor-when-the-owner-is-gone',
    ip: '10.0.0.10',
    ok: false,
    state: 'waiting',
  },
  'installed-without-vtysh': { ...RECONCILED, ok: true, state: 'installed' },
  'installed-and-frr-without-answer': {
    ...RECONCILED,
    frr: {
      kind: 'silent',
      daemon: 'zebra',
      message: 'vtysh -c "show evpn vni detail json" fails: failed to connect',
      isLate: false,
    },
    ok: false,
    state: 'installed',
  },
  'installed-and-zebra-hangs': {
    ...RECONCILED,
    frr: {
      kind: 'silent',
      daemon: 'zebra',
      message: 'vtysh -c "show evpn vni detail json" fails: no answer in 10 s',
      isLate: true,
    },
    ok: false,
    state: 'installed',
  },
  'installed-and-bgpd-not-running': {
    ...RECONCILED,
    frr: {
      kind: 'silent',
      daemon: 'bgpd',
      message: 'vtysh -c "show bgp l2vpn evpn vni json" fails: bgpd is not running',
      isLate: false,
    },
    ok: false,
    state: 'installed',
  },
  'local-inactive': {
    ...RECONCILED,
    frr: frr(),
    host: INACTIVE,
    ok: false,
    state: 'installed',
  },
  'local-inactive-and-silent': {
    folder: 'a-neighbor-is-kept-while-its-host-is-silent',
    ip: '10.0.0.10',
    frr: frr(),
    host: INACTIVE,
    ok: false,
    state: 'installed',
  },
  'frozen-by-frr': {
    ...RECONCILED,
    frr: frr(),
    host: { ...DUPLICATE, route: null },
    ok: false,
    state: 'installed',
  },
  'marked-by-frr': {
    ...RECONCILED,
    frr: frr(),
    host: DUPLICATE,
    ok: true,
    hasAdvice: true,
    state: 'installed',
  },
  'sent-to-no-peer': {
    ...RECONCILED,
    frr: frr('br0', { peers: [{ name: '192.0.2.2', state: 'Active' }] }),
    host: { ...ADVERTISED, route: { isLocal: true, nextHop: '192.0.2.1', peers: [] } },
    ok: false,
    state: 'installed',
  },
  'not-in-bgp': {
    ...RECONCILED,
    frr: frr('br0', { advertiseAllVni: false }),
    host: { ...ADVERTISED, route: null },
    ok: false,
    state: 'installed',
  },
  'no-vni': { ...RECONCILED, frr: frr(null), ok: false, state: 'installed' },
  'rejected-beside-installed': {
    ...RECONCILED,
    frr: frr(),
    host: ADVERTISED,
    rejected: {},
    ok: true,
    state: 'installed',
  },
  due: {
    folder: 'the-same-address-in-two-vlans',
    ip: '10.0.0.10',
    frr: frr('br0.10'),
    ok: false,
    state: 'waiting',
  },
  'fdb-lost': {
    folder: 'a-neighbor-is-installed-only-where-the-bridge-forwards-the-mac',
    ip: '10.0.0.11',
    frr: frr(),
    ok: false,
    state: 'waiting',
  },
  'at-another-node': {
    folder: 'an-entry-of-zebra-for-a-remote-host-is-never-touched',
    ip: '10.0.0.10',
    frr: frr(),
    host: REMOTE,
    ok: true,
    state: 'remote',
  },
  'behind-the-tunnel-and-not-advertised': {
    folder: 'a-host-that-moved-behind-the-tunnel-loses-its-neighbor',
    ip: '10.0.0.10',
    frr: frr(),
    ok: false,
    state: 'remote',
  },
  'two-hosts-on-two-nodes': {
    folder: 'an-entry-of-zebra-with-another-mac-is-replaced-only-by-a-newer-claim',
    ip: '10.0.0.11',
    frr: frr(),
    host: REMOTE,
    ok: false,
    state: 'remote',
  },
  'advertised-for-another-node-of-its-segment': {
    folder: SEGMENT,
    ip: '10.0.0.99',
    frr: frr('br0', { neighbors: new Map([[100, new Map([['10.0.0.99' as IpAddress, PROXY]])]]) }),
    host: { ...ADVERTISED, neighbor: PROXY },
    ok: true,
    hasAdvice: true,
    state: 'proxied',
  },
  'sends-to-another-node-of-its-segment': {
    folder: SEGMENT,
    ip: '10.0.0.10',
    frr: frr('br0', { neighbors: new Map([[100, new Map([['10.0.0.10' as IpAddress, PROXY]])]]) }),
    host: { ...ADVERTISED, neighbor: PROXY },
    fdbAgeMs: 400_000,
    ok: true,
    hasAdvice: true,
    state: 'proxied',
  },
  'silent-on-its-segment': {
    folder: SEGMENT,
    ip: '10.0.0.10',
    frr: frr(),
    fdbAgeMs: 400_000,
    ok: false,
    state: 'waiting',
  },
  frozen: {
    folder: 'a-frozen-duplicate-has-no-neighbor',
    ip: '10.0.0.10',
    frr: frr(),
    ok: false,
    state: 'frozen',
  },
  'port-gone': {
    folder: 'a-port-that-is-gone-loses-its-neighbors',
    ip: '10.0.0.10',
    ok: false,
    state: 'ended',
  },
  'port-out-of-the-bridge': {
    folder: 'a-binding-ends-with-its-port-and-leaves-a-hint',
    ip: '10.0.0.11',
    ok: false,
    state: 'waiting',
  },
  'outside-the-subnets': { folder: 'subnets-as-a-list', ip: '192.0.2.1', ok: false, state: 'ended' },
  'static-for-another-mac': { folder: 'static-entries', ip: '10.0.0.53', ok: false, state: 'waiting' },
  'static-and-silent': { folder: 'static-entries', ip: '10.0.0.55', ok: false, state: 'installed' },
  'entry-of-another-owner-in-the-way': {
    folder: 'entries-of-another-owner',
    ip: '10.0.0.11',
    ok: false,
    state: 'waiting',
  },
  'entry-of-another-owner-for-an-unseen-address': {
    folder: 'entries-of-another-owner',
    ip: '10.0.0.99',
    ok: false,
    state: 'unheard',
  },
  rejected: {
    folder: 'subnets-as-a-list',
    ip: '192.0.2.77',
    rejected: { reason: 'subnet', claimed: B },
    ok: false,
    state: 'refused',
  },
  'rejected-as-of-a-virtual-router-on-a-bridge-of-a-glob': {
    folder: 'nothing-to-do',
    ip: '10.0.0.254',
    isOfGlob: true,
    rejected: { reason: 'spoofed', claimed: '00:00:5e:00:01:07' as Mac },
    ok: false,
    state: 'refused',
  },
  'hinted-and-not-probed': {
    folder: 'a-hint-ends-when-its-host-has-its-address',
    ip: '10.0.0.12',
    ok: false,
    state: 'hinted',
  },
  'hinted-and-silent': {
    folder: 'a-hint-without-an-answer-is-probed-less-and-less-often',
    ip: '10.0.0.11',
    ok: false,
    state: 'hinted',
  },
  'hinted-by-another-port': {
    folder: 'a-hint-is-probed-only-on-the-port-that-it-came-from',
    ip: '2001:db8::b',
    ok: false,
    state: 'hinted',
  },
  'hinted-and-checking': {
    folder: 'a-host-that-checks-an-address-is-not-probed-meanwhile',
    ip: '10.0.0.10',
    ok: false,
    state: 'hinted',
  },
  'hinted-where-probe-is-never': {
    folder: 'hints-are-not-probed-where-probe-is-never',
    ip: '10.0.0.10',
    ok: false,
    state: 'hinted',
  },
  'arrived-from-another-node': {
    folder: 'hints-are-probed-where-the-bridge-has-their-mac',
    ip: '10.0.0.10',
    ok: false,
    state: 'remote',
  },
  'hinted-behind-an-excluded-port': {
    folder: 'a-host-behind-an-excluded-port-is-not-probed',
    ip: '10.0.0.10',
    ok: false,
    state: 'hinted',
  },
  'learned-on-a-port-that-is-excluded-now': {
    folder: 'an-excluded-port-is-detached',
    ip: '10.0.0.10',
    ok: false,
    state: 'ended',
  },
  'never-seen-and-a-port-excluded': {
    folder: 'an-excluded-port-is-detached',
    ip: '10.0.0.77',
    ok: false,
    state: null,
  },
  'never-seen': { folder: 'nothing-to-do', ip: '10.0.0.77', ok: false, state: null },
  'never-seen-and-outside': { folder: 'subnets-as-a-list', ip: '2001:db8::77', ok: false, state: null },
};

describe('stories', () => {
  for (const [name, story] of Object.entries(STORIES)) {
    test(name.replaceAll('-', ' '), () => {
      const report = reportOf(story);
      assert.equal(report.ok, story.ok);
      assert.equal(report.stories[0]?.state ?? null, story.state);
      for (const line of renderExplain(report, PLAIN).split('\n')) assert.ok(line.length <= 80, line);
    });
  }

  test('have their exact wording', () => {
    const texts = Object.entries(STORIES).map(
      ([name, story]) => `== ${name} ==\n${renderExplain(reportOf(story), PLAIN)}`,
    );
    assertGolden('test/unit/render/snapshots/explain.txt', texts.join('\n'));
  });

  test('name zebra as the writer of an entry that it has taken over with our protocol number', () => {
    const folder = 'an-entry-of-evpn-with-our-protocol-number-is-not-ours';
    const [story] = reportOf({ folder, ip: '10.0.0.10', frr: frr(), host: REMOTE }).stories;
    assert.match(story?.steps.find(({ id }) => id === 'neighbor')?.found ?? '', / by zebra on br0/);
  });

  test('name one cause and its fix, and leave out what follows from it', () => {
    for (const [name, story] of Object.entries(STORIES)) {
      for (const { steps, ok } of reportOf(story).stories) {
        const causes = steps.filter(({ status }) => status === 'wrong');
        assert.equal(causes.length, ok ? 0 : 1, name);
        for (const cause of causes) assert.notEqual(cause.remedy, null, `${name}: ${cause.found}`);
        for (const { status, remedy } of steps)
          if ((status === 'ok' && !story.hasAdvice) || status === 'waits') assert.equal(remedy, null, name);
      }
    }
  });

  test('are valid by the schema of the report', () => {
    const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
    ajv.addSchema(JSON.parse(readFileSync(`${ROOT}schema/report.schema.json`, 'utf8')), 'report');
    for (const [name, story] of Object.entries(STORIES)) {
      const report = reportOf(story);
      const parsed: unknown = JSON.parse(renderJson(report));
      assert.deepEqual(parsed, report);
      for (const ref of ['report', 'report#/$defs/explain'])
        assert.ok(ajv.validate(ref, parsed), `${name}: ${ajv.errorsText()}`);
    }
  });

  test('are the same text in color, and contain no escape codes from names', () => {
    const start = String.fromCharCode(27);
    const codes = new RegExp(`${start}\\[\\d+m`, 'g');
    for (const story of Object.values(STORIES)) {
      const report = reportOf(story);
      assert.equal(
        renderExplain(report, { ...PLAIN, color: true }).replaceAll(codes, ''),
        renderExplain(report, PLAIN),
      );
    }
    const report = reportOf({
      ...RECONCILED,
      frr: { kind: 'silent', daemon: 'zebra', message: `${start}]0;x`, isLate: false },
    });
    assert.ok(!renderExplain(report, PLAIN).includes(start));
  });
});

test('each reason for a rejection has its text and its fix', () => {
  const { topology } = readCase(`${ROOT}test/unit/core/cases/subnets-as-a-list`);
  const [bridge] = topology.bridges;
  const rejection = { bridge: 1 as IfIndex, vlan: 0, ip: '192.0.2.77' as IpAddress, port: 2 as IfIndex };
  const times = { count: 1, firstMs: 0, lastMs: 0 };
  const reasons = COUNTERS.filter(isReason);
  const texts = reasons.map((reason) => {
    const rejected = { ...rejection, ...times, reason, source: B, claimed: A };
    const { because, remedy } = describeRejection(rejected, {
      bridge,
      bridgeName: 'br0',
      isNamed: true,
      port: 'tap2',
    });
    assert.notEqual(remedy, '', reason);
    return because;
  });
  assert.equal(new Set(texts).size, reasons.length);
  const schema = JSON.parse(readFileSync(`${ROOT}schema/report.schema.json`, 'utf8')) as {
    readonly $defs: {
      readonly refused: { readonly properties: { readonly reason: { readonly enum: string[] } } };
    };
  };
  assert.deepEqual([...schema.$defs.refused.properties.reason.enum].sort(), [...reasons].sort());
});

test('an ignored message is named by its kind, one without its MAC as such', () => {
  const { topology } = readCase(`${ROOT}test/unit/core/cases/subnets-as-a-list`);
  const [bridge] = topology.bridges;
  const say = (ip: string, reason: RejectionReason, claimed: Mac | null) => {
    const times = { count: 1, firstMs: 0, lastMs: 0 };
    const place = { bridge: 1 as IfIndex, vlan: 0, ip: ip as IpAddress, port: 2 as IfIndex };
    const rejected = { ...place, ...times, reason, source: B, claimed };
    return describeRejection(rejected, { bridge, bridgeName: 'br0', isNamed: true, port: 'tap2' });
  };
  assert.deepEqual(say('2001:db8::77', 'ignored', B), {
    because: 'it is a Neighbor Solicitation, and "learn" takes only arp-request, arp-reply, na',
    remedy: 'let the host send another kind, or add ns to "learn"',
  });
  assert.equal(
    say('2001:db8::77', 'nd_option', B).because,
    'its link-layer address option is missing or repeated: it does not name its MAC',
  );
  assert.equal(say('2001:db8::77', 'nd_option', null).because, 'its options are malformed');
});

test('a port that has lost its program is reported, though everything else is right', () => {
  const golden = readCase(`${ROOT}test/unit/core/cases/${RECONCILED.folder}`);
  const seenStep = (attachments: Case['observed']['attachments']) => {
    const { configuration, desired, hosts, topology } = golden;
    const facts = {
      ip: RECONCILED.ip as IpAddress,
      configuration,
      desired,
      topology,
      observed: { ...golden.observed, attachments },
      hosts,
      plan: planHosts(topology, hosts, { protocol: desired.runtime.neighborProtocol, whole: true }),
      rejections: [],
      frr: frr(),
    };
    const report = explain(facts, findPlaces(facts, false), [{ fdbAgeMs: 2_000, vni: 100, frr: ADVERTISED }]);
    const [story] = report.stories;
    assert.equal(story?.ok, true);
    return story?.steps.find(({ id }) => id === 'heard');
  };
  assert.equal(seenStep(golden.observed.attachments)?.remedy, null);
  const detached = seenStep(new Map());
  assert.match(detached?.found ?? '', /; tap1 has no program now, and no further message is seen$/);
  assert.equal(detached?.remedy, 'snoopy reconcile');
});

test('a rejection by a rule that no longer exists is reported as such', () => {
  const { topology } = readCase(`${ROOT}test/unit/core/cases/subnets-as-a-list`);
  const [bridge] = topology.bridges;
  assert.ok(bridge !== undefined);
  const say = (reason: RejectionReason, ip: string) => {
    const rejection = { bridge: bridge.ifIndex, vlan: 0, ip: ip as IpAddress, port: 2 as IfIndex, reason };
    const rejected = { ...rejection, source: B, claimed: A, count: 1, firstMs: 0, lastMs: 0 };
    return describeRejection(rejected, { bridge, bridgeName: 'br0', isNamed: true, port: 'tap2' });
  };
  const { subnets } = bridge.desired;
  assert.ok(Array.isArray(subnets));
  const inside = String(subnets[0].ip).replace(/\d+$/, '77');
  for (const { because, remedy } of [say('subnet', inside)]) {
    assert.equal(because, 'br0 did not learn this address then');
    assert.equal(remedy, 'let the host send again: it is learned now');
  }
  assert.match(say('subnet', '203.0.113.1').because, /^br0 does not learn this address; it learns /);
  assert.match(say('subnet', '203.0.113.1').remedy, /"subnets"/);
  assert.match(say('link_local', 'fe80::1').because, /^link-local addresses are not learned here$/);
});

describe("FRR 8.4.4's answer about one host", () => {
  const ip = '10.1.1.1' as IpAddress;
  const neighbor = { ip, type: 'local', state: 'active', mac: A, isDuplicate: false };
  const path = {
    valid: true,
    local: true,
    bestpath: { overall: true, selectionReason: 'First path received' },
    nexthops: [{ ip: '192.0.2.1', afi: 'ipv4' }],
  };

  test('is read for a host of this node', () => {
    const own = { rd: '192.0.2.1:2', advertisedTo: { '192.0.2.2': { hostname: 'n2' } }, '[2]:[0]': [[path]] };
    assert.deepEqual(readFrrHost(ip, { neighbor, route: { paths: [[path]], numPaths: 1 }, own }), ADVERTISED);
  });

  test('is read for a host of another node, as the best of two paths', () => {
    const { local: _, ...best } = { ...path, nexthops: [{ ip: '192.0.2.2' }] };
    const worse = { valid: true, nexthops: [{ ip: '192.0.2.9' }] };
    const remote = { ...neighbor, type: 'remote', remoteVtep: '192.0.2.2' };
    const route = { paths: [[worse], [best]], numPaths: 2 };
    assert.deepEqual(readFrrHost(ip, { neighbor: remote, route, own: {} }), REMOTE);
  });

  test('is nothing when it is empty or has an unknown form', () => {
    for (const answer of [undefined, {}, [], 'x', { paths: [[]] }, { paths: 'x', advertisedTo: [] }])
      assert.deepEqual(readFrrHost(ip, { neighbor: answer, route: answer, own: answer }), NOTHING);
  });
});

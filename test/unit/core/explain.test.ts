// Stories: what explain says of an address on the machines of the golden cases, word for word, in 80 columns.

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
import type { FrrAnswer, FrrHost } from '../../../src/core/frr.ts';
import { planHosts } from '../../../src/core/neighbors/plan.ts';
import type { RejectionReason } from '../../../src/datapath/records/counters.ts';
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

/** FRR as it should be, with the VNI 100 for a device. */
function frr(
  svi: string | null = 'br0',
  changes: Partial<Extract<FrrAnswer, { kind: 'answered' }>['frr']> = {},
): FrrAnswer {
  const peers = [{ name: '192.0.2.2', state: 'Established' }];
  const vnis = [{ vni: 100, svi }];
  const whole = { vnis, l3Vnis: new Set<number>(), neighbors: new Map(), advertiseAllVni: true, peers };
  return { kind: 'answered', frr: { ...whole, ...changes } };
}

const ADVERTISED: FrrHost = {
  neighbor: { mac: A, isLocal: true, isActive: true, isDuplicate: false },
  tunnelEnd: null,
  route: { isLocal: true, nextHop: '192.0.2.1', peers: ['192.0.2.2'] },
};
const REMOTE: FrrHost = {
  neighbor: { mac: A, isLocal: false, isActive: true, isDuplicate: false },
  tunnelEnd: '192.0.2.2',
  route: { isLocal: false, nextHop: '192.0.2.2', peers: [] },
};
const NOTHING: FrrHost = { neighbor: null, tunnelEnd: null, route: null };

interface Tale {
  readonly folder: string;
  readonly ip: string;
  readonly frr?: FrrAnswer;
  readonly host?: FrrHost;
  readonly fdbAgeMs?: number;
  readonly refused?: Partial<Rejection>;
}

function index({ observed }: Case, name: string): IfIndex {
  const link = [...observed.links.values()].find((one) => one.name === name);
  assert.ok(link, name);
  return link.ifIndex;
}

function reportOf(tale: Tale): ExplainReport {
  const golden = readCase(`${ROOT}test/unit/core/cases/${tale.folder}`);
  const { desired, observed, hosts, topology } = golden;
  const ip = parseIp(tale.ip);
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
    ...tale.refused,
  };
  const facts = {
    ip,
    desired,
    topology,
    observed,
    hosts,
    plan: planHosts(topology, hosts, { protocol: desired.runtime.neighborProtocol, whole: true }),
    rejections: tale.refused === undefined ? [] : [rejection],
    frr: tale.frr ?? { kind: 'absent' as const },
  };
  const places = findPlaces(facts, false);
  const closeups = places.map(
    ({ vni }): Closeup => ({
      fdbAgeMs: tale.fdbAgeMs ?? null,
      frr: vni === null ? null : (tale.host ?? NOTHING),
    }),
  );
  return explain(facts, places, closeups);
}

/** Installed, as a run leaves it. */
const SETTLED = { folder: 'nothing-to-do', ip: '10.0.0.10', fdbAgeMs: 2_000 } as const;

const TALES: Readonly<Record<string, Tale & { readonly ok: boolean; readonly state: string | null }>> = {
  advertised: { ...SETTLED, frr: frr(), host: ADVERTISED, ok: true, state: 'installed' },
  'installed-without-vtysh': { ...SETTLED, ok: true, state: 'installed' },
  'installed-and-frr-silent': {
    ...SETTLED,
    frr: { kind: 'silent', message: 'vtysh -c "show evpn vni detail json" fails: failed to connect' },
    ok: false,
    state: 'installed',
  },
  'local-inactive': {
    ...SETTLED,
    frr: frr(),
    host: {
      ...ADVERTISED,
      neighbor: { mac: A, isLocal: true, isActive: false, isDuplicate: false },
      route: null,
    },
    ok: false,
    state: 'installed',
  },
  'duplicate-for-frr': {
    ...SETTLED,
    frr: frr(),
    host: { ...ADVERTISED, neighbor: { mac: A, isLocal: true, isActive: true, isDuplicate: true } },
    ok: false,
    state: 'installed',
  },
  'sent-to-nobody': {
    ...SETTLED,
    frr: frr('br0', { peers: [{ name: '192.0.2.2', state: 'Active' }] }),
    host: { ...ADVERTISED, route: { isLocal: true, nextHop: '192.0.2.1', peers: [] } },
    ok: false,
    state: 'installed',
  },
  'not-in-bgp': {
    ...SETTLED,
    frr: frr('br0', { advertiseAllVni: false }),
    host: { ...ADVERTISED, route: null },
    ok: false,
    state: 'installed',
  },
  'no-vni': { ...SETTLED, frr: frr(null), ok: false, state: 'installed' },
  'refused-beside-installed': {
    ...SETTLED,
    frr: frr(),
    host: ADVERTISED,
    refused: {},
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
    folder: 'install-only-where-the-bridge-forwards-the-mac',
    ip: '10.0.0.11',
    frr: frr(),
    ok: false,
    state: 'waiting',
  },
  'at-another-node': {
    folder: 'zebra-entry-of-a-remote-host-is-never-touched',
    ip: '10.0.0.10',
    frr: frr(),
    host: REMOTE,
    ok: true,
    state: 'remote',
  },
  'behind-the-tunnel-and-nobody-advertises-it': {
    folder: 'moved-behind-the-tunnel',
    ip: '10.0.0.10',
    frr: frr(),
    ok: false,
    state: 'remote',
  },
  'two-hosts-on-two-nodes': {
    folder: 'zebra-entry-with-another-mac-gives-way-to-newer-evidence-only',
    ip: '10.0.0.11',
    frr: frr(),
    host: REMOTE,
    ok: false,
    state: 'remote',
  },
  frozen: { folder: 'frozen-duplicate', ip: '10.0.0.10', frr: frr(), ok: false, state: 'frozen' },
  'port-gone': { folder: 'port-that-is-gone', ip: '10.0.0.10', ok: false, state: 'ended' },
  'outside-the-subnets': { folder: 'subnets-as-a-list', ip: '192.0.2.1', ok: false, state: 'ended' },
  'static-for-another-mac': { folder: 'static-entries', ip: '10.0.0.53', ok: false, state: 'waiting' },
  'static-and-silent': { folder: 'static-entries', ip: '10.0.0.55', ok: false, state: 'installed' },
  'foreign-entry-in-the-way': { folder: 'foreign-entries', ip: '10.0.0.11', ok: false, state: 'waiting' },
  'foreign-entry-nobody-heard-of': {
    folder: 'foreign-entries',
    ip: '10.0.0.99',
    ok: false,
    state: 'unheard',
  },
  refused: {
    folder: 'subnets-as-a-list',
    ip: '192.0.2.77',
    refused: { reason: 'subnet', claimed: B },
    ok: false,
    state: 'refused',
  },
  'never-heard': { folder: 'nothing-to-do', ip: '10.0.0.77', ok: false, state: null },
  'never-heard-and-outside': { folder: 'subnets-as-a-list', ip: '2001:db8::77', ok: false, state: null },
};

describe('stories', () => {
  for (const [name, tale] of Object.entries(TALES)) {
    test(name.replaceAll('-', ' '), () => {
      const report = reportOf(tale);
      assert.equal(report.ok, tale.ok);
      assert.equal(report.stories[0]?.state ?? null, tale.state);
      for (const line of renderExplain(report, PLAIN).split('\n')) assert.ok(line.length <= 80, line);
    });
  }

  test('word for word', () => {
    const texts = Object.entries(TALES).map(
      ([name, tale]) => `== ${name} ==\n${renderExplain(reportOf(tale), PLAIN)}`,
    );
    assertGolden('test/unit/render/snapshots/explain.txt', texts.join('\n'));
  });

  test('one cause, and a remedy for it; what follows from it waits', () => {
    for (const [name, tale] of Object.entries(TALES)) {
      for (const { steps, ok } of reportOf(tale).stories) {
        const causes = steps.filter(({ status }) => status === 'wrong');
        assert.equal(causes.length, ok ? 0 : 1, name);
        for (const cause of causes) assert.notEqual(cause.remedy, null, `${name}: ${cause.found}`);
        for (const { status, remedy } of steps)
          if (status === 'ok' || status === 'waits') assert.equal(remedy, null, name);
      }
    }
  });

  test('reports are what their schema says', () => {
    const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
    ajv.addSchema(JSON.parse(readFileSync(`${ROOT}schema/report.schema.json`, 'utf8')), 'report');
    for (const [name, tale] of Object.entries(TALES)) {
      const report = reportOf(tale);
      const parsed: unknown = JSON.parse(renderJson(report));
      assert.deepEqual(parsed, report);
      for (const ref of ['report', 'report#/$defs/explain'])
        assert.ok(ajv.validate(ref, parsed), `${name}: ${ajv.errorsText()}`);
    }
  });

  test('colors change nothing but the color, and names cannot send escape codes', () => {
    const start = String.fromCharCode(27);
    const codes = new RegExp(`${start}\\[\\d+m`, 'g');
    for (const tale of Object.values(TALES)) {
      const report = reportOf(tale);
      assert.equal(
        renderExplain(report, { ...PLAIN, color: true }).replaceAll(codes, ''),
        renderExplain(report, PLAIN),
      );
    }
    const report = reportOf({ ...SETTLED, frr: { kind: 'silent', message: `${start}]0;x` } });
    assert.ok(!renderExplain(report, PLAIN).includes(start));
  });
});

test('each reason for a refusal has its words and its remedy', () => {
  const { topology } = readCase(`${ROOT}test/unit/core/cases/subnets-as-a-list`);
  const [bridge] = topology.bridges;
  const rejection = { bridge: 1 as IfIndex, vlan: 0, ip: '192.0.2.77' as IpAddress, port: 2 as IfIndex };
  const times = { count: 1, firstMs: 0, lastMs: 0 };
  const reasons = COUNTERS.filter(
    (name): name is RejectionReason =>
      !['sightings', 'ring_dropped', 'created', 'moved', 'duplicates'].includes(name),
  );
  const said = reasons.map((reason) => {
    const refused = { ...rejection, ...times, reason, source: B, claimed: A };
    const { because, remedy } = describeRejection(refused, { bridge, bridgeName: 'br0', port: 'tap2' });
    assert.notEqual(remedy, '', reason);
    return because;
  });
  assert.equal(new Set(said).size, reasons.length);
  const schema = JSON.parse(readFileSync(`${ROOT}schema/report.schema.json`, 'utf8')) as {
    readonly $defs: {
      readonly refused: { readonly properties: { readonly reason: { readonly enum: string[] } } };
    };
  };
  assert.deepEqual([...schema.$defs.refused.properties.reason.enum].sort(), [...reasons].sort());
});

test('a port that has lost its program is reported, though all else is right', () => {
  const golden = readCase(`${ROOT}test/unit/core/cases/${SETTLED.folder}`);
  const heard = (attachments: Case['observed']['attachments']) => {
    const { desired, hosts, topology } = golden;
    const facts = {
      ip: SETTLED.ip as IpAddress,
      desired,
      topology,
      observed: { ...golden.observed, attachments },
      hosts,
      plan: planHosts(topology, hosts, { protocol: desired.runtime.neighborProtocol, whole: true }),
      rejections: [],
      frr: frr(),
    };
    const report = explain(facts, findPlaces(facts, false), [{ fdbAgeMs: 2_000, frr: ADVERTISED }]);
    const [story] = report.stories;
    assert.equal(story?.ok, true);
    return story?.steps.find(({ id }) => id === 'heard');
  };
  assert.equal(heard(golden.observed.attachments)?.remedy, null);
  const deaf = heard(new Map());
  assert.match(deaf?.found ?? '', /; tap1 has no program now, and no further message is seen$/);
  assert.equal(deaf?.remedy, 'snoopy reconcile');
});

test('a refusal by rules that are no more says so', () => {
  const { topology } = readCase(`${ROOT}test/unit/core/cases/subnets-as-a-list`);
  const [bridge] = topology.bridges;
  assert.ok(bridge !== undefined);
  const say = (reason: RejectionReason, ip: string) => {
    const rejection = { bridge: bridge.ifIndex, vlan: 0, ip: ip as IpAddress, port: 2 as IfIndex, reason };
    const refused = { ...rejection, source: B, claimed: A, count: 1, firstMs: 0, lastMs: 0 };
    return describeRejection(refused, { bridge, bridgeName: 'br0', port: 'tap2' });
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

describe('what FRR 8.4.4 says of one host', () => {
  const ip = '10.1.1.1' as IpAddress;
  const neighbor = { ip, type: 'local', state: 'active', mac: A, isDuplicate: false };
  const path = {
    valid: true,
    local: true,
    bestpath: { overall: true, selectionReason: 'First path received' },
    nexthops: [{ ip: '192.0.2.1', afi: 'ipv4' }],
  };

  test('a host of this node', () => {
    const own = { rd: '192.0.2.1:2', advertisedTo: { '192.0.2.2': { hostname: 'n2' } }, '[2]:[0]': [[path]] };
    assert.deepEqual(readFrrHost(ip, { neighbor, route: { paths: [[path]], numPaths: 1 }, own }), ADVERTISED);
  });

  test('a host of another node; the best of two paths', () => {
    const { local: _, ...foreign } = { ...path, nexthops: [{ ip: '192.0.2.2' }] };
    const worse = { valid: true, nexthops: [{ ip: '192.0.2.9' }] };
    const remote = { ...neighbor, type: 'remote', remoteVtep: '192.0.2.2' };
    const route = { paths: [[worse], [foreign]], numPaths: 2 };
    assert.deepEqual(readFrrHost(ip, { neighbor: remote, route, own: {} }), REMOTE);
  });

  test('nothing, and what is of another form', () => {
    for (const answer of [undefined, {}, [], 'x', { paths: [[]] }, { paths: 'x', advertisedTo: [] }])
      assert.deepEqual(readFrrHost(ip, { neighbor: answer, route: answer, own: answer }), NOTHING);
  });
});

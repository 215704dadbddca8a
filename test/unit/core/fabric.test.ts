// What a node reports of its VNIs, by what the kernel and zebra have of them.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex } from '../../../src/base/address.ts';
import { describeFabric } from '../../../src/core/fabric.ts';
import type { VniReport } from '../../../src/core/fabric-report.ts';
import type { Frr } from '../../../src/core/frr.ts';
import type { Link } from '../../../src/netlink/link.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const known = readCase(join(ROOT, 'test/unit/core/cases/none'));
const [BR0, BR1, VXLAN, OTHER] = [1, 2, 3, 4] as IfIndex[];
const plain = { vlanFiltering: false, vlanDefaultPvid: 1, vlanProtocol: 0x8100, ageingTimeMs: 300_000 };
const VTEP = '192.0.2.1';

function link(ifIndex: IfIndex | undefined, rest: Partial<Link>): Link {
  assert.ok(ifIndex);
  const none = { kind: undefined, slaveKind: undefined, master: undefined, link: undefined, mac: undefined };
  const kinds = { bridge: undefined, vlanId: undefined, vxlan: undefined, bridgePort: undefined };
  const state = { flags: 1, up: true, lowerUp: true, mtu: 1500 };
  return { ifIndex, name: `link${ifIndex}`, ...none, ...kinds, ...state, ...rest };
}

const bridge = (ifIndex: IfIndex | undefined, rest: Partial<Link> = {}): Link =>
  link(ifIndex, { name: `br${(ifIndex ?? 0) - 1}`, bridge: plain, ...rest });
const vxlan = (ifIndex: IfIndex | undefined, rest: Partial<Link> = {}): Link =>
  link(ifIndex, { master: BR0, vxlan: { vni: 100, learning: false, external: false }, ...rest });

function vnisOf(links: readonly Link[], vnisOfZebra: readonly number[] = [100]): readonly VniReport[] {
  const frr: Frr = {
    vnis: vnisOfZebra.map((vni) => ({ vni, svi: null })),
    l3Vnis: new Set(),
    neighbors: new Map(),
    duplicates: new Map(),
    advertiseAllVni: true,
    peers: [],
    fabric: {
      routerId: VTEP,
      version: '10.3',
      vteps: new Map(vnisOfZebra.map((vni) => [vni, VTEP])),
      origins: new Map(),
    },
  };
  const versions = { name: 'n1', snoopy: '1.0.0', kernel: '6.12' };
  return describeFabric({
    node: { ...versions, atMs: 1000, succeededMs: 900, details: [] },
    observed: { ...known.observed, links: new Map(links.map((one) => [one.ifIndex, one])) },
    hosts: { neighbors: [], nowMs: 1000 },
    plan: { decisions: [] },
    desired: known.desired,
    vlanOptions: new Map(),
    frr,
  }).vnis;
}

const REPORT: VniReport = { vni: 100, active: true, vtep: VTEP, bridge: 'br0', vlan: 0, suppress: false };

it('a VNI is active where zebra has it and its VXLAN port is in a bridge, with both up', () => {
  assert.deepEqual(vnisOf([bridge(BR0), vxlan(VXLAN)]), [REPORT]);
  const inactive = { ...REPORT, active: false };
  assert.deepEqual(vnisOf([bridge(BR0), vxlan(VXLAN, { up: false })]), [inactive]);
  assert.deepEqual(vnisOf([bridge(BR0, { up: false }), vxlan(VXLAN)]), [inactive]);
  assert.deepEqual(vnisOf([bridge(BR0), vxlan(VXLAN)], []), [{ ...inactive, vtep: null }]);
  // zebra keeps the VNI of a port that has left its bridge.
  assert.deepEqual(vnisOf([bridge(BR0), vxlan(VXLAN, { master: undefined })]), [
    { ...inactive, bridge: null },
  ]);
  assert.deepEqual(vnisOf([bridge(BR0), vxlan(VXLAN, { master: undefined })], []), []);
  // A port that came after this look at the links, as zebra has answered later.
  assert.deepEqual(vnisOf([bridge(BR0)]), [{ ...REPORT, bridge: null }]);
});

it('of two VXLAN ports with one VNI an active one counts, in either order', () => {
  for (const [first, second] of [
    [VXLAN, OTHER],
    [OTHER, VXLAN],
  ]) {
    const links = [bridge(BR0), bridge(BR1), vxlan(first), vxlan(second, { master: BR1, up: false })];
    assert.deepEqual(vnisOf(links), [REPORT]);
    assert.deepEqual(vnisOf([...links].reverse()), [REPORT]);
    // zebra has none of it: the second port does not make the first one one of zebra's.
    assert.deepEqual(
      vnisOf(links, []).map(({ active }) => active),
      [false],
    );
  }
});

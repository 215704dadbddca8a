// VNIs that nodes have set up differently: zebra, their bridge and VLAN, and suppression. Pure.

import { ensure, groupBy } from '../../base/group.ts';
import type { VniReport } from '../fabric-report.ts';
import type { AuditedNode, Fabric } from './collection.ts';
import { finding, type Sighted, settled } from './finding.ts';
import { FOUND, formatMapping, LOOK } from './wording.ts';

interface Setup {
  readonly node: AuditedNode;
  readonly report: VniReport;
}

export function checkVnis({ nodes }: Fabric): Sighted[] {
  const setups = new Map<number, Setup[]>();
  for (const node of nodes)
    for (const report of node.vnis) ensure(setups, report.vni, (): Setup[] => []).push({ node, report });
  const sorted = [...setups].sort(([a], [b]) => a - b);
  return [
    ...checkLost(sorted),
    ...checkUnbridged(sorted),
    ...sorted.flatMap(([vni, all]) => checkMapping(vni, all)),
    ...checkSuppression(sorted),
  ];
}

/** The nodes where a VNI is not active that is active at others; one that is active nowhere may be in no EVPN. */
function checkLost(setups: readonly (readonly [number, readonly Setup[]])[]): Sighted[] {
  return joined(setups, { id: 'no-vni', words: FOUND['no-vni'], command: LOOK.doctor }, (vni, all) =>
    lostOf(all, ({ node }) => node.lostVnis.includes(vni)),
  );
}

/** The same where zebra has the VNI and its port is in no bridge. `doctor` looks only at the ports of configured bridges. */
function checkUnbridged(setups: readonly (readonly [number, readonly Setup[]])[]): Sighted[] {
  return joined(setups, { id: 'no-vni', words: FOUND.unbridged, command: LOOK.tunnels }, (_, all) =>
    lostOf(all, ({ report }) => report.bridge === null && !report.active),
  );
}

function lostOf(all: readonly Setup[], isLost: (setup: Setup) => boolean): readonly Setup[] {
  return all.some(({ report }) => report.active && report.bridge !== null)
    ? all.filter((setup) => setup.node.frrMessage === null && isLost(setup))
    : [];
}

/** What most nodes have is taken to be right. A VNI that is in no bridge is a lost one. */
function checkMapping(vni: number, setups: readonly Setup[]): Sighted[] {
  const bridged = setups.flatMap(({ node, report: { bridge, vlan } }) =>
    bridge === null ? [] : [{ node, mapping: formatMapping(bridge, vlan) }],
  );
  const groups = [...groupBy(bridged, ({ mapping }) => mapping)].sort(
    ([a, some], [b, others]) => others.length - some.length || (a < b ? -1 : 1),
  );
  const [[usual] = [''], ...unusual] = groups;
  return unusual.map(([found, group]) => {
    const names = namesOf(group);
    const words = FOUND.mapping({ vni, nodes: names, found, others: usual });
    const look = { node: names[0] ?? '', command: LOOK.vni(vni) };
    return settled(finding('mapping', { vni, nodes: names, found: words, look }));
  });
}

/** The nodes that lack it in a VNI where others have it. */
function checkSuppression(setups: readonly (readonly [number, readonly Setup[]])[]): Sighted[] {
  return joined(setups, { id: 'suppress', words: FOUND.suppress, command: LOOK.doctor }, (_, all) =>
    all.some(({ report }) => report.suppress)
      ? all.filter(({ report }) => report.bridge !== null && !report.suppress)
      : [],
  );
}

interface Wording {
  readonly id: 'no-vni' | 'suppress';
  readonly words: (data: { readonly vnis: readonly string[]; readonly nodes: readonly string[] }) => string;
  readonly command: string;
}

/** One finding for all VNIs that are wrong at the same nodes; `wrongIn` returns the wrong setups of a VNI. */
function joined(
  setups: readonly (readonly [number, readonly Setup[]])[],
  { id, words, command }: Wording,
  wrongIn: (vni: number, all: readonly Setup[]) => readonly Setup[],
): Sighted[] {
  const wrong = setups.flatMap(([vni, all]) => {
    const names = namesOf(wrongIn(vni, all));
    return names.length > 0 ? [{ vni, names }] : [];
  });
  return [...groupBy(wrong, ({ names }) => names.join()).values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { vni, names } = first;
    const found = words({ vnis: group.map((one) => String(one.vni)), nodes: names });
    const draft = { nodes: names, found, look: { node: names[0] ?? '', command } };
    return [settled(finding(id, group.length === 1 ? { ...draft, vni } : draft))];
  });
}

function namesOf(setups: readonly Pick<Setup, 'node'>[]): string[] {
  return setups.map(({ node }) => node.name).sort();
}

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
    ...sorted.flatMap(([vni, all]) => checkMapping(vni, all)),
    ...checkSuppression(sorted),
  ];
}

/**
 * The nodes where a VNI is not active that is active at others; one that is active nowhere may be in no EVPN. Of a bridge that is
 * not configured it may belong to another program, but without a bridge it has no hosts.
 */
function checkLost(setups: readonly (readonly [number, readonly Setup[]])[]): Sighted[] {
  return joined(setups, 'no-vni', (vni, all) =>
    all.some(({ report }) => report.active)
      ? all.filter(
          ({ node, report }) =>
            node.frrMessage === null && (node.lostVnis.includes(vni) || report.bridge === null),
        )
      : [],
  );
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
  return joined(setups, 'suppress', (_, all) =>
    all.some(({ report }) => report.suppress)
      ? all.filter(({ report }) => report.bridge !== null && !report.suppress)
      : [],
  );
}

/** One finding for all VNIs that are wrong at the same nodes; `wrongIn` returns the wrong setups of a VNI. */
function joined(
  setups: readonly (readonly [number, readonly Setup[]])[],
  id: 'no-vni' | 'suppress',
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
    const found = FOUND[id]({ vnis: group.map((one) => String(one.vni)), nodes: names });
    const draft = { nodes: names, found, look: { node: names[0] ?? '', command: LOOK.doctor } };
    return [settled(finding(id, group.length === 1 ? { ...draft, vni } : draft))];
  });
}

function namesOf(setups: readonly Pick<Setup, 'node'>[]): string[] {
  return setups.map(({ node }) => node.name).sort();
}

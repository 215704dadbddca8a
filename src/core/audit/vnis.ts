// VNIs that nodes have set up differently: their bridge and VLAN, and suppression. Pure.

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
  return [...sorted.flatMap(([vni, all]) => checkMapping(vni, all)), ...checkSuppression(sorted)];
}

/** What most nodes have is taken to be right. */
function checkMapping(vni: number, setups: readonly Setup[]): Sighted[] {
  const groups = [...groupBy(setups, ({ report }) => formatMapping(report))].sort(
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

/** The nodes that lack it in a VNI where others have it: VNIs of the same nodes together. */
function checkSuppression(setups: readonly (readonly [number, readonly Setup[]])[]): Sighted[] {
  const lacking = setups.flatMap(([vni, all]) => {
    const without = all.filter(({ report }) => report.bridge !== null && !report.suppress);
    const isUsed = all.some(({ report }) => report.suppress);
    return isUsed && without.length > 0 ? [{ vni, names: namesOf(without) }] : [];
  });
  return [...groupBy(lacking, ({ names }) => names.join()).values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { names } = first;
    const vnis = group.map(({ vni }) => String(vni));
    const found = FOUND.suppress({ vnis, nodes: names });
    const look = { node: names[0] ?? '', command: LOOK.doctor };
    const draft = { nodes: names, found, look };
    return [settled(finding('suppress', vnis.length === 1 ? { ...draft, vni: first.vni } : draft))];
  });
}

function namesOf(setups: readonly Setup[]): string[] {
  return setups.map(({ node }) => node.name).sort();
}

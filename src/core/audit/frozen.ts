// Addresses that a node has frozen as duplicates, by snoopy or by FRR, or is about to. Pure.

import type { IpAddress } from '../../base/address.ts';
import { ensure, groupBy } from '../../base/group.ts';
import type { AuditedNode, Fabric } from './collection.ts';
import { finding, type Sighted, settled } from './finding.ts';
import { FOUND, LOOK } from './wording.ts';

/** One finding for each address, with all nodes where it is frozen. */
export function checkFrozen({ nodes, claims }: Fabric): Sighted[] {
  const frozen = new Map<string, Frozen>();
  const add = (vni: number | null, ip: IpAddress, node: AuditedNode, by: string): void => {
    const known = ensure(
      frozen,
      `${vni} ${ip}`,
      (): Frozen => ({ vni, ip, nodes: new Set(), by: new Set() }),
    );
    known.nodes.add(node.name);
    known.by.add(by);
  };
  for (const node of nodes)
    for (const { ip, bridge, vlan } of node.frozen) add(vniOf(node, bridge, vlan), ip, node, 'snoopy');
  for (const [vni, table] of claims)
    for (const [ip, all] of table)
      for (const { state, node } of all) if (state === 'frozen') add(vni, ip, node, 'FRR');
  return [...frozen.values()].map(describe);
}

interface Frozen {
  readonly vni: number | null;
  readonly ip: IpAddress;
  readonly nodes: Set<string>;
  readonly by: Set<string>;
}

function describe({ vni, ip, nodes, by }: Frozen): Sighted {
  const names = [...nodes].sort();
  const found = FOUND.frozen({ ip, nodes: names, by: [...by].sort().join(' and ') });
  const look = { node: names[0] ?? '', command: LOOK.explain(ip) };
  const draft = { nodes: names, addresses: [ip], found, look };
  return settled(finding('frozen', vni === null ? draft : { ...draft, vni }));
}

function vniOf({ vnis }: AuditedNode, bridge: string, vlan: number): number | null {
  return vnis.find((known) => known.bridge === bridge && known.vlan === vlan)?.vni ?? null;
}

/** Addresses with two hosts that take them from each other. */
export function checkConflicts({ nodes }: Fabric): Sighted[] {
  const all = nodes.flatMap((node) => node.conflicts.map((conflict) => ({ ...conflict, name: node.name })));
  return [...groupBy(all, ({ vni, ip }) => `${vni} ${ip}`).values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { vni, ip } = first;
    const names = group.map(({ name }) => name).sort();
    const moves = Math.max(...group.map((one) => one.moves));
    const found = FOUND.conflict({ vni, ip, nodes: names, moves });
    const look = { node: names[0] ?? '', command: LOOK.explain(ip) };
    return [settled(finding('conflict', { vni, nodes: names, addresses: [ip], found, look }))];
  });
}

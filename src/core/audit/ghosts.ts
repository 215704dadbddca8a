// Addresses that a node advertises and does not have: the ghost is at the owner itself. Pure.

import { groupBy } from '../../base/group.ts';
import type { Claim, Fabric } from './collection.ts';
import { finding, type Sighted } from './finding.ts';
import { FOUND, LOOK } from './wording.ts';

/** zebra may not have read yet that the neighbor went: a ghost is older than `settle`. */
export function checkGhosts({ claims }: Pick<Fabric, 'claims'>, vni: number, settle: number): Sighted[] {
  const ghosts: Claim[] = [];
  for (const all of claims.get(vni)?.values() ?? [])
    for (const claim of all) if (claim.state === 'ghost') ghosts.push(claim);
  return [
    ...groupBy(ghosts, ({ node, at, since }) => `${node.index} ${at - since > settle}`).values(),
  ].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { node, at, since, ip } = first;
    const ips = group.map((claim) => claim.ip);
    const found = FOUND.ghostAtOwner({ vni, ips, nodes: [node.name] });
    const look = { node: node.name, command: LOOK.zebra({ vni, ip }) };
    return [
      {
        finding: finding('ghost', { vni, nodes: [node.name], addresses: ips, found, look }),
        isMoving: at - since <= settle,
        again: at - since <= settle ? [{ node: node.name, details: [] }] : [],
      },
    ];
  });
}

// Addresses that their owner advertises and that other nodes of the VNI do not have. Pure.

import { groupBy, split } from '../../base/group.ts';
import type { AuditedNode, Claim } from './collection.ts';
import { type Again, finding, type Sighted } from './finding.ts';
import { latest } from './motion.ts';
import type { Contested } from './owners.ts';
import { type Difference, keyOf, namesOf } from './places.ts';
import { FOUND, LOOK } from './wording.ts';
import type { Elsewhere } from './wrong.ts';

interface Hole {
  readonly vni: number;
  readonly claims: readonly Claim[];
  readonly nodes: readonly AuditedNode[];
  readonly isMoving: boolean;
  /** Whether one of them may just have come. */
  readonly isYoung: boolean;
}

/** What else is known of the fabric. */
export interface Context {
  readonly isContested: Contested;
  readonly elsewhere: Elsewhere;
  /** Nodes that do not list all of their addresses: what is missing may be among these. */
  readonly undecided: ReadonlySet<AuditedNode>;
  readonly settle: number;
}

export function describeHoles(differences: readonly Difference[], context: Context): Sighted[] {
  const { isContested, elsewhere } = context;
  const holes = differences.flatMap(({ missing, holders }) => {
    const nodes = holders.map(({ node }) => node);
    // A ghost at its owner is reported as that.
    const owned = missing.filter(({ vni, ip, state }) => state !== 'ghost' && !isContested(vni, ip));
    const [odd, plain] = split(owned, (claim) => elsewhere.has(claim) !== undefined);
    const single = odd.flatMap((claim) => {
      const [, lacking] = split(nodes, (node) => elsewhere.has(claim)?.has(node) === true);
      return holesOf([claim], lacking, context);
    });
    return [...holesOf(plain, nodes, context), ...single];
  });
  const groups = groupBy(holes, ({ vni, nodes, isMoving, isYoung }) =>
    [vni, isMoving, isYoung, keyOf(nodes)].join(' '),
  );
  return [...groups.values()].flatMap((group): Sighted[] => {
    const [first] = group;
    if (first === undefined) return [];
    const { vni, isMoving } = first;
    const claims = group.flatMap((hole) => hole.claims).sort((a, b) => (a.ip < b.ip ? -1 : 1));
    const [claim] = claims;
    const nodes = namesOf(first.nodes);
    const owners = [...new Set(claims.map(({ node }) => node.name))].sort();
    const ips = claims.map(({ ip }) => ip);
    const found = FOUND.hole({ vni, ips, owners, nodes });
    const command =
      claim === undefined || owners.length > 1 ? LOOK.peers : LOOK.bgp({ vni, ip: claim.ip, mac: claim.mac });
    const places = [...new Set(claims.map(({ place }) => place))];
    return [
      {
        finding: finding('hole', {
          vni,
          nodes,
          addresses: ips,
          found,
          look: { node: nodes[0] ?? '', command },
        }),
        isMoving,
        since: latest(claims),
        again: [
          ...nodes.map((node): Again => ({ node, details: places })),
          ...owners.map((node): Again => ({ node, details: [] })),
        ],
      },
    ];
  });
}

/** Claims of one place that are missing at nodes: what is proven for all of these nodes, and the rest. */
function holesOf(
  claims: readonly Claim[],
  nodes: readonly AuditedNode[],
  { undecided, settle }: Context,
): Hole[] {
  const [first] = claims;
  if (first === undefined || nodes.length === 0) return [];
  const { vni } = first;
  const earliest = nodes.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
  const [old, young] = split(claims, ({ since }) => earliest - since > settle);
  const seen = claims.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
  const [inTime, late] = split(nodes, (node) => node.at <= seen + settle && !undecided.has(node));
  return [
    { vni, claims: old, nodes: inTime, isMoving: false, isYoung: false },
    { vni, claims: old, nodes: late, isMoving: true, isYoung: false },
    { vni, claims: young, nodes, isMoving: true, isYoung: true },
  ].filter((hole) => hole.claims.length > 0 && hole.nodes.length > 0);
}

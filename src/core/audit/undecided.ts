// Differences whose addresses no report lists, and places that no report is from. Pure.

import { groupBy } from '../../base/group.ts';
import { type Again, finding, type Sighted } from './finding.ts';
import { type Domain, namesOf } from './places.ts';
import { FOUND, LOOK } from './wording.ts';

/** Nodes that have something else of a place, and do not list it. One of them is asked for the addresses: they are the same. */
export function checkUndecided({ vni, places }: Domain, settle: number): Sighted[] {
  return places.flatMap(({ place, members, claims, deviating }) =>
    deviating.flatMap((variant): Sighted[] => {
      const holders = variant.holders.filter(({ node }) => !members.has(node));
      const [first] = holders;
      if (variant.entries !== null || first === undefined) return [];
      const nodes = namesOf(holders.map(({ node }) => node));
      const since = [...claims.values()].reduce(
        (latest, claim) => Math.max(latest, claim.since),
        Number.NEGATIVE_INFINITY,
      );
      const isOld = holders.some(({ node, youngest }) =>
        [...members].every(
          ({ at }) =>
            Math.abs(at - node.at) <= settle && Math.min(at, node.at) - Math.max(since, youngest) > settle,
        ),
      );
      const found = FOUND.undecided({ vni, place, nodes, count: variant.count, expected: claims.size });
      const look = { node: first.node.name, command: LOOK.again([place]) };
      return [
        {
          finding: finding('undecided', { vni, nodes, found, look }),
          isMoving: !isOld,
          again: [
            { node: first.node.name, details: [place] },
            ...nodes.map((node): Again => ({ node, details: [] })),
            ...[...members].map(({ name }): Again => ({ node: name, details: [] })),
          ],
        },
      ];
    }),
  );
}

/** Next hops that no report is from. */
export function checkUnknown(domains: readonly Domain[]): Sighted[] {
  const all = domains.flatMap(({ unknown }) => unknown);
  return [...groupBy(all, ({ place }) => place)].flatMap(([place, group]): Sighted[] => {
    const variants = group.flatMap((one) => one.variants);
    const nodes = [
      ...new Set(variants.flatMap(({ holders }) => namesOf(holders.map(({ node }) => node)))),
    ].sort();
    const count = group.reduce(
      (sum, one) => sum + Math.max(...one.variants.map((variant) => variant.count)),
      0,
    );
    const found = FOUND['unknown-place']({ place, count, nodes });
    const look = { node: nodes[0] ?? '', command: LOOK.peers };
    return [{ finding: finding('unknown-place', { nodes, found, look }), isMoving: false }];
  });
}

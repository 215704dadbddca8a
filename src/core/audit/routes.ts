// What nodes have of each other's addresses, where that differs from what the owners have. Pure.

import type { Fabric } from './collection.ts';
import type { Sighted } from './finding.ts';
import { checkGhosts } from './ghosts.ts';
import { describeHoles } from './holes.ts';
import type { Contested } from './owners.ts';
import { differencesIn, domainOf, undecidedNodes, vnisOf } from './places.ts';
import { checkUndecided, checkUnknown } from './undecided.ts';
import { describeWrong, Elsewhere, judgeAll } from './wrong.ts';

export function checkRoutes(fabric: Fabric, isContested: Contested, settle: number): Sighted[] {
  const domains = [...vnisOf(fabric)].sort((a, b) => a - b).map((vni) => domainOf(fabric, vni, isContested));
  const differences = domains.flatMap(differencesIn);
  const extras = differences
    .flatMap(({ extra }) => extra)
    .filter(({ vni, entry }) => !isContested(vni, entry.ip));
  const wrong = judgeAll(extras, fabric, settle);
  const elsewhere = new Elsewhere(wrong, fabric);
  const undecided = undecidedNodes(domains);
  return [
    ...domains.flatMap(({ vni }) => checkGhosts(fabric, vni, settle)),
    ...describeWrong(wrong),
    ...describeHoles(differences, { isContested, elsewhere, undecided, settle }),
    ...domains.flatMap((domain) => checkUndecided(domain, settle)),
    ...checkUnknown(domains),
  ];
}

// The places of a VNI: what is there by the reports of their nodes, and where other nodes have something else. Pure.

import type { IpAddress } from '../../base/address.ts';
import { ensure, split } from '../../base/group.ts';
import { digestsWith } from '../digest.ts';
import {
  type AuditedNode,
  advertised,
  type Claim,
  type Fabric,
  type Holder,
  sinceOf,
  type Variant,
} from './collection.ts';
import type { ReportedEntry } from './document.ts';
import type { Presence } from './motion.ts';
import type { Contested } from './owners.ts';

/** One VNI: who has it, and what is at each of its places. */
export interface Domain {
  readonly vni: number;
  /** The nodes where the VNI is active. */
  readonly nodes: readonly AuditedNode[];
  readonly places: readonly Place[];
  /** Places that no report is from. */
  readonly unknown: readonly { readonly place: string; readonly variants: readonly Variant[] }[];
}

export interface Place {
  readonly vni: number;
  readonly place: string;
  /** The nodes that are there: one, or those of an Ethernet segment or of an anycast VTEP. */
  readonly members: ReadonlySet<AuditedNode>;
  /** Their addresses, each once. */
  readonly claims: ReadonlyMap<IpAddress, Claim>;
  /** What others have of it, and is something else. */
  readonly deviating: readonly Variant[];
}

export function vnisOf({ claims, variants, nodes }: Fabric): Set<number> {
  return new Set([
    ...claims.keys(),
    ...variants.keys(),
    ...nodes.flatMap(({ vnis }) => vnis.map(({ vni }) => vni)),
  ]);
}

export function domainOf(
  { nodes: all, claims, variants }: Fabric,
  vni: number,
  isContested: Contested,
): Domain {
  const nodes = all.filter(
    (node) =>
      node.frrMessage === null &&
      node.vnis.some((one) => one.vni === vni && one.active && one.bridge !== null),
  );
  const members = new Map<string, Set<AuditedNode>>();
  for (const node of all)
    for (const { vni: known, vtep } of node.vnis)
      if (known === vni && vtep !== null) ensure(members, vtep, () => new Set<AuditedNode>()).add(node);
  const owned = new Map<string, Map<IpAddress, Claim>>();
  for (const table of claims.get(vni)?.values() ?? [])
    for (const claim of advertised(table)) {
      ensure(members, claim.place, () => new Set<AuditedNode>()).add(claim.node);
      ensure(owned, claim.place, () => new Map<IpAddress, Claim>()).set(claim.ip, claim);
    }
  const reported = variants.get(vni) ?? new Map<string, readonly Variant[]>();
  const places = [...members].map(([place, there]): Place => {
    const own = owned.get(place) ?? new Map<IpAddress, Claim>();
    // Of a contested address nodes have the one owner or the other.
    const [contested, certain] = split([...own.values()], ({ ip }) => isContested(vni, ip));
    const digests = digestsWith(certain, contested);
    const held = reported.get(place) ?? [];
    const deviating = held.filter(({ digest }) => !digests.has(digest));
    const without = own.size === 0 ? [] : nodesWithout(nodes, there, held);
    return { vni, place, members: there, claims: own, deviating: [...deviating, ...without] };
  });
  const unknown = [...reported]
    // In replaced reports alone there is nothing of it now.
    .filter(([place, held]) => held.length > 0 && !members.has(place))
    .map(([place, held]) => ({ place, variants: held }));
  return { vni, nodes, places, unknown };
}

/** A variant without addresses, for the nodes that have the VNI and nothing of a place. */
function nodesWithout(
  nodes: readonly AuditedNode[],
  members: ReadonlySet<AuditedNode>,
  variants: readonly Variant[],
): Variant[] {
  const has = new Set(variants.flatMap(({ holders }) => holders.map(({ node }) => node)));
  const without = nodes.filter((node) => !members.has(node) && !has.has(node));
  if (without.length === 0) return [];
  const holders = without.map((node) => ({ node, youngest: Number.NEGATIVE_INFINITY }));
  return [{ digest: '', count: 0, entries: [], listedAt: 0, holders }];
}

/** The nodes that have something else of a place and do not list it: what is missing there may be elsewhere. */
export function undecidedNodes(domains: readonly Domain[]): ReadonlySet<AuditedNode> {
  const variants = domains.flatMap(({ places }) => places.flatMap(({ deviating }) => deviating));
  const undecided = variants.filter(({ entries }) => entries === null);
  return new Set(undecided.flatMap(({ holders }) => holders.map(({ node }) => node)));
}

/** An entry that nodes have, and that its place does not have. */
export interface Extra {
  readonly vni: number;
  readonly place: string;
  readonly entry: ReportedEntry;
  /** The same list for all entries of a variant: there may be a thousand of each. */
  readonly holders: readonly Holder[];
  /** The time of the report that lists it. */
  readonly listedAt: number;
  /** The nodes of the place; none: no report is from there. */
  readonly members: readonly AuditedNode[];
}

export interface Difference {
  readonly missing: readonly Claim[];
  readonly extra: readonly Extra[];
  readonly holders: readonly Holder[];
}

export function differencesIn({ vni, places, unknown }: Domain): Difference[] {
  const known = places.flatMap((place) => place.deviating.flatMap((variant) => differenceOf(place, variant)));
  // Of a place without a report only addresses that others own are known to be wrong.
  const strange = unknown.flatMap(({ place, variants }) =>
    variants.flatMap((variant): Difference[] =>
      variant.entries === null
        ? []
        : [
            {
              missing: [],
              holders: [],
              extra: extrasOf({ vni, place, members: new Set() }, variant.entries, variant),
            },
          ],
    ),
  );
  return [...known, ...strange];
}

function differenceOf(place: Place, variant: Variant): Difference[] {
  const { entries, holders } = variant;
  if (entries === null) return [];
  const macs = new Map(entries.map(({ ip, mac }) => [ip, mac]));
  return [
    {
      holders: holders.filter(({ node }) => !place.members.has(node)),
      missing: [...place.claims.values()].filter(({ ip, mac }) => macs.get(ip) !== mac),
      extra: extrasOf(
        place,
        entries.filter(({ ip, mac }) => place.claims.get(ip)?.mac !== mac),
        variant,
      ),
    },
  ];
}

function extrasOf(
  { vni, place, members: there }: Pick<Place, 'vni' | 'place' | 'members'>,
  entries: readonly ReportedEntry[],
  { holders: all, listedAt }: Variant,
): Extra[] {
  const members = [...there];
  const holders = all.filter(({ node }) => !there.has(node));
  return entries.map((entry) => ({ vni, place, entry, members, holders, listedAt }));
}

/**
 * Since when a node is taken to have an entry. Of the nodes with the same entries the ages of one are kept, as a route reaches all
 * of them at about the same time. They do not count for a node that has got an entry after that report: it may be this one, anew.
 */
export function presenceOf({ entry, listedAt }: Extra, { node: { at }, youngest }: Holder): Presence {
  return { at, since: youngest > listedAt ? youngest : Math.min(youngest, sinceOf(listedAt, entry.age)) };
}

/** A key of the nodes, to put together what is so at the same nodes. */
export function keyOf(nodes: readonly AuditedNode[]): string {
  return nodes.map(({ index }) => index).join();
}

export function namesOf(nodes: readonly AuditedNode[]): string[] {
  return nodes.map(({ name }) => name).sort();
}

// Which nodes of an earlier fabric are those of a later one. Pure.

import { groupBy } from '../../base/group.ts';

/** What reports say of which node they are of. */
export interface Identity {
  readonly hostname: string;
  /** Null: not known, as without FRR. */
  readonly routerId: string | null;
  /** Empty: not known. */
  readonly vteps: readonly string[];
}

/**
 * For each earlier node the later one that is the same: by its host name and router ID, else by its host name and VTEPs, as far as
 * both are known. A node that may be one of several is none of them.
 */
export function sameNodes<T extends Identity>(earlier: readonly T[], later: readonly T[]): ReadonlyMap<T, T> {
  const candidates = groupBy(later, ({ hostname }) => hostname);
  const groups = groupBy(earlier, ({ hostname }) => hostname);
  return new Map([...groups].flatMap(([hostname, group]) => pair(group, candidates.get(hostname) ?? [])));
}

/** The pairs of nodes with one host name: those that are certain first. */
function pair<T extends Identity>(earlier: readonly T[], later: readonly T[]): (readonly [T, T])[] {
  const certain = onlyPairs(earlier, later, hasSameRouterId);
  const taken = new Set(certain.flat());
  const isLeft = (node: T): boolean => !taken.has(node);
  return [...certain, ...onlyPairs(earlier.filter(isLeft), later.filter(isLeft), mayBeSame)];
}

/** The pairs of which neither node has another one that it could be. */
function onlyPairs<T extends Identity>(
  earlier: readonly T[],
  later: readonly T[],
  isSame: (one: Identity, other: Identity) => boolean,
): (readonly [T, T])[] {
  return earlier.flatMap((node) => {
    const [other, ...more] = later.filter((one) => isSame(node, one));
    if (other === undefined || more.length > 0) return [];
    const rivals = earlier.filter((one) => one !== node && isSame(one, other));
    return rivals.length > 0 ? [] : [[node, other] as const];
  });
}

function hasSameRouterId(one: Identity, other: Identity): boolean {
  return one.routerId !== null && one.routerId === other.routerId;
}

function mayBeSame(one: Identity, other: Identity): boolean {
  if (one.routerId !== null && other.routerId !== null) return one.routerId === other.routerId;
  if (one.vteps.length === 0 || other.vteps.length === 0) return true;
  return one.vteps.join() === other.vteps.join();
}

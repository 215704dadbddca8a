// What reports of different instants prove. Pure.
//
// A report says what a node has at one instant, and by the ages of its entries since when. It does not say since when a node
// lacks an entry. Two reports prove a fault when both parts of it were true at one instant, for longer than changes need to
// reach all nodes; clocks that differ count as that as well. What is not proven is in motion.

/** Something that a node has. Seconds since the epoch. */
export interface Presence {
  /** When it came at the latest; -Infinity: not known, so long ago. */
  readonly since: number;
  /** When the report was made. */
  readonly at: number;
}

/** When the last of them came, at the latest. */
export function latest(all: readonly Pick<Presence, 'since'>[]): number {
  return all.reduce((last, { since }) => Math.max(last, since), Number.NEGATIVE_INFINITY);
}

/** True when two nodes had both at one time. */
export function overlap(a: Presence, b: Presence, settle: number): boolean {
  return Math.min(a.at, b.at) - Math.max(a.since, b.since) > settle;
}

/**
 * True when one node had it while the other, whose report is of `at`, lacked it. A report that is later by more than `settle`
 * proves nothing: the first node may have lost it meanwhile.
 */
export function lacks({ since, at: seen }: Presence, at: number, settle: number): boolean {
  return at <= seen + settle && at - since > settle;
}

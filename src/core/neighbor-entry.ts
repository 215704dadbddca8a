// An entry of the kernel's neighbor table: its owner, whether it is valid, and its state in words. Pure.

import {
  type Neighbor,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NTF_ROUTER,
  NUD_DELAY,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
} from '../netlink/neighbor.ts';
import type { NeighborEntry } from './report.ts';

/** States in which the kernel uses the entry's MAC (NUD_VALID of net/neighbour.h). */
const NUD_VALID = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

// linux/rtnetlink.h: the protocol of entries without a mark of their owner, and that of zebra's.
const RTPROT_UNSPEC = 0;
const RTPROT_ZEBRA = 11;

/** States in which the kernel leaves an entry as it is. */
const NUD_FIXED = NUD_NOARP | NUD_PERMANENT;

/** Bits of NUD_* by their names in iproute2. */
const STATE_NAMES: ReadonlyMap<number, string> = new Map([
  [NUD_NONE, 'none'],
  [NUD_INCOMPLETE, 'incomplete'],
  [NUD_REACHABLE, 'reachable'],
  [NUD_STALE, 'stale'],
  [NUD_DELAY, 'delay'],
  [NUD_PROBE, 'probe'],
  [NUD_FAILED, 'failed'],
  [NUD_NOARP, 'noarp'],
  [NUD_PERMANENT, 'permanent'],
]);

/**
 * The time since its confirmation after which an exposed entry is written again: well below gc_stale_time (60 s), see
 * neigh_periodic_work in net/core/neighbour.c.
 */
export const REFRESH_AFTER_MS = 20_000;

/**
 * True for an entry that snoopy wrote; `protocol` is its NDA_PROTOCOL. The kernel keeps that number when EVPN takes
 * an entry over, so an externally learned entry is never ours.
 */
export function isOurs(entry: Neighbor, protocol: number): boolean {
  return entry.protocol === protocol && !isRemote(entry);
}

/** True for an entry that zebra learned from another node. */
export function isRemote({ flags }: Neighbor): boolean {
  return (flags & NTF_EXT_LEARNED) !== 0;
}

/** True for an entry that the kernel keeps by itself: one that it made from ARP or ND, or that of zebra for a local host. */
export function isKernels(entry: Neighbor): boolean {
  return isZebras(entry) || (entry.protocol === RTPROT_UNSPEC && !isRemote(entry) && !isFixed(entry));
}

/**
 * True for an entry that zebra wrote for a local host of an Ethernet segment (EVPN multihoming), over any other: it does so
 * when the other nodes of the segment have withdrawn the host, so that the kernel says whether the host is still here. Not for
 * its permanent entry of a next hop (netlink_handle_5549 in zebra/rt_netlink.c), which it writes again when that is replaced.
 */
export function isZebras(entry: Neighbor): boolean {
  return entry.protocol === RTPROT_ZEBRA && !isRemote(entry) && !isFixed(entry);
}

/** True when the kernel uses the entry's MAC. */
export function isValid({ state }: Neighbor): boolean {
  return (state & NUD_VALID) !== 0;
}

/** True when the kernel does not change the entry's state by itself. */
export function isFixed({ state }: Neighbor): boolean {
  return (state & NUD_FIXED) !== 0;
}

/** True for the neighbor of an IPv6 router. */
export function isRouter({ flags }: Neighbor): boolean {
  return (flags & NTF_ROUTER) !== 0;
}

/** True for an entry with NTF_EXT_EXT_VALIDATED. */
export function isValidated({ extFlags }: Neighbor): boolean {
  return (extFlags & NTF_EXT_EXT_VALIDATED) !== 0;
}

/** True for an entry that garbage collection may delete while its host is still here. */
export function isExposed(entry: Neighbor): boolean {
  return entry.state === NUD_NOARP && !isValidated(entry);
}

/** A NUD_* state as iproute2 names it. */
export function stateName(state: number): string {
  return STATE_NAMES.get(state) ?? `0x${state.toString(16)}`;
}

/** An entry for a report, in the words of iproute2. */
export function describeEntry(entry: Neighbor): NeighborEntry {
  return {
    mac: entry.mac ?? null,
    state: stateName(entry.state),
    protocol: entry.protocol,
    flags: [...(isRouter(entry) ? ['router'] : []), ...(isRemote(entry) ? ['extern_learn'] : [])],
  };
}

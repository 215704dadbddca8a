// The state in which a neighbor is written, and whether an entry has it. Pure.

import type { IpAddress } from '../../base/address.ts';
import { type Neighbor, NUD_NOARP } from '../../netlink/neighbor.ts';
import type { NeighborState } from '../desired.ts';
import { isFixed, isValidated } from '../neighbor-entry.ts';
import { type Bridge, type Domain, ownAddressFor } from '../topology.ts';

/** How a neighbor is written. */
export interface EntryState {
  readonly state: NeighborState;
  /**
   * True: with NTF_EXT_EXT_VALIDATED (Linux 6.17), so that only its owner deletes the entry. A kernel without the flag
   * gets a plain `noarp` entry instead: it deletes a plain `stale` one.
   */
  readonly validated: boolean;
}

const NOARP: EntryState = { state: 'noarp', validated: true };
const CURRENT: EntryState = { state: 'stale', validated: true };
const STALE: EntryState = { state: 'stale', validated: false };
const REACHABLE: EntryState = { state: 'reachable', validated: false };

/**
 * The state for the neighbor of an address. `auto`: where the node has an address of the same subnet, it talks to its
 * hosts, and the kernel keeps the entry current, so that a host that comes back with another MAC is reachable at once.
 * A static entry is never left to ARP. A bond may be an Ethernet segment of EVPN multihoming: then zebra takes an entry
 * for inactive unless it is NOARP, PERMANENT or REACHABLE (netlink_ipneigh_change in zebra/rt_netlink.c).
 */
export function stateFor(
  { desired, hasBond }: Bridge,
  domain: Domain,
  { ip, source }: { readonly ip: IpAddress; readonly source: 'learned' | 'static' },
): EntryState {
  switch (desired.neighborState) {
    case 'auto':
      return source === 'learned' && !hasBond && ownAddressFor(domain, ip) !== undefined ? CURRENT : NOARP;
    case 'noarp':
      return NOARP;
    case 'stale':
      return STALE;
    case 'reachable':
      return REACHABLE;
    default:
      return desired.neighborState satisfies never;
  }
}

/** True when an entry of ours needs no write to have the state. The kernel moves between the states that are not fixed. */
export function hasState(entry: Neighbor, { state, validated }: EntryState): boolean {
  const isNoarp = entry.state === NUD_NOARP;
  if (state === 'noarp') return isNoarp;
  // A kernel with the flag would have set it.
  if (isNoarp) return validated && !isValidated(entry);
  return !isFixed(entry) && isValidated(entry) === validated;
}

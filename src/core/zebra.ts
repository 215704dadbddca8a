// Whether zebra has the neighbors that runs have written, and their MACs. It can miss a message of the kernel, as when a burst
// overruns its netlink socket, and no later message repairs that: only another change of the same entry does. Pure.

import type { IfIndex, Mac } from '../base/address.ts';
import type { FdbEntry } from '../netlink/fdb.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import { NUD_NOARP, NUD_REACHABLE } from '../netlink/neighbor.ts';
import { type Frr, type FrrNeighbor, vniOf, vnisByDevice } from './frr.ts';
import { isOurs, isValid } from './neighbor-entry.ts';
import type { Decision } from './neighbors/decide.ts';
import type { Topology } from './topology.ts';

/** So many new neighbors can overrun the socket; fewer are seldom lost. */
const BURST = 64;
/** The shortest time between two verifications: after a burst, after other writes, and without any. Each costs two processes. */
const AFTER_BURST_MS = 2_000;
const AFTER_WRITES_MS = 30_000;
const REGULARLY_MS = 300_000;

/** A neighbor of ours that an earlier pass has written. */
export interface Written {
  readonly device: string;
  readonly entry: Neighbor;
  /** Its MAC in the FDB; null when the bridge forwards it to no local port, or to one on which nothing is to be changed. */
  readonly forwarded: ForwardedMac | null;
}

/** A MAC that a bridge forwards to a local port. */
export interface ForwardedMac {
  readonly bridge: IfIndex;
  /** As in the FDB. 0: no VLAN. */
  readonly vlan: number;
  readonly mac: Mac;
  readonly port: IfIndex;
}

/** What earlier passes have written, of these decisions. `protocol` is NDA_PROTOCOL of our own entries. */
export function writtenEarlier(
  { bridges }: Pick<Topology, 'bridges'>,
  decisions: readonly Decision[],
  protocol: number,
): Written[] {
  const aware = new Set(bridges.flatMap(({ ifIndex, vlanAware }) => (vlanAware ? [ifIndex] : [])));
  return decisions.flatMap(({ state, due, device, candidate }) => {
    const { entry, bridge, vlan, mac, location } = candidate;
    if (state !== 'installed' || due || device === null || entry === undefined) return [];
    if (!isOurs(entry, protocol) || !isValid(entry)) return [];
    // On a locked port a host without an entry in the FDB is shut out, if only for an instant.
    const port = location.kind === 'local' && !location.port.locked ? location.port.ifIndex : null;
    const forwarded = port === null ? null : { bridge, vlan: aware.has(bridge) ? vlan : 0, mac, port };
    return [{ device, entry, forwarded }];
  });
}

/** What passes have written since zebra was last asked: that entries are written again before they age out does not count. */
export type Writes = 'none' | 'few' | 'burst';

export function writesOf(count: number): Writes {
  if (count >= BURST) return 'burst';
  return count > 0 ? 'few' : 'none';
}

/** The time between the last verification and the next one, in milliseconds. */
export function verificationInterval(writes: Writes): number {
  switch (writes) {
    case 'burst':
      return AFTER_BURST_MS;
    case 'few':
      return AFTER_WRITES_MS;
    case 'none':
      return REGULARLY_MS;
    default:
      return writes satisfies never;
  }
}

/** A neighbor on the device of a VNI of zebra. */
export interface Relevant extends Written {
  readonly vni: number;
}

export function relevantTo(frr: Pick<Frr, 'vnis' | 'neighbors'>, written: readonly Written[]): Relevant[] {
  const vnisOf = vnisByDevice(frr);
  return written.flatMap((one) => {
    const vni = vniOf(vnisOf.get(one.device) ?? [], (other) => frr.neighbors.get(other)?.get(one.entry.ip));
    return vni === undefined ? [] : [{ ...one, vni }];
  });
}

/**
 * What zebra may have missed. `neighbor`: it lacks the neighbor, or has it as a local one with another MAC. `mac`: it has the
 * neighbor, but no local MAC for it (local inactive), as of a host that is silent. zebra of FRR 10.3 and 10.4 also misses the
 * MACs of a port that it does not know yet: it hears of ports and of MACs through two sockets (kernel_init of
 * zebra/kernel_netlink.c).
 */
export type Lack = 'neighbor' | 'mac';

/** null: nothing. */
export function lackOf(known: FrrNeighbor | undefined, { mac }: Pick<Neighbor, 'mac'>): Lack | null {
  if (known === undefined) return 'neighbor';
  if (!known.isLocal) return null;
  if (known.mac !== mac) return 'neighbor';
  // FRR itself has made a duplicate inactive.
  return known.isActive || known.isDuplicate ? null : 'mac';
}

/** A neighbor of which zebra lacks something. */
export interface Lacking extends Relevant {
  readonly lack: Lack;
}

/** Those of which zebra lacks something. */
export function lackingIn({ neighbors }: Pick<Frr, 'neighbors'>, relevant: readonly Relevant[]): Lacking[] {
  return relevant.flatMap((one) => {
    const lack = lackOf(neighbors.get(one.vni)?.get(one.entry.ip), one.entry);
    return lack === null ? [] : [{ ...one, lack }];
  });
}

/**
 * Whether an entry of the FDB can be created anew just as it is: a learned or a static one, of which the kernel alone keeps
 * account. zebra keeps the activity of the MACs of an Ethernet segment; other flags are of hardware or of another program.
 */
export function isRenewable({
  state,
  flags,
  activity,
}: Pick<FdbEntry, 'state' | 'flags' | 'activity'>): boolean {
  return (state === NUD_REACHABLE || state === NUD_NOARP) && flags === 0 && activity === 'untracked';
}

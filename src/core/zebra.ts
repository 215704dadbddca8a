// Whether zebra has the neighbors that runs have written. A burst that overruns its netlink socket is lost to it, and no later
// message repairs that: only another change of the entry does. Pure.

import type { Neighbor } from '../netlink/neighbor.ts';
import { type Frr, vniOf, vnisByDevice } from './frr.ts';
import { isOurs, isValid } from './neighbor-entry.ts';
import type { Decision } from './neighbors/decide.ts';

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
}

/** What earlier passes have written, of these decisions. `protocol` is NDA_PROTOCOL of our own entries. */
export function writtenEarlier(decisions: readonly Decision[], protocol: number): Written[] {
  return decisions.flatMap(({ state, due, device, candidate: { entry } }) => {
    if (state !== 'installed' || due || device === null || entry === undefined) return [];
    return isOurs(entry, protocol) && isValid(entry) ? [{ device, entry }] : [];
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
export interface Relevant {
  readonly vni: number;
  readonly entry: Neighbor;
}

export function relevantTo(frr: Pick<Frr, 'vnis' | 'neighbors'>, written: readonly Written[]): Relevant[] {
  const vnisOf = vnisByDevice(frr);
  return written.flatMap(({ device, entry }) => {
    const vni = vniOf(vnisOf.get(device) ?? [], (one) => frr.neighbors.get(one)?.get(entry.ip));
    return vni === undefined ? [] : [{ vni, entry }];
  });
}

/** Those that zebra lacks, or has as local ones with another MAC. */
export function missingIn({ neighbors }: Pick<Frr, 'neighbors'>, relevant: readonly Relevant[]): Relevant[] {
  return relevant.filter(({ vni, entry: { ip, mac } }) => {
    const known = neighbors.get(vni)?.get(ip);
    return known === undefined || (known.isLocal && known.mac !== mac);
  });
}

// The input of the steps of a story: one place, its state, and what was read about it. Pure.

import type { IfIndex } from '../../base/address.ts';
import type { Neighbor } from '../../netlink/neighbor.ts';
import type { FrrHost } from '../frr.ts';
import { matchesGlob } from '../glob.ts';
import type { Location } from '../host-index.ts';
import { isOurs, isRemote, isValid } from '../neighbor-entry.ts';
import type { Bridge } from '../topology.ts';
import type { Facts, Place } from './places.ts';
import type { StoryState } from './report.ts';

/** What is read about a place once its MAC and VNIs are known. */
export interface Closeup {
  /** Time since the bridge last saw the MAC; null when it does not know the MAC. */
  readonly fdbAgeMs: number | null;
  /** The VNI of the place in which zebra has the address; null for a place without VNIs. */
  readonly vni: number | null;
  /** What FRR knows about the address in that VNI; null without one. */
  readonly frr: FrrHost | null;
}

export interface Scene {
  readonly facts: Facts;
  readonly place: Place;
  readonly closeup: Closeup;
  /** Where the bridge forwards the MAC. */
  readonly location: Location;
  readonly state: StoryState;
  readonly bridgeName: string;
}

/** The scene of a place. */
export function sceneOf(facts: Facts, place: Place, closeup: Closeup, location: Location): Scene {
  const bridgeName = place.bridge?.desired.name ?? nameOf(facts, place.bridgeIndex);
  return { facts, place, closeup, location, state: stateOf(place), bridgeName };
}

function stateOf({ decision, binding, neighbor, proxied, refused, hint }: Place): StoryState {
  if (proxied !== undefined && (decision === undefined || decision.state === 'waiting')) return 'proxied';
  if (decision !== undefined) return decision.due ? 'waiting' : decision.state;
  if (binding !== undefined) return 'ended';
  if (neighbor !== undefined && isRemote(neighbor)) return 'remote';
  if (isUsable(neighbor)) return 'unheard';
  if (hint !== undefined) return 'hinted';
  return refused === undefined ? 'unheard' : 'refused';
}

/** True for an entry whose MAC the kernel uses. */
export function isUsable(neighbor: Neighbor | undefined): boolean {
  return neighbor !== undefined && isValid(neighbor);
}

/** True when snoopy wrote the neighbor of the address. */
export function hasOwnNeighbor({ facts, place: { neighbor } }: Scene): boolean {
  return neighbor !== undefined && isOurs(neighbor, facts.desired.runtime.neighborProtocol);
}

/** How many seconds the address stays frozen; null when it is not frozen. */
export function frozenFor({ facts, place: { binding } }: Scene): number | null {
  const { nowMs } = facts.hosts;
  return binding !== undefined && binding.frozenUntilMs > nowMs
    ? secondsSince(binding.frozenUntilMs, nowMs)
    : null;
}

/** The port where the host is, as far as known. */
export function portOf({ facts, place, location }: Scene): string | null {
  if (location.kind === 'local' || location.kind === 'inactive') return location.port.name;
  if (place.binding !== undefined) return nameOf(facts, place.binding.port);
  return place.decision === undefined && place.refused !== undefined
    ? nameOf(facts, place.refused.port)
    : null;
}

export function nameOf({ observed }: Facts, ifIndex: IfIndex): string {
  return observed.links.get(ifIndex)?.name ?? `the deleted port #${ifIndex}`;
}

/** A local port that `ports` leaves out, and whether `ports.exclude` is the reason. */
export function excludedPort(
  facts: Facts,
  bridge: Bridge | undefined,
  ifIndex: IfIndex,
): { readonly port: string; readonly isExcluded: boolean } {
  const port = nameOf(facts, ifIndex);
  const globs = bridge?.desired.ports.exclude ?? [];
  return { port, isExcluded: globs.some((glob) => matchesGlob(port, glob)) };
}

/** Whole seconds; 0 when the clock was read before `ms`. */
export function secondsSince(nowMs: number, ms: number): number {
  return Math.max(0, Math.floor((nowMs - ms) / 1000));
}

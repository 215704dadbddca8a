// When something is due though nothing happens: for a run that listens. Pure.

import { bindingId } from '../datapath/records/binding-key.ts';
import { NTF_EXT_EXT_VALIDATED, NUD_NOARP } from '../netlink/neighbor.ts';
import type { ObservedHosts } from './observed.ts';
import { probeTimes } from './probes.ts';
import type { Topology } from './topology.ts';

/** No two passes for the clock alone are closer than this. */
const LEAST_MS = 1000;
/** An answer to a probe may be acted on after so long; it wakes nobody, for a host that is known costs no record. */
const ANSWER_MS = 1000;
/** Entries that garbage collection may take are looked after so often: see `needsRefresh`. */
const REFRESH_MS = 20_000;

/**
 * CLOCK_MONOTONIC in milliseconds at which the next probe, end of a hold time or end of an age is due; Infinity
 * where there is none. `hasAsked`: somebody is to answer now.
 */
export function nextDue(topology: Topology, hosts: ObservedHosts, hasAsked: boolean): number {
  const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  let due = Number.POSITIVE_INFINITY;
  const consider = (atMs: number): void => {
    if (atMs > hosts.nowMs && atMs < due) due = atMs;
  };
  for (const binding of hosts.bindings) {
    const bridge = bridges.get(binding.bridge);
    if (bridge === undefined) continue;
    const { maxAgeMs } = bridge.desired;
    consider(binding.frozenUntilMs);
    if (maxAgeMs !== null) consider(binding.lastSeenMs + maxAgeMs);
    for (const atMs of probeTimes(bridge, binding, hosts.probes.get(bindingId(binding)))) consider(atMs);
  }
  const isExposed = hosts.neighbors.some(
    ({ state, extFlags, protocol }) =>
      protocol !== 0 && state === NUD_NOARP && (extFlags & NTF_EXT_EXT_VALIDATED) === 0,
  );
  if (hasAsked) consider(hosts.nowMs + ANSWER_MS);
  if (isExposed) consider(hosts.nowMs + REFRESH_MS);
  return Math.max(due, hosts.nowMs + LEAST_MS);
}

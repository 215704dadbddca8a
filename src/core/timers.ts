// When a listening run has something to do although nothing happens. Pure.

import { bindingId } from '../datapath/records/binding-key.ts';
import { isExposed, isOurs, REFRESH_AFTER_MS } from './neighbor-entry.ts';
import type { ObservedHosts } from './observed.ts';
import { probeTimes } from './probes/ageing.ts';
import { ANSWER_MS } from './probes/probe.ts';
import type { Topology } from './topology.ts';

/** The shortest time between two passes that only the clock causes. */
const LEAST_MS = 1000;

/**
 * When the next probe, refresh, end of a hold time or end of an age is due: CLOCK_MONOTONIC in milliseconds, Infinity
 * when none is. `protocol` is NDA_PROTOCOL of our own entries. `hasProbed`: answers are expected. The answer of a known
 * host makes no record in the ring, so only the clock ends the wait for it.
 */
export function nextDue(
  topology: Topology,
  hosts: ObservedHosts,
  { protocol, hasProbed }: { readonly protocol: number; readonly hasProbed: boolean },
): number {
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
  const needsRefresh = hosts.neighbors.some((entry) => isOurs(entry, protocol) && isExposed(entry));
  if (hasProbed) consider(hosts.nowMs + ANSWER_MS);
  if (needsRefresh) consider(hosts.nowMs + REFRESH_AFTER_MS);
  return Math.max(due, hosts.nowMs + LEAST_MS);
}

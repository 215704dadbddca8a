// When a listening run looks at an address although nothing happens. Pure.

import type { Binding } from '../datapath/records/binding.ts';
import type { ProbeState } from '../datapath/records/probe.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import { isExposed, isOurs, REFRESH_AFTER_MS } from './neighbor-entry.ts';
import { probeTimes } from './probes/ageing.ts';
import type { Bridge } from './topology.ts';

/**
 * When the next probe, end of a hold time or end of an age of a binding is due after `sinceMs`: CLOCK_MONOTONIC in milliseconds,
 * Infinity when none is. `isForgotten`: the bridge has aged out its MAC.
 */
export function bindingDueMs(
  bridge: Bridge,
  binding: Binding,
  probes: ProbeState | undefined,
  sinceMs: number,
  isForgotten = false,
): number {
  const { maxAgeMs } = bridge.desired;
  let dueMs = Number.POSITIVE_INFINITY;
  const consider = (atMs: number): void => {
    if (atMs > sinceMs && atMs < dueMs) dueMs = atMs;
  };
  consider(binding.frozenUntilMs);
  if (maxAgeMs !== null) consider(binding.lastSeenMs + maxAgeMs);
  for (const atMs of probeTimes(bridge, binding, probes, isForgotten)) consider(atMs);
  return dueMs;
}

/** When a neighbor is to be written again: Infinity unless it is ours, and exposed. `protocol` is NDA_PROTOCOL of ours. */
export function refreshDueMs(entry: Neighbor | undefined, protocol: number, nowMs: number): number {
  const needsRefresh = entry !== undefined && isOurs(entry, protocol) && isExposed(entry);
  return needsRefresh ? nowMs + REFRESH_AFTER_MS : Number.POSITIVE_INFINITY;
}

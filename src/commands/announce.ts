// The announcements of a pass: addresses that moved to another MAC at another node, for the hosts here.

import { type Problem, problemOf } from '../base/errors.ts';
import { planAnnouncements } from '../core/announcements.ts';
import type { HostIndex } from '../core/host-index.ts';
import type { Decision } from '../core/neighbors/decide.ts';
import type { ObservedHosts } from '../core/observed.ts';
import type { Topology } from '../core/topology.ts';
import { sendAnnouncements } from '../host/announcer.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { Run } from './run.ts';

export interface Announced {
  /** Number of addresses. */
  readonly sent: number;
  /** Entries of zebra whose addresses are still to be announced: what is known of them must not change before. */
  readonly left: readonly Neighbor[];
  readonly errors: readonly Problem[];
}

/** Sends the announcements that are due; a check sends none. `index` is an index of `hosts`. Does not throw. */
export function announce(
  { options }: Run,
  topology: Topology,
  hosts: ObservedHosts,
  decisions: readonly Decision[],
  index: HostIndex,
): Announced {
  if (options.check) return { sent: 0, left: [], errors: [] };
  const { due, left } = planAnnouncements(topology, hosts, decisions, index);
  try {
    sendAnnouncements(due);
    return { sent: due.length, left, errors: [] };
  } catch (thrown) {
    const entries = due.map(({ entry }) => entry);
    return { sent: 0, left: [...entries, ...left], errors: [problemOf(thrown, 'announcements')] };
  }
}

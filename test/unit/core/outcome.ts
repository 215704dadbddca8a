// The outcome of a pass that decides about a scene and does everything.

import { HostIndex } from '../../../src/core/host-index.ts';
import { type HostPlan, planHosts } from '../../../src/core/neighbors/plan.ts';
import type { ObservedHosts } from '../../../src/core/observed.ts';
import { hintsByStatus } from '../../../src/core/probes/hints.ts';
import { planMemory } from '../../../src/core/probes/memory.ts';
import type { Topology } from '../../../src/core/topology.ts';
import type { PassOutcome } from '../../../src/core/watchlist.ts';
import type { Binding } from '../../../src/datapath/records/binding.ts';

const WHOLE = { protocol: 115, whole: true };

export function outcomeOf(
  topology: Topology,
  hosts: ObservedHosts,
  elsewhere = 0,
): PassOutcome & { readonly plan: HostPlan; readonly forget: readonly Binding[] } {
  const index = new HostIndex(hosts);
  const plan = planHosts(topology, hosts, WHOLE, index);
  const byStatus = hintsByStatus(topology, hosts, index, WHOLE);
  const memory = planMemory(topology, hosts, index, plan, byStatus, { room: 1000, elsewhere });
  const { protocol } = WHOLE;
  return {
    topology,
    hosts,
    index,
    plan,
    byStatus,
    memory,
    failed: [],
    probed: [],
    wereDue: [],
    protocol,
    forget: plan.forget,
  };
}

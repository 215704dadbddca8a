// Bridges, ports, bindings, counters as they stand. Changes nothing, consumes nothing, waits for nobody.

import type { Users } from './base/trust.ts';
import { loadConfig } from './config/config.ts';
import type { Desired } from './core/desired.ts';
import { countByPort } from './core/ledger.ts';
import { planHosts } from './core/neighbors.ts';
import { hasProgram, type Observed, type ObservedHosts } from './core/observed.ts';
import type { NeighborCount, PortReport, StatusReport } from './core/report.ts';
import { countNeighbors, describeBinding, describeBridges } from './core/summary.ts';
import { resolveTopology, type Topology } from './core/topology.ts';
import { openRing } from './datapath/ring.ts';
import { observe, observeCounters, observeHosts } from './host/observe.ts';
import { openSession, type Session } from './host/session.ts';

interface Means {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly now: () => number;
  /** Whose files are believed. */
  readonly users: Users;
}

/** Throws SnoopyError as `runReconcile` does, but for the lock. */
export function runStatus(options: { readonly config: string }, { now, users }: Means): StatusReport {
  const desired = loadConfig(options.config, users);
  const session = openSession(desired, {
    mode: 'read',
    lockTimeoutMs: 0,
    now,
    users,
    capabilities: [],
  });
  try {
    return takeStock(session, desired, { now }).report;
  } finally {
    session.close();
  }
}

/** What is there now, and how many neighbors of ours by bridge and state. */
export function takeStock(
  session: Session,
  desired: Desired,
  { now }: Pick<Means, 'now'>,
): { readonly report: StatusReport; readonly neighbors: readonly NeighborCount[] } {
  const { netlink, runtime, pins } = session;
  const protocol = runtime.neighborProtocol;
  const observed = observe(netlink, runtime, pins);
  const topology = resolveTopology(desired, observed);
  const hosts = observeHosts(netlink, pins, topology, observed, now);
  const decided = planHosts(topology, hosts, { protocol, whole: true });
  const { ringDropped, ...counters } = observeCounters(pins);
  const report: StatusReport = {
    version: 1,
    ok: topology.problems.length === 0,
    loaded: pins.loadReason !== 'absent',
    reason: pins.loadReason,
    bridges: describeBridges(desired, topology, decided),
    ports: describePorts(topology, observed, hosts),
    bindings: decided.verdicts.map((verdict) => describeBinding(verdict, hosts.nowMs)),
    ring: { pending: isRingPending(session), dropped: ringDropped },
    counters,
    errors: topology.problems,
  };
  return { report, neighbors: countNeighbors(topology, hosts.neighbors, protocol) };
}

function describePorts(topology: Topology, observed: Observed, hosts: ObservedHosts): PortReport[] {
  const counts = countByPort(hosts.bindings);
  return topology.bridges.flatMap((bridge) =>
    bridge.ports.map(({ ifIndex, name }) => {
      return {
        name,
        bridge: bridge.desired.name,
        attached: hasProgram(observed, ifIndex),
        bindings: counts.get(ifIndex) ?? 0,
        limit: bridge.desired.limits.bindingsPerPort,
        limited: hosts.portStates.get(ifIndex)?.limited ?? 0,
      };
    }),
  );
}

function isRingPending({ pins }: Session): boolean {
  const map = pins.maps.get('changes');
  if (map === undefined) return false;
  const ring = openRing(map.fd, map.info.maxEntries);
  try {
    return ring.pending();
  } finally {
    ring.close();
  }
}

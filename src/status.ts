// Bridges, ports, bindings, counters as they stand. Changes nothing, consumes nothing, waits for nobody.

import type { Users } from './base/trust.ts';
import { loadConfig } from './config/config.ts';
import { countByPort } from './core/binding-counts.ts';
import { findBlockers } from './core/blockers.ts';
import type { Desired } from './core/desired.ts';
import { EVERYTHING, type HostFilter, matchesHost, select } from './core/filter.ts';
import type { FrrAnswer } from './core/frr.ts';
import { planHosts } from './core/neighbors/plan.ts';
import { hasProgram, type Observed, type ObservedHosts } from './core/observed.ts';
import type { FrrReport, NeighborCount, PortReport, StatusReport } from './core/report.ts';
import { countNeighbors, describeBinding, describeBridges } from './core/summary.ts';
import { chooseBridges, resolveTopology, type Topology } from './core/topology.ts';
import { openRing } from './datapath/ring.ts';
import { sleep } from './ffi/libc.ts';
import { askZebra } from './host/frr.ts';
import { observe, observeCounters, observeHosts } from './host/observe.ts';
import { openSession, type Session } from './host/session.ts';

export interface StatusOptions {
  readonly config: string;
  readonly filter: HostFilter;
  /** False: FRR is not asked, which saves the time of two processes. */
  readonly frr: boolean;
}

interface Means {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly now: () => number;
  /** Whose files are believed. */
  readonly users: Users;
}

/** Throws SnoopyError as `runReconcile` does, but for the lock. */
export function runStatus({ config, filter, frr }: StatusOptions, { now, users }: Means): StatusReport {
  const everything = loadConfig(config, users);
  const desired = chooseBridges(everything, filter.bridges);
  const session = openSession(everything, {
    mode: 'read',
    lockTimeoutMs: 0,
    now,
    users,
    capabilities: [],
  });
  try {
    return takeStock(session, desired, frr ? { now, filter, askFrr: askZebra } : { now, filter }).report;
  } finally {
    session.close();
  }
}

/** Time between two reports of `--watch`. */
const WATCH_MS = 1000;

/** A report each second, until `show` wants no more. Throws as `runStatus` does. */
export function watchStatus(
  options: StatusOptions,
  means: Means,
  show: (report: StatusReport) => boolean,
): void {
  for (;;) {
    const startedMs = means.now();
    if (!show(runStatus(options, means))) return;
    sleep(Math.max(0, startedMs + WATCH_MS - means.now()));
  }
}

interface StockOptions {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly now: () => number;
  readonly filter?: HostFilter;
  /** Asks FRR about the hosts that match; without it nobody is asked. */
  readonly askFrr?: () => FrrAnswer;
}

/** What is there now, and how many neighbors of ours by bridge and state. */
export function takeStock(
  session: Session,
  desired: Desired,
  { now, filter = EVERYTHING, askFrr }: StockOptions,
): { readonly report: StatusReport; readonly neighbors: readonly NeighborCount[] } {
  const { netlink, runtime, pins } = session;
  const protocol = runtime.neighborProtocol;
  const observed = observe(netlink, runtime, pins);
  const topology = resolveTopology(desired, observed);
  const hosts = observeHosts(netlink, pins, topology, observed, now);
  const decided = planHosts(topology, hosts, { protocol, whole: true });
  const { ringDropped, ...counters } = observeCounters(pins);
  const decisions = decided.decisions.filter((decision) => matchesHost(filter, decision));
  const all = {
    bridges: describeBridges(desired, topology, { decisions }),
    ports: describePorts(topology, observed, hosts),
  };
  const answer = decisions.length > 0 ? askFrr?.() : undefined;
  const blockerOf = answer?.kind === 'answered' ? findBlockers(answer.frr) : null;
  const report: StatusReport = {
    version: 1,
    ok: topology.problems.length === 0,
    loaded: pins.loadReason !== 'absent',
    reason: pins.loadReason,
    ...select(filter, all, decisions),
    bindings: decisions.map((decision) => describeBinding(decision, hosts.nowMs, blockerOf)),
    frr: describeFrr(answer),
    ring: { pending: isRingPending(session), dropped: ringDropped },
    counters,
    errors: topology.problems,
  };
  return { report, neighbors: countNeighbors(topology, hosts.neighbors, protocol) };
}

function describeFrr(answer: FrrAnswer | undefined): FrrReport {
  return {
    state: answer?.kind ?? 'unasked',
    message: answer?.kind === 'silent' ? answer.message : '',
  };
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

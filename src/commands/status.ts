// The current bridges, ports, bindings and counters. Changes nothing, consumes nothing, waits for no lock.

import { loadConfig } from '../config/config.ts';
import { countByPort, limitedSince } from '../core/binding-counts.ts';
import { findBlockers } from '../core/blockers.ts';
import type { Configuration } from '../core/desired.ts';
import { checkSelection } from '../core/entries.ts';
import { EVERYTHING, type HostFilter, matchesHost, select } from '../core/filter.ts';
import type { FrrAnswer } from '../core/frr.ts';
import type { Decision } from '../core/neighbors/decide.ts';
import { hasProgram } from '../core/observed.ts';
import { countHints } from '../core/probes/hints.ts';
import type { FrrReport, NeighborCount, PortReport, StatusReport } from '../core/report.ts';
import { countNeighbors, describeBinding, describeBridges } from '../core/summary.ts';
import { mayHaveSegments } from '../core/topology.ts';
import { sleep } from '../ffi/libc.ts';
import { queryAdvertised } from '../host/frr.ts';
import { observeCounters } from '../host/observe.ts';
import type { Session } from '../host/session.ts';
import { type CommandOptions, type Environment, READ, withSession } from './environment.ts';
import { type Survey, survey } from './retrieve.ts';

export interface StatusOptions extends CommandOptions {
  readonly filter: HostFilter;
  /** False: FRR is not queried, which saves the time of two processes. */
  readonly frr: boolean;
}

/** Throws SnoopyError as `runReconcile` does, except for the lock. */
export function runStatus({ config, filter, frr }: StatusOptions, environment: Environment): StatusReport {
  const { now, users } = environment;
  const configuration = loadConfig(config, users);
  checkSelection(configuration, filter.bridges);
  return withSession(configuration, READ, environment, (session) => {
    const found = surveyAll(session, configuration, now, filter.bridges);
    return takeStock(session, found, frr ? { filter, queryFrr: queryAdvertised } : { filter }).report;
  });
}

/** Time between two reports of `--watch`. */
const WATCH_MS = 1000;

/** A report each second, until `show` returns false. Throws as `runStatus` does. */
export function watchStatus(
  options: StatusOptions,
  environment: Environment,
  show: (report: StatusReport) => boolean,
): void {
  const { now } = environment;
  for (;;) {
    const startedMs = now();
    if (!show(runStatus(options, environment))) return;
    sleep(Math.max(0, startedMs + WATCH_MS - now()));
  }
}

/** What a run of these bridges would find now; none: of all. `now` reads CLOCK_MONOTONIC. Throws as `retrieve` does. */
export function surveyAll(
  session: Session,
  configuration: Configuration,
  now: () => number,
  selected: readonly string[] = [],
): Survey {
  return survey(session, configuration, selected, now, { whole: true });
}

interface StockOptions {
  readonly filter?: HostFilter;
  /** Queries FRR for the hosts that match; undefined: FRR is not queried. */
  readonly queryFrr?: typeof queryAdvertised;
}

/** The report of the state that was found, and the number of our own neighbors by bridge and state. */
export function takeStock(
  { runtime, pins }: Pick<Session, 'runtime' | 'pins'>,
  found: Survey,
  { filter = EVERYTHING, queryFrr }: StockOptions = {},
): { readonly report: StatusReport; readonly neighbors: readonly NeighborCount[] } {
  const { desired, topology, hosts, plan } = found;
  const { ringDropped, ...counters } = observeCounters(pins);
  const decisions = plan.decisions.filter((decision) => matchesHost(filter, decision));
  const all = {
    bridges: describeBridges(desired, topology, { decisions }, isWritten),
    ports: describePorts(found),
  };
  const answer =
    decisions.length > 0 ? queryFrr?.({ mayHaveSegments: mayHaveSegments(topology) }) : undefined;
  const blockerOf = answer?.kind === 'answered' ? findBlockers(answer.frr) : null;
  const report: StatusReport = {
    version: 1,
    ok: topology.problems.length === 0,
    loaded: pins.loadReason !== 'absent',
    reason: pins.loadReason,
    ...select(filter, all, decisions),
    bindings: decisions.map((decision) => describeBinding(decision, hosts.nowMs, blockerOf)),
    hints: countHints(hosts),
    frr: describeFrr(answer),
    ring: { pending: (pins.ring()?.pending() ?? 0) > 0, dropped: ringDropped },
    counters,
    errors: topology.problems,
  };
  return { report, neighbors: countNeighbors(topology, hosts.neighbors, runtime.neighborProtocol) };
}

/** True when the neighbor is in the kernel already. */
function isWritten({ state, due }: Decision): boolean {
  return state === 'installed' && !due;
}

export function describeFrr(answer: FrrAnswer | undefined): FrrReport {
  return {
    state: answer?.kind ?? 'unasked',
    message: answer?.kind === 'silent' ? answer.message : '',
  };
}

function describePorts({ topology, observed, hosts, plan }: Survey): PortReport[] {
  // As in the list of bindings: without those that have ended.
  const counts = countByPort(hosts.bindings.filter((binding) => !plan.endings.has(binding)));
  return topology.bridges.flatMap((bridge) =>
    bridge.ports.map(({ ifIndex, name }) => {
      return {
        name,
        bridge: bridge.desired.name,
        attached: hasProgram(observed, ifIndex),
        bindings: counts.get(ifIndex) ?? 0,
        limit: bridge.desired.limits.bindingsPerPort,
        limited: hosts.portStates.get(ifIndex)?.limited ?? 0,
        limitedSince: limitedSince(observed.datapath.ports.get(ifIndex), hosts.portStates.get(ifIndex)),
      };
    }),
  );
}

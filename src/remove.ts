// Leaves the host as it was before: withdraws its neighbors, detaches, unpins.

import { AF_INET, AF_INET6 } from './base/address.ts';
import { loadConfig } from './config/config.ts';
import { type Action, summarize } from './core/actions.ts';
import { planHosts } from './core/neighbors/plan.ts';
import type { Observed } from './core/observed.ts';
import { plan } from './core/plan.ts';
import { APPLIED, type Outcome, PLANNED, type RemoveReport, type Step } from './core/report.ts';
import { allWell, anyChange, describeChange } from './core/summary.ts';
import type { Topology } from './core/topology.ts';
import { applyActions, planned } from './host/apply.ts';
import { writeNeighbors } from './host/neighbor-table.ts';
import { observe } from './host/observe.ts';
import { directoryExists, pinDirectory } from './host/pin-directory.ts';
import { openSession, type Session } from './host/session.ts';
import { hasTextfile } from './host/textfile.ts';
import { dumpNeighbors } from './netlink/neighbor.ts';
import type { Environment } from './reconcile.ts';

export interface RemoveOptions {
  readonly config: string;
  readonly check: boolean;
  readonly keepNeighbors: boolean;
  readonly lockTimeoutMs: number;
}

/** No bridge at all: what a machine looks like that snoopy has nothing to do with. */
const NO_BRIDGES: Topology = { bridges: [], problems: [] };

/** Throws SnoopyError as `runReconcile` does. A run on a host where there is nothing of ours changes nothing. */
export function runRemove(options: RemoveOptions, { now, users, log, progress }: Environment): RemoveReport {
  const desired = loadConfig(options.config, users);
  const { runtime, textfile } = desired;
  const session = openSession(desired, {
    mode: options.check ? 'plan' : 'remove',
    lockTimeoutMs: options.lockTimeoutMs,
    now,
    users,
    capabilities: [],
  });
  try {
    const changes = options.keepNeighbors ? [] : withdraw(session, options.check);
    const observed = observe(session.netlink, runtime, session.pins);
    const actions = planRemoval(session, observed, textfile);
    let steps: Step[] = planned(actions);
    let remaining: readonly Action[] = [];
    if (!options.check) {
      steps = applyActions(session, actions, progress);
      // All is detached where all is unpinned; and with the directory the lock has gone: what is there by now may be
      // the work of a run that waited for it.
      if (!steps.some(({ action, outcome }) => action.kind === 'unpin' && outcome.kind === 'applied')) {
        session.reopenPins();
        remaining = planRemoval(session, observe(session.netlink, runtime, session.pins), textfile);
      }
    }
    for (const { action, outcome } of steps)
      log(`${action.kind} ${action.port ?? action.path ?? ''}: ${outcome.kind}`);
    return {
      version: 1,
      ok: allWell(steps) && allWell(changes) && remaining.length === 0,
      changed: anyChange(steps),
      check: options.check,
      steps,
      neighbors: { changed: anyChange(changes), total: 0, changes },
      remaining: remaining.map(summarize),
      errors: [],
    };
  } finally {
    session.close();
  }
}

/** Every detachment due when no bridge is configured, the textfile, then the pins, and the maps with them. */
function planRemoval(session: Session, observed: Observed, textfile: string | null): Action[] {
  const { runtime } = session;
  const nothing = { runtime, bridges: [], textfile: null };
  const settled: Observed = {
    ...observed,
    bpffsMounted: true,
    datapath: { ...observed.datapath, loadReason: null, prefixes: [], statics: [] },
  };
  const actions = plan(nothing, NO_BRIDGES, settled, { whole: true }).filter(({ kind }) => kind === 'detach');
  if (textfile !== null && hasTextfile(textfile, session.users))
    actions.push({ kind: 'drop-textfile', path: textfile });
  const path = pinDirectory(runtime);
  return directoryExists(path) && !session.isBlank ? [...actions, { kind: 'unpin', path }] : actions;
}

/** Removes every neighbor with our protocol number. */
function withdraw({ netlink, runtime, pins }: Session, check: boolean): ReturnType<typeof describeChange>[] {
  const neighbors = [...dumpNeighbors(netlink, AF_INET), ...dumpNeighbors(netlink, AF_INET6)];
  const { links } = observe(netlink, runtime, pins);
  const deviceNames = new Map([...links.values()].map((link) => [link.ifIndex, link.name]));
  const { changes } = planHosts(
    NO_BRIDGES,
    {
      nowMs: 0,
      bindings: [],
      probes: new Map(),
      portStates: new Map(),
      deviceNames,
      forwarding: new Map(),
      neighbors,
    },
    { protocol: runtime.neighborProtocol, whole: true },
  );
  const outcomes: Outcome[] = check
    ? changes.map(() => PLANNED)
    : writeNeighbors(netlink, changes, runtime.neighborProtocol);
  return changes.map((change, i) =>
    describeChange(
      { ...change, because: 'snoopy is removed' },
      outcomes[i] ?? APPLIED,
      runtime.neighborProtocol,
    ),
  );
}

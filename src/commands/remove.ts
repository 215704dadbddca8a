// Restores the node: removes our neighbors, detaches, unpins.

import { AF_INET, AF_INET6 } from '../base/address.ts';
import { loadConfig } from '../config/config.ts';
import { type Action, type ActionSummary, summarize } from '../core/actions.ts';
import type { Desired } from '../core/desired.ts';
import { planHosts } from '../core/neighbors/plan.ts';
import type { Observed } from '../core/observed.ts';
import { plan } from '../core/plan.ts';
import type { NeighborChangeReport, RemoveReport, Step } from '../core/report.ts';
import { allWell, anyChange } from '../core/summary.ts';
import type { Topology } from '../core/topology.ts';
import { applyActions, planned, reopenPins } from '../host/apply.ts';
import { plannedNeighbors, writeNeighbors } from '../host/neighbor-table.ts';
import { observe } from '../host/observe.ts';
import { directoryExists, pinDirectory } from '../host/pin-directory.ts';
import type { Session } from '../host/session.ts';
import { hasTextfile } from '../host/textfile.ts';
import { dumpNeighbors } from '../netlink/neighbor.ts';
import { type ChangeOptions, type Environment, logSteps, type Purpose, withSession } from './environment.ts';

export interface RemoveOptions extends ChangeOptions {
  readonly keepNeighbors: boolean;
}

/** No bridge at all: the topology of a host without snoopy. */
const NO_BRIDGES: Topology = { bridges: [], freePorts: new Set(), problems: [] };

/** Throws SnoopyError as `runReconcile` does. On a host without anything of ours it changes nothing. */
export function runRemove(options: RemoveOptions, environment: Environment): RemoveReport {
  const { check, lockTimeoutMs, keepNeighbors } = options;
  const configuration = loadConfig(options.config, environment.users);
  const { textfile } = configuration;
  const purpose: Purpose = { mode: check ? 'plan' : 'remove', lockTimeoutMs, capabilities: [] };
  return withSession(configuration, purpose, environment, (session) => {
    const changes = keepNeighbors ? [] : withdraw(session, check);
    const actions = planRemoval(session, textfile);
    const steps = check
      ? planned(actions)
      : applyActions(session, actions, { recovered: [], progress: environment.progress });
    const remaining = check ? [] : verify(session, textfile, steps);
    logSteps(steps, environment);
    return {
      version: 1,
      ok: allWell(steps) && allWell(changes) && remaining.length === 0,
      changed: anyChange(steps),
      check,
      steps,
      neighbors: { changed: anyChange(changes), total: 0, changes },
      remaining,
      errors: [],
    };
  });
}

/** The detachments that are due when no bridge is configured, then the textfile, then the pins with all maps. */
function planRemoval(session: Session, textfile: string | null): Action[] {
  const { netlink, runtime, pins } = session;
  const observed = observe(netlink, runtime, pins, 'all');
  const nothing: Desired = { runtime, bridges: [], verify: 'never', textfile: null };
  const onlyAttachments: Observed = {
    ...observed,
    bpffsMounted: true,
    datapath: { ...observed.datapath, loadReason: null, prefixes: [], statics: [] },
  };
  const actions = plan(nothing, NO_BRIDGES, onlyAttachments, { whole: true }).filter(
    ({ kind }) => kind === 'detach',
  );
  if (textfile !== null && hasTextfile(textfile, session.users))
    actions.push({ kind: 'drop-textfile', path: textfile });
  const path = pinDirectory(runtime);
  return directoryExists(path) && !session.isBlank ? [...actions, { kind: 'unpin', path }] : actions;
}

/** What is still to be removed. */
function verify(session: Session, textfile: string | null, steps: readonly Step[]): ActionSummary[] {
  // Pins are removed only after every detachment. The lock goes with the directory, so anything found now may already
  // be the work of a run that waited for the lock.
  if (steps.some(({ action, outcome }) => action.kind === 'unpin' && outcome.kind === 'applied')) return [];
  reopenPins(session);
  return planRemoval(session, textfile).map(summarize);
}

/** Removes every neighbor with our protocol number. */
function withdraw({ netlink, runtime, pins }: Session, check: boolean): readonly NeighborChangeReport[] {
  const { neighborProtocol: protocol } = runtime;
  const neighbors = [...dumpNeighbors(netlink, AF_INET), ...dumpNeighbors(netlink, AF_INET6)];
  const { links } = observe(netlink, runtime, pins);
  const deviceNames = new Map([...links.values()].map((link) => [link.ifIndex, link.name]));
  const { changes } = planHosts(
    NO_BRIDGES,
    {
      nowMs: 0,
      bindings: [],
      probes: new Map(),
      seenHints: [],
      hints: [],
      portStates: new Map(),
      deviceNames,
      forwarding: new Map(),
      neighbors,
    },
    { protocol, whole: true },
  );
  const removals = changes.map((change) => ({ ...change, because: 'snoopy is removed' }));
  return check ? plannedNeighbors(removals, protocol) : writeNeighbors(netlink, removals, protocol).reports;
}

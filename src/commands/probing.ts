// The probes of a pass: planned together, sent together, and waited for once. What the answers change is decided anew.

import type { IfIndex } from '../base/address.ts';
import { errnoOf, type Problem, problemOf } from '../base/errors.ts';
import { HostIndex } from '../core/host-index.ts';
import type { KeptByOwner } from '../core/neighbors/candidate.ts';
import { type HostPlan, planHosts } from '../core/neighbors/plan.ts';
import type { ObservedHosts } from '../core/observed.ts';
import { type HostProbe, NEVER_PROBED } from '../core/probes/ageing.ts';
import { type HintProbe, type HintsByStatus, hintsByStatus, isSeenHint } from '../core/probes/hints.ts';
import {
  bindingsOfNewOwners,
  type Conflict,
  certainlyUnanswered,
  findConflicts,
  keepForOwners,
  newConflicts,
  warningOfKept,
  warningsOfUnprobed,
} from '../core/probes/owners.ts';
import { type ProbePlan, planOwnerChecks, planProbes } from '../core/probes/plan.ts';
import { type Confirms, NO_CONFIRMS } from '../core/report.ts';
import type { Warning } from '../core/warning.ts';
import type { Pins } from '../datapath/pins.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { type Drained, NOTHING_DRAINED, type Ring } from '../datapath/ring.ts';
import { rewriteBindings } from '../host/bindings.ts';
import { observeDropped } from '../host/observe.ts';
import { type Answers, awaitAnswers, sendProbes, type Target, targetId } from '../host/prober.ts';
import { countProbe } from '../host/seen-hints.ts';
import { type Run, scopeOf } from './run.ts';
import type { View } from './view.ts';

/** The hosts after the probes of a pass, and what is to be done for them. */
export interface Probed {
  readonly view: View;
  readonly index: HostIndex;
  readonly plan: HostPlan;
  /** What becomes of the hints. */
  readonly byStatus: HintsByStatus;
  /** True when owners were not probed: the next pass probes them. */
  readonly hasUnprobed: boolean;
  /** How many bound hosts were probed, and how many that were hinted at. */
  readonly sent: { readonly hosts: number; readonly hints: number };
  /** The silent hosts that were probed. */
  readonly silent: readonly BindingKey[];
  /** The bound hosts whose probes were due otherwise, sent or not. */
  readonly wereDue: readonly BindingKey[];
  readonly confirms: Confirms;
  /** What was read from the ring meanwhile. */
  readonly drained: Drained;
  readonly warnings: readonly Warning[];
  readonly errors: readonly Problem[];
}

/**
 * Decides about the hosts, sends the probes that are due, waits for the answers, and decides again. A check, or a pass
 * without a ring, sends nothing. Errors of probes are not thrown: an owner that could not be probed keeps its address.
 */
export function probeHosts(run: Run, view: View, ring: Ring | undefined): Probed {
  const { session, options, stopwatch } = run;
  stopwatch.enter('decide');
  const { machine, hosts } = view;
  const index = new HostIndex(hosts);
  const plan = decide(run, view, index);
  const byStatus = hintsByStatus(machine.topology, hosts, index, scopeOf(run));
  const unprobed: Probed = {
    view,
    index,
    plan,
    byStatus,
    hasUnprobed: false,
    sent: { hosts: 0, hints: 0 },
    silent: [],
    wereDue: [],
    confirms: NO_CONFIRMS,
    drained: NOTHING_DRAINED,
    warnings: [],
    errors: [],
  };
  if (options.check || ring === undefined) return unprobed;
  stopwatch.enter('probe');
  const { neighborProtocol: protocol } = session.runtime;
  const due = planProbes(machine.topology, hosts, index, plan, byStatus, protocol);
  try {
    return probe(run, due, unprobed, ring);
  } catch (thrown) {
    const kept = keepForOwners(due.conflicts, [], []);
    return {
      ...unprobed,
      plan: decide(run, view, index, kept),
      hasUnprobed: kept.size > 0,
      warnings: warningsOfUnprobed(kept),
      errors: [problemOf(thrown, 'probes')],
    };
  }
}

function decide(
  run: Run,
  { machine: { topology }, hosts }: View,
  index: HostIndex,
  kept?: ReadonlyMap<string, KeptByOwner>,
): HostPlan {
  const { neighborProtocol: protocol } = run.session.runtime;
  return planHosts(topology, hosts, { protocol, ...scopeOf(run), ...(kept && { kept }) }, index);
}

function probe(run: Run, due: ProbePlan, before: Probed, ring: Ring): Probed {
  const { session, stopwatch, options } = run;
  const { pins } = session;
  const droppedBefore = observeDropped(pins);
  const sent = send(pins, due, before.view.hosts.nowMs);
  const done = {
    sent: { hosts: sent.hosts.length, hints: sent.hints.length },
    silent: due.silent.map(({ binding }) => binding),
    wereDue: [...due.doubtful, ...due.left].map(({ binding }) => binding),
  };
  // An answer that makes or moves a binding wakes a listening run, which need not wait for it.
  const isListening = options.listenMs > 0;
  const targets = [...sent.owners.map(targetOf), ...(isListening ? [] : sent.awaited)];
  if (targets.length === 0 && due.conflicts.length === 0) return { ...before, ...done };

  stopwatch.enter('confirm');
  let round = collect(run, before.view, targets, ring);
  let owners = sent.owners;
  // A host that answers may claim the address of another one, whose owner is probed before the claim counts.
  const fresh = newConflicts(due.conflicts, round.conflicts);
  if (fresh.length > 0) {
    const more = send(pins, planOwnerChecks(fresh), round.view.hosts.nowMs);
    owners = [...owners, ...more.owners];
    round = together(round, collect(run, round.view, more.owners.map(targetOf), ring));
  }
  // A record that was dropped by a full ring may have been an answer.
  const isCertain = observeDropped(pins) === droppedBefore;
  const checked = decideOwnerChecks(run, round, owners, isCertain);
  const { view, index, drained } = round;
  const plan = decide(run, view, index, checked.kept);
  const byStatus = hintsByStatus(view.machine.topology, view.hosts, index, scopeOf(run));
  return { ...checked, view, index, plan, byStatus, ...done, drained, errors: [] };
}

/** The answers to probes, and what the machine looks like after them. */
interface Round extends Answers {
  readonly view: View;
  readonly index: HostIndex;
  readonly conflicts: readonly Conflict[];
}

function collect({ session, environment }: Run, before: View, targets: readonly Target[], ring: Ring): Round {
  const answers = awaitAnswers(targets, session.pins, ring, environment.now);
  const view = before.again(answers.drained);
  const { machine, hosts } = view;
  const index = new HostIndex(hosts);
  const conflicts = findConflicts(machine.topology, hosts, session.runtime.neighborProtocol, index);
  return { ...answers, view, index, conflicts };
}

/** Both rounds as one, with the machine as it is after the second. */
function together(first: Round, second: Round): Round {
  const { drained } = first;
  return {
    ...second,
    answered: new Map([...first.answered, ...second.answered]),
    drained: {
      changes: [...drained.changes, ...second.drained.changes],
      records: drained.records + second.drained.records,
      damaged: drained.damaged || second.drained.damaged,
    },
  };
}

/** What was sent. */
interface Sent {
  /** Conflicts whose probes were sent, on every port that could send one. */
  readonly owners: readonly Conflict[];
  readonly hosts: readonly HostProbe[];
  readonly hints: readonly HintProbe[];
  /** Those whose answer changes what this pass writes. */
  readonly awaited: readonly Target[];
}

/** Sends everything, and records it for later runs. */
function send(pins: Pins, { owners, hints, doubtful, silent }: ProbePlan, nowMs: number): Sent {
  const hosts = [...doubtful, ...silent];
  const results = sendProbes([...owners.flatMap(({ probes }) => probes), ...hints, ...hosts]).values();
  // A host behind a full queue was not probed. A host behind a removed or downed port could not answer anyway.
  const probedOwners = owners.filter(({ probes }) => {
    const outcomes = probes.map(() => results.next().value);
    return !outcomes.includes('refused');
  });
  const sentHints = hints.filter(() => results.next().value === 'sent');
  const ofHosts = hosts.map(() => results.next().value);
  const sentHosts = hosts.filter((_, i) => ofHosts[i] === 'sent');
  const triedHosts = hosts.filter((_, i) => ofHosts[i] !== 'refused');
  record(pins, sentHints, triedHosts, nowMs);
  const wereDoubtful = new Set(doubtful);
  const awaited = [
    ...sentHints.map(({ hint }) => hint),
    ...sentHosts.filter((probe) => wereDoubtful.has(probe)).map(({ binding }) => binding),
  ];
  return { owners: probedOwners, hosts: sentHosts, hints: sentHints, awaited };
}

function record(pins: Pins, hints: readonly HintProbe[], hosts: readonly HostProbe[], nowMs: number): void {
  const { tables } = pins;
  for (const { hint } of hints) {
    if (isSeenHint(hint)) countProbe(pins, hint, nowMs);
    else tables.hints?.set(hint, { ...hint, probes: hint.probes + 1, probedMs: nowMs }, 'existing');
  }
  try {
    for (const { binding, state } of hosts) {
      const { bridge, vlan, ip } = binding;
      tables.probes?.set(binding, { bridge, vlan, ip, ...state });
    }
  } catch (thrown) {
    // The map is full of silent hosts. These are probed again until it has room.
    if (errnoOf(thrown) !== 'E2BIG') throw thrown;
  }
}

/** The target of an owner check. */
function targetOf({ bridge, vlan, ip, owner }: Conflict): Target {
  return { bridge, vlan, ip, mac: owner };
}

/** What the owner checks of a pass mean. */
interface OwnerCheckResults extends Pick<Probed, 'hasUnprobed' | 'confirms' | 'warnings'> {
  /** By bindingId: addresses that do not go to another MAC in this pass. */
  readonly kept: ReadonlyMap<string, KeptByOwner>;
}

function decideOwnerChecks(
  { session }: Run,
  { view: { hosts }, index, conflicts: left, answered: answers }: Round,
  probed: readonly Conflict[],
  isCertain: boolean,
): OwnerCheckResults {
  const portOf = (conflict: Conflict): IfIndex | undefined => answers.get(targetId(targetOf(conflict)));
  const answered = probed.filter((conflict) => portOf(conflict) !== undefined);
  const unanswered = isCertain ? probed : certainlyUnanswered(probed, left);
  const kept = keepForOwners(left, unanswered, answered);
  recordLostOwners(
    session.pins,
    hosts,
    index,
    unanswered.filter((conflict) => portOf(conflict) === undefined && !conflict.isOwnerMultihomed),
  );
  return {
    kept,
    hasUnprobed: [...kept.values()].some(({ standing }) => standing === 'unprobed'),
    confirms: { sent: probed.length, answered: answered.length },
    warnings: [
      ...answered.flatMap((conflict) => {
        const port = portOf(conflict);
        return port === undefined ? [] : [warningOfKept(conflict, port)];
      }),
      ...warningsOfUnprobed(kept),
    ],
  };
}

/** Remembers which owners have lost their addresses, where no entry shows it: the kernel rewrites some by itself. */
function recordLostOwners(
  pins: Pins,
  hosts: ObservedHosts,
  index: HostIndex,
  lost: readonly Conflict[],
): void {
  const { tables } = pins;
  rewriteBindings(pins, bindingsOfNewOwners(lost, index));
  try {
    for (const { bridge, vlan, ip, claimant } of lost) {
      const state = hosts.probes.get(bindingId({ bridge, vlan, ip })) ?? NEVER_PROBED;
      const decided = { mac: claimant, atMs: hosts.nowMs };
      tables.probes?.set({ bridge, vlan, ip }, { bridge, vlan, ip, ...state, decided });
    }
  } catch (thrown) {
    // The map is full of silent hosts. The owner is checked again.
    if (errnoOf(thrown) !== 'E2BIG') throw thrown;
  }
}

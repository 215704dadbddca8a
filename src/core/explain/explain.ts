// The story of one address, from the first message of its host to its route: six steps, the first one that is wrong,
// and the fix. Pure.

import type { SilentFrr } from '../frr.ts';
import { HostIndex } from '../host-index.ts';
import { describeEntry } from '../neighbor-entry.ts';
import { checkBridge } from './bridge.ts';
import type { Finding } from './finding.ts';
import { ROUTE, ZEBRA } from './frr-wording.ts';
import { findLookouts, whatNext } from './lookouts.ts';
import { checkNeighbor } from './neighbor.ts';
import type { Facts, Place } from './places.ts';
import { rejectedReport } from './rejection.ts';
import type { ExplainReport, SeenReport, StepId, Story, StoryState, StoryStep } from './report.ts';
import { checkRoute } from './route.ts';
import { checkRule } from './rule.ts';
import { type Closeup, frozenFor, nameOf, portOf, type Scene, sceneOf, secondsSince } from './scene.ts';
import { checkSeen, hintReport } from './seen.ts';
import { VERDICT } from './wording.ts';
import { checkVni, checkZebra } from './zebra.ts';

/** `closeups` has one for each of the places, in their order. */
export function explain(facts: Facts, places: readonly Place[], closeups: readonly Closeup[]): ExplainReport {
  const { ip } = facts;
  const index = new HostIndex(facts.hosts);
  const stories = places.map((place, i) => {
    const { bridge, vlan, mac } = place;
    const forwarding = bridge && index.forwardingOf(bridge);
    const location = mac === null ? undefined : forwarding?.locate(vlan, mac);
    const closeup = closeups[i] ?? { fdbAgeMs: null, vni: null, frr: null };
    return storyOf(sceneOf(facts, place, closeup, location ?? { kind: 'nowhere' }));
  });
  if (stories.length > 0)
    return { version: 1, ok: stories.every((story) => story.ok), ip, stories, lookouts: [], next: null };
  const lookouts = findLookouts(facts);
  return { version: 1, ok: false, ip, stories, lookouts, next: whatNext(lookouts, ip) };
}

function storyOf(scene: Scene): Story {
  const { place, closeup, state, bridgeName } = scene;
  const { domain, neighbor, vlan, mac } = place;
  const steps = blameFirst(stepsOf(scene));
  return {
    bridge: bridgeName,
    vlan,
    ok: steps.every(({ status }) => status === 'ok' || status === 'unknown'),
    state,
    verdict: verdictOf(scene, steps),
    device: domain?.deviceName ?? null,
    vni: closeup.vni,
    mac,
    port: portOf(scene),
    heard: seenReport(scene),
    forwardedAge: closeup.fdbAgeMs === null ? null : Math.floor(closeup.fdbAgeMs / 1000),
    neighbor: neighbor ? { ...describeEntry(neighbor), age: Math.floor(neighbor.updatedMs / 1000) } : null,
    frr: closeup.frr,
    refused: rejectedReport(scene),
    hint: hintReport(scene),
    steps,
  };
}

const NOT_LEARNED: ReadonlySet<StoryState> = new Set(['refused', 'hinted', 'remote']);

function stepsOf(scene: Scene): StoryStep[] {
  const seen = step('heard', checkSeen(scene));
  // When no message about the address was learned from, there is nothing to check further down.
  if (seen.status === 'wrong' && NOT_LEARNED.has(scene.state)) return [seen];
  // Nor here, when the host is at another node that this one speaks for.
  if (scene.state === 'proxied') return [seen, ...frrSteps(scene)];
  return [
    seen,
    step('rule', checkRule(scene)),
    step('bridge', checkBridge(scene)),
    step('neighbor', checkNeighbor(scene)),
    ...frrSteps(scene),
  ];
}

function frrSteps(scene: Scene): StoryStep[] {
  const { frr } = scene.facts;
  const { vni } = scene.closeup;
  switch (frr.kind) {
    case 'absent':
      return [step('zebra', ZEBRA.absent())];
    case 'silent':
      return frr.daemon === 'zebra'
        ? [step('zebra', ZEBRA.silent(frr))]
        : [step('zebra', ZEBRA.silentBgpd()), step('route', ROUTE.silent(frr))];
    case 'answered':
      return vni === null
        ? [step('zebra', checkVni(scene))]
        : [step('zebra', checkZebra(scene, vni)), step('route', checkRoute(scene, vni))];
    default:
      return frr satisfies never;
  }
}

function step(id: StepId, finding: Finding): StoryStep {
  return { id, ...finding };
}

/** The first wrong step is the cause. Later wrong steps wait for it and have no fix of their own. */
function blameFirst(steps: readonly StoryStep[]): StoryStep[] {
  const cause = steps.findIndex(({ status }) => status === 'wrong');
  return steps.map((one, i): StoryStep => {
    if (cause < 0 || i <= cause) return one;
    return { ...one, status: one.status === 'wrong' ? 'waits' : one.status, remedy: null };
  });
}

function verdictOf(scene: Scene, steps: readonly StoryStep[]): string {
  const { facts, place, closeup, state, bridgeName } = scene;
  const { vlan, mac } = place;
  const subject = { ip: facts.ip, bridge: bridgeName, vlan };
  const cause = steps.find(({ status }) => status === 'wrong');
  const isOfFrr = cause?.id === 'zebra' || cause?.id === 'route';
  if (isOfFrr && facts.frr.kind === 'silent' && !isWithoutBgpd(facts.frr))
    return VERDICT.unanswered({ ...subject, state, found: cause.found });
  if (cause !== undefined && state === 'refused') return VERDICT.rejected(subject);
  if (cause !== undefined) return VERDICT.wrong({ ...subject, state, step: cause.id, found: cause.found });
  if (state === 'remote') return VERDICT.remote({ ...subject, mac, node: closeup.frr?.tunnelEnd ?? null });
  if (steps.some(({ status }) => status === 'unknown')) return VERDICT.unknown(subject);
  const peers = closeup.frr?.route?.peers.length ?? 0;
  const isProxy = closeup.frr?.neighbor?.isProxy ?? false;
  return VERDICT.advertised({ ...subject, vni: closeup.vni, mac, port: portOf(scene), peers, isProxy });
}

/** True when bgpd is not running: then nothing is advertised. A daemon that does not answer may well have the route. */
function isWithoutBgpd(answer: SilentFrr): boolean {
  return answer.daemon === 'bgpd' && !answer.isLate;
}

function seenReport(scene: Scene): SeenReport | null {
  const { facts, place } = scene;
  const { binding } = place;
  if (binding === undefined) return null;
  const { nowMs } = facts.hosts;
  return {
    firstAge: secondsSince(nowMs, binding.firstSeenMs),
    lastAge: secondsSince(nowMs, binding.lastSeenMs),
    moves: binding.moves,
    frozenFor: frozenFor(scene),
    owner: binding.owner && { mac: binding.owner.mac, port: nameOf(facts, binding.owner.port) },
  };
}

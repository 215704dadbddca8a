// The story of one address, from the first word of its host to its route: what is so, what is not, and what mends it.
// Pure. What a run would decide is asked of planHosts, and what keeps zebra from it of doctor's checks.

import {
  familyOf,
  formatPrefix,
  type IfIndex,
  type IpAddress,
  isLinkLocal,
  type Mac,
} from '../base/address.ts';
import { formatAge, formatDuration } from '../base/units.ts';
import {
  type Binding,
  type BindingKey,
  bindingId,
  type Rejection,
  type RejectionReason,
} from '../datapath/records.ts';
import { type Neighbor, NTF_EXT_LEARNED } from '../netlink/neighbor.ts';
import type { Desired } from './desired.ts';
import { checkTunnels } from './doctor/bridges.ts';
import { type Check, type CheckId, type FrrAnswer, type FrrHost, some } from './doctor/check.ts';
import { checkFrr } from './doctor/frr.ts';
import { findHindrance, NO_VNI } from './doctor/hosts.ts';
import { HostIndex, type Location } from './host-index.ts';
import { allowedPrefixes, whyNotLearnable } from './learnable.ts';
import { describeEntry, isOurs, isValid } from './neighbor-entry.ts';
import type { Decision } from './neighbors/decide.ts';
import type { HostPlan } from './neighbors/plan.ts';
import { hasProgram, type Observed, type ObservedHosts } from './observed.ts';
import { describeRefusal } from './refusals.ts';
import type { BindingState, NeighborEntry } from './report.ts';
import { type Bridge, type Domain, effectiveVlan, type Topology, takesVlan } from './topology.ts';

/** What `explain --format json` prints. */
export interface ExplainReport {
  readonly version: 1;
  /** True when the address is where it should be, in every VLAN where it is known. */
  readonly ok: boolean;
  readonly ip: IpAddress;
  /** One for each VLAN of each bridge that knows the address. */
  readonly stories: readonly Story[];
  /** Where the address would be heard; only where nobody knows it. */
  readonly lookouts: readonly Lookout[];
  /** What to do then; null where there are stories, which say it themselves. */
  readonly next: string | null;
}

/**
 * What became of the address: as in `status`; `ended` has a binding that the next run forgets, `refused` has none, for
 * no message was believed, `unheard` has a neighbor that nobody here has spoken for.
 */
export type StoryState = BindingState | 'ended' | 'refused' | 'unheard';

export interface Story {
  readonly bridge: string;
  /** 0: untagged. */
  readonly vlan: number;
  readonly ok: boolean;
  readonly state: StoryState;
  /** It all in one sentence. */
  readonly verdict: string;
  /** The neighbor device; null when there is none for this VLAN. */
  readonly device: string | null;
  /** The VNI for which zebra takes the neighbors of that device; null: none, or FRR does not answer. */
  readonly vni: number | null;
  readonly mac: Mac | null;
  readonly port: string | null;
  readonly heard: HeardReport | null;
  /** Seconds since the bridge has seen the MAC; null: it does not know it. */
  readonly forwardedAge: number | null;
  readonly neighbor: (NeighborEntry & { readonly age: number }) | null;
  /** What FRR knows of it; null: it does not answer, or takes no neighbors of this device. */
  readonly frr: FrrHost | null;
  /** The last message about the address that was not believed, and how many there were. */
  readonly refused: RefusedReport | null;
  /** From the host to the route, in this order. */
  readonly steps: readonly StoryStep[];
}

/** What the program has heard. Ages are in seconds. */
export interface HeardReport {
  /** Since it was heard from this MAC first. */
  readonly firstAge: number;
  readonly lastAge: number;
  /** Changes of the MAC in the current window (RFC 9161, section 3.7). */
  readonly moves: number;
  /** How long it stays frozen; null: it is not. */
  readonly frozenFor: number | null;
  /** Who had it when its moves began. */
  readonly owner: { readonly mac: Mac; readonly port: string } | null;
}

export interface RefusedReport {
  readonly reason: RejectionReason;
  readonly because: string;
  readonly remedy: string;
  readonly count: number;
  readonly port: string;
  /** Its Ethernet source, and the MAC that it spoke for; null: it was not read so far. */
  readonly source: Mac;
  readonly claimed: Mac | null;
  /** Seconds. */
  readonly firstAge: number;
  readonly lastAge: number;
}

export type StepId = 'heard' | 'rule' | 'bridge' | 'neighbor' | 'zebra' | 'route';

/** `wrong` is the cause, `waits` what cannot be as long as that is so; `unknown` could not be looked at. */
export type StepStatus = 'ok' | 'wrong' | 'waits' | 'unknown';

export interface StoryStep {
  readonly id: StepId;
  readonly status: StepStatus;
  readonly found: string;
  /** What mends it; null: nothing is to be done, or not here. */
  readonly remedy: string | null;
}

/** A VLAN of a bridge in which the address would be heard, or why it would not. */
export interface Lookout {
  readonly bridge: string;
  readonly vlan: number;
  /** Ports that listen. */
  readonly ports: readonly string[];
  /** Ports that should, and do not. */
  readonly deaf: readonly string[];
  /** Why the address would not be learned here; null: it would. */
  readonly because: string | null;
  /** Hosts that the bridge forwards and that have said no address so far. */
  readonly silent: readonly { readonly mac: Mac; readonly port: string }[];
}

/** What a story is made of. */
export interface Facts {
  readonly ip: IpAddress;
  readonly desired: Desired;
  readonly topology: Topology;
  readonly observed: Observed;
  readonly hosts: ObservedHosts;
  readonly plan: HostPlan;
  readonly rejections: readonly Rejection[];
  /** FRR as a whole; its neighbors are not looked at. */
  readonly frr: FrrAnswer;
}

/** A VLAN of a bridge that knows the address, in whichever way. */
export interface Place {
  readonly bridgeIndex: IfIndex;
  readonly vlan: number;
  /** Undefined: no bridge of the configuration. */
  readonly bridge: Bridge | undefined;
  readonly domain: Domain | undefined;
  readonly verdict: Decision | undefined;
  readonly binding: Binding | undefined;
  readonly refused: Rejection | undefined;
  readonly neighbor: Neighbor | undefined;
  /** Who has it, or is the next to blame. */
  readonly mac: Mac | null;
  /** The VNI of the domain, where zebra has one. */
  readonly vni: number | null;
}

/** What is asked once the MAC and the VNI are known. */
export interface Closeup {
  /** Since the bridge has seen the MAC; null: it does not know it. */
  readonly fdbAgeMs: number | null;
  readonly frr: FrrHost | null;
}

/** Where the address is known, in order of bridges and VLANs; `only`: on bridges of the topology. */
export function findPlaces({ ip, topology, hosts, plan, rejections, frr }: Facts, only: boolean): Place[] {
  const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  const isMeant = (key: BindingKey): boolean => key.ip === ip && (!only || bridges.has(key.bridge));
  const bindings = hosts.bindings.filter(isMeant);
  const refusals = rejections.filter(isMeant);
  const entries = hosts.neighbors.filter((neighbor) => neighbor.ip === ip);
  const domains = topology.bridges.flatMap((bridge) =>
    [...bridge.domains.values()].map((domain) => ({ bridge: bridge.ifIndex, domain })),
  );
  const known = [
    ...topology.bridges.flatMap((bridge) =>
      bridge.desired.statics
        .filter((entry) => entry.ip === ip)
        .map((entry) => ({ bridge: bridge.ifIndex, vlan: effectiveVlan(bridge, entry.vlan) })),
    ),
    ...bindings,
    ...refusals,
    ...domains
      .filter(
        ({ domain }) => domain.reserved.has(ip) || entries.some((entry) => entry.ifIndex === domain.device),
      )
      .map(({ bridge, domain }) => ({ bridge, vlan: domain.vlan })),
  ];
  const order = [...bridges.keys()];
  const rank = (bridge: IfIndex): number => (bridges.has(bridge) ? order.indexOf(bridge) : order.length);
  const places = new Map(known.map((key) => [bindingId({ ...key, ip }), key]));
  return [...places]
    .sort(([, a], [, b]) => rank(a.bridge) - rank(b.bridge) || a.vlan - b.vlan)
    .map(([id, { bridge: bridgeIndex, vlan }]): Place => {
      const bridge = bridges.get(bridgeIndex);
      const domain = bridge?.domains.get(vlan);
      const isHere = (key: Binding | Rejection): boolean => bindingId(key) === id;
      const verdict = plan.decisions.find(
        (one) => one.ip === ip && one.vlan === vlan && one.bridge === bridge?.desired.name,
      );
      const binding = bindings.find(isHere);
      const refused = refusals.find(isHere);
      const neighbor = entries.find((entry) => entry.ifIndex === domain?.device);
      const mac =
        verdict?.mac ?? binding?.mac ?? neighbor?.mac ?? refused?.claimed ?? refused?.source ?? null;
      const vnis = frr.kind === 'answered' ? frr.frr.vnis : [];
      const vni = domain && vnis.find(({ svi }) => svi === domain.deviceName)?.vni;
      return {
        bridgeIndex,
        vlan,
        bridge,
        domain,
        verdict,
        binding,
        refused,
        neighbor,
        mac,
        vni: vni ?? null,
      };
    });
}

/** `closeups` are those of the places, in their order. */
export function explain(facts: Facts, places: readonly Place[], closeups: readonly Closeup[]): ExplainReport {
  const index = new HostIndex(facts.hosts);
  const stories = places.map((place, i) => {
    const closeup = closeups[i] ?? { fdbAgeMs: null, frr: null };
    const { bridge, vlan, mac } = place;
    const forwarding = bridge && index.forwardingOf(bridge);
    const location = mac === null ? undefined : forwarding?.locate(vlan, mac);
    return tell({ facts, place, closeup, location: location ?? { kind: 'nowhere' } });
  });
  const { ip } = facts;
  if (stories.length > 0)
    return { version: 1, ok: stories.every((story) => story.ok), ip, stories, lookouts: [], next: null };
  const lookouts = facts.topology.bridges.flatMap((bridge) => lookOut(bridge, facts));
  return { version: 1, ok: false, ip, stories, lookouts, next: whatNext(lookouts, facts) };
}

function whatNext(lookouts: readonly Lookout[], facts: Facts): string {
  if (lookouts.length === 0) return 'name the bridge of the host under "bridges"; then: snoopy reconcile';
  if (lookouts.every(({ because }) => because !== null))
    return 'correct the address of the host, or "subnets" and "learn" of its bridge; then: snoopy reconcile';
  if (lookouts.every(({ because, ports }) => because !== null || ports.length === 0))
    return `snoopy reconcile; then ${letItSpeak({ facts })}`;
  return `${letItSpeak({ facts })}; then: snoopy reconcile`;
}

/** What a story is told of. */
interface Scene {
  readonly facts: Facts;
  readonly place: Place;
  readonly closeup: Closeup;
  readonly location: Location;
}

function tell(scene: Scene): Story {
  const { facts, place, closeup } = scene;
  const { binding, domain, neighbor, vlan, vni, mac } = place;
  const { nowMs } = facts.hosts;
  const state = stateOf(scene);
  const steps = inOrder(stepsOf(scene, state));
  const isWell = steps.every(({ status }) => status === 'ok' || status === 'unknown');
  const heard =
    binding === undefined
      ? null
      : {
          firstAge: secondsSince(nowMs, binding.firstSeenMs),
          lastAge: secondsSince(nowMs, binding.lastSeenMs),
          moves: binding.moves,
          frozenFor: isFrozen(scene) ? secondsSince(binding.frozenUntilMs, nowMs) : null,
          owner: binding.owner && { mac: binding.owner.mac, port: nameOf(facts, binding.owner.port) },
        };
  return {
    bridge: bridgeName(scene),
    vlan,
    ok: isWell,
    state,
    verdict: sumUp(scene, state, steps),
    device: domain?.deviceName ?? null,
    vni,
    mac,
    port: portOf(scene),
    heard,
    forwardedAge: closeup.fdbAgeMs === null ? null : Math.floor(closeup.fdbAgeMs / 1000),
    neighbor: neighbor ? { ...describeEntry(neighbor), age: Math.floor(neighbor.updatedMs / 1000) } : null,
    frr: closeup.frr,
    refused: describeRefused(scene),
    steps,
  };
}

function stateOf({ place }: Scene): StoryState {
  const { verdict, binding, neighbor, refused } = place;
  if (verdict !== undefined) return verdict.due ? 'waiting' : verdict.state;
  if (binding !== undefined) return 'ended';
  if (neighbor !== undefined && (neighbor.flags & NTF_EXT_LEARNED) !== 0) return 'remote';
  return refused !== undefined && !isServed(neighbor) ? 'refused' : 'unheard';
}

function isServed(neighbor: Neighbor | undefined): boolean {
  return neighbor !== undefined && isValid(neighbor);
}

function hasOwnNeighbor({ facts, place: { neighbor } }: Scene): boolean {
  return neighbor !== undefined && isOurs(neighbor, facts.desired.runtime.neighborProtocol);
}

function isFrozen({ facts, place: { binding } }: Scene): boolean {
  return binding !== undefined && binding.frozenUntilMs > facts.hosts.nowMs;
}

function stepsOf(scene: Scene, state: StoryState): StoryStep[] {
  const heard = tellHeard(scene, state);
  // Of who was not believed there is no more to tell.
  if (state === 'refused') return [heard];
  return [
    heard,
    tellRule(scene, state),
    tellBridge(scene, state),
    tellNeighbor(scene, state),
    ...tellFrr(scene, state),
  ];
}

/** The first that is wrong is the cause; whatever comes after it waits for that, and is not to be mended by itself. */
function inOrder(steps: readonly StoryStep[]): StoryStep[] {
  const cause = steps.findIndex(({ status }) => status === 'wrong');
  return steps.map((step, i): StoryStep => {
    if (cause < 0 || i <= cause) return step;
    return { ...step, status: step.status === 'wrong' ? 'waits' : step.status, remedy: null };
  });
}

function ok(id: StepId, found: string): StoryStep {
  return { id, status: 'ok', found, remedy: null };
}

function wrong(id: StepId, found: string, remedy: string | null): StoryStep {
  return { id, status: 'wrong', found, remedy };
}

function unseen(id: StepId, found: string, remedy: string | null): StoryStep {
  return { id, status: 'unknown', found, remedy };
}

function tellHeard(scene: Scene, state: StoryState): StoryStep {
  const { facts, place } = scene;
  const { binding, verdict } = place;
  if (binding === undefined) {
    if (verdict !== undefined) return ok('heard', 'not yet; a static entry needs no word of its host');
    const refused = describeRefused(scene);
    if (refused !== null && state === 'refused') {
      const often =
        refused.count === 1
          ? 'one message, not believed,'
          : `${refused.count} messages, none believed, the last`;
      const found = `${often} ${formatAge(refused.lastAge)} ago on ${refused.port} from ${refused.source}: ${refused.because}`;
      return wrong('heard', found, refused.remedy);
    }
    if (state === 'remote') return ok('heard', 'on no local port: it is not here');
    if (isServed(place.neighbor) && !hasOwnNeighbor(scene))
      return ok('heard', 'never on a local port; an entry of another owner serves it');
    return wrong('heard', 'never on a local port', letItSpeak(scene));
  }
  const { plan, hosts } = facts;
  const { nowMs } = hosts;
  const first = secondsSince(nowMs, binding.firstSeenMs);
  const last = secondsSince(nowMs, binding.lastSeenMs);
  const moves = binding.moves === 0 ? '' : `; its MAC changed ${timesOf(binding.moves)} of late`;
  const isStranger = verdict?.source === 'static' && plan.endings.has(binding);
  const stranger = isStranger ? '; it is not provisioned for that MAC' : '';
  const found = `on ${nameOf(facts, binding.port)} from ${binding.mac}, first ${formatAge(first)}, last ${formatAge(last)} ago${moves}${stranger}`;
  if (!isFrozen(scene)) {
    const port = place.bridge?.ports.find(({ ifIndex }) => ifIndex === binding.port);
    const isDeaf = port !== undefined && !hasProgram(facts.observed, port.ifIndex);
    if (!isDeaf || state !== 'installed') return ok('heard', found);
    // Its route is there all the same, until it ages out.
    const deaf = `${found}; ${port.name} has no program now, and hears nothing more`;
    return { ...ok('heard', deaf), remedy: 'snoopy reconcile' };
  }
  const { owner } = binding;
  const held = owner === null ? '' : `, it was ${owner.mac} on ${nameOf(facts, owner.port)} before`;
  return wrong(
    'heard',
    `frozen for ${formatAge(secondsSince(binding.frozenUntilMs, nowMs))} more, for its MAC changes too often${held}: two hosts have it`,
    `find both by their MACs, take the address from one; then: snoopy reconcile --unfreeze ${facts.ip}`,
  );
}

function timesOf(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** What makes a host heard. */
function letItSpeak({ facts: { ip } }: Pick<Scene, 'facts'>): string {
  return ip.includes(':')
    ? `let the host speak: ping its gateway from ${ip}`
    : `let the host speak: arping -A -c 1 -I DEVICE ${ip}`;
}

function tellRule(scene: Scene, state: StoryState): StoryStep {
  const { facts, place } = scene;
  const { bridge, binding, domain, vlan, refused } = place;
  const { ip, plan } = facts;
  if (bridge === undefined) {
    return wrong(
      'rule',
      `${bridgeName(scene)} is no bridge of the configuration`,
      `add it under "bridges", or leave it: the next run forgets what was learned there`,
    );
  }
  const entry = bridge.desired.statics.find(
    (one) => one.ip === ip && effectiveVlan(bridge, one.vlan) === vlan,
  );
  if (entry !== undefined) return ok('rule', `provisioned for ${entry.macs.join(', ')}`);
  const ending = binding && plan.endings.get(binding)?.because;
  if (ending !== undefined) return wrong('rule', `the next run forgets it: ${ending}`, remedyOfEnding(scene));
  if (domain?.reserved.has(ip) === true) {
    return wrong(
      'rule',
      "the node's own address, or a broadcast address of its prefixes: no host may have it",
      refused === undefined
        ? "nothing, if it is the node's"
        : `find ${place.mac ?? refused.source}: it claims it`,
    );
  }
  if (state === 'remote' && binding === undefined) return ok('rule', 'none asked: it was not learned here');
  const unfit = whyNotLearnable(bridge, { ip, vlan });
  if (unfit !== null) return wrong('rule', `${unfit}: it is not learned`, 'see "subnets" and "link_local"');
  const { maxAgeMs } = bridge.desired;
  const age = maxAgeMs === null ? '' : `; forgotten when silent for ${formatDuration(maxAgeMs)}`;
  return ok('rule', `${describeRule(bridge, domain, ip)}${binding === undefined ? '' : age}`);
}

/** Which rule lets an address be learned. */
function describeRule(bridge: Bridge, domain: Domain | undefined, ip: IpAddress): string {
  if (isLinkLocal(ip)) return 'link-local, which is learned here';
  const allowed = allowedPrefixes(bridge.desired, domain, familyOf(ip));
  if (allowed !== 'any') {
    const { subnets } = bridge.desired;
    const whose = subnets === 'auto' ? `of ${domain?.deviceName ?? bridge.desired.name}` : 'of "subnets"';
    return `within ${some(allowed.map(formatPrefix), 3)} ${whose}`;
  }
  return bridge.desired.subnets === 'any'
    ? 'any address is learned, as "subnets" says'
    : `any address is learned, for ${domain?.deviceName ?? bridge.desired.name} has none of that family`;
}

function remedyOfEnding({ place, facts }: Scene): string {
  const { bridge, binding } = place;
  const port = bridge?.ports.find(({ ifIndex }) => ifIndex === binding?.port);
  if (port === undefined) {
    return `bridge link show master ${bridge?.desired.name}; see "ports"; the host is learned anew when it speaks`;
  }
  if (bridge !== undefined && !takesVlan(bridge, port, place.vlan))
    return `bridge vlan add dev ${port.name} vid ${place.vlan}`;
  if (bridge !== undefined && whyNotLearnable(bridge, { ip: facts.ip, vlan: place.vlan }) !== null)
    return 'see "subnets" and "link_local", and the address of the host';
  return letItSpeak({ facts });
}

function tellBridge(scene: Scene, state: StoryState): StoryStep {
  const { facts, place, location, closeup } = scene;
  const { bridge, binding, mac, vlan } = place;
  const name = bridgeName(scene);
  if (mac === null) return unseen('bridge', 'which MAC to look for is not known', null);
  const age = closeup.fdbAgeMs === null ? '' : `, seen ${formatAge(closeup.fdbAgeMs / 1000)} ago`;
  const isElsewhere = state === 'remote';
  switch (location.kind) {
    case 'local': {
      const found = `${name} forwards ${mac} to ${location.port.name}${age}`;
      const spoke = binding !== undefined && binding.mac === mac ? binding.port : location.port.ifIndex;
      const isExpected = spoke === location.port.ifIndex || state === 'installed';
      if (isElsewhere && place.neighbor !== undefined && place.neighbor.mac !== mac) {
        return wrong(
          'bridge',
          `${found}, and another node has the address with ${place.neighbor.mac ?? 'another MAC'}`,
          `two hosts have it, or it moved: who is right speaks last; ${letItSpeak(scene)}`,
        );
      }
      if (isExpected || state === 'ended') return ok('bridge', found);
      return wrong(
        'bridge',
        `${found}, and ${facts.ip} was heard on ${nameOf(facts, spoke)}`,
        `find out where ${mac} is: two ports have it, or the host moved and is silent`,
      );
    }
    case 'other': {
      const found = `${name} forwards ${mac} to a port that is not learned from${age}`;
      if (state === 'installed') return ok('bridge', found);
      return wrong('bridge', found, `bridge fdb show br ${name} | grep ${mac}; see "ports"`);
    }
    case 'tunnel':
      return isElsewhere
        ? ok('bridge', `${name} forwards ${mac} into the tunnel`)
        : wrong(
            'bridge',
            `${name} forwards ${mac} into the tunnel: the host is at another node`,
            `bridge fdb show br ${name} | grep ${mac}`,
          );
    case 'nowhere': {
      const where = bridge?.vlanAware ? ` in VLAN ${vlan}` : '';
      const found = `${name} does not know ${mac}${where} now`;
      if (isElsewhere) return ok('bridge', found);
      return wrong('bridge', `${found}: the host is silent, or gone`, letItSpeak(scene));
    }
    default:
      return location satisfies never;
  }
}

function tellNeighbor(scene: Scene, state: StoryState): StoryStep {
  const { facts, place } = scene;
  const { neighbor, domain, verdict, vlan, mac } = place;
  const name = bridgeName(scene);
  if (domain === undefined) {
    return wrong(
      'neighbor',
      `no device for VLAN ${vlan} above ${name}: nowhere to write it`,
      `ip link add ${name}.${vlan} link ${name} up type vlan id ${vlan}; bridge vlan add dev ${name} vid ${vlan} self`,
    );
  }
  const { deviceName } = domain;
  const found =
    neighbor === undefined
      ? `none on ${deviceName}${verdict?.due === true ? ' yet' : ''}`
      : describeNeighbor(neighbor, deviceName, facts);
  if (verdict?.due === true) {
    const why = verdict.because === 'new' ? '' : ` (${verdict.because})`;
    return wrong(
      'neighbor',
      `${found}; the next run writes it${why}`,
      'snoopy reconcile; is the timer running?',
    );
  }
  switch (state) {
    case 'installed':
      return ok('neighbor', found);
    case 'remote':
      if (isServed(neighbor) && neighbor?.mac !== undefined) return ok('neighbor', found);
      return wrong(
        'neighbor',
        `${found}: no node advertises the address`,
        `snoopy explain ${facts.ip} on the node that has ${mac ?? 'the MAC'}`,
      );
    case 'ended':
      return wrong('neighbor', hasOwnNeighbor(scene) ? `${found}; the next run removes it` : found, null);
    case 'unheard':
      if (hasOwnNeighbor(scene)) return wrong('neighbor', `${found}; the next run removes it`, null);
      return isServed(neighbor)
        ? ok('neighbor', found)
        : wrong('neighbor', `${found}: the node asked for it, and nobody answered`, letItSpeak(scene));
    default:
      return wrong(
        'neighbor',
        `${found}${verdict?.because ? `: ${verdict.because}` : ''}`,
        remedyOfWaiting(scene),
      );
  }
}

/** An entry of somebody else with another MAC is in the way; all else that is waited for was told before. */
function remedyOfWaiting({ facts, place: { neighbor, domain } }: Scene): string | null {
  if (neighbor === undefined || domain === undefined) return null;
  return `if it is wrong: ip neigh del ${facts.ip} dev ${domain.deviceName}; snoopy reconcile`;
}

/** Who wrote an entry, by NDA_PROTOCOL (RTPROT_* of linux/rtnetlink.h). */
function ownerOf({ protocol }: Neighbor, own: number): string {
  if (protocol === own) return 'snoopy';
  const names: Readonly<Record<number, string>> = { 0: 'the kernel', 2: 'the kernel', 11: 'zebra' };
  return names[protocol] ?? `protocol ${protocol}`;
}

function describeNeighbor(neighbor: Neighbor, device: string, { desired }: Facts): string {
  const { mac, state, flags } = describeEntry(neighbor);
  const words = [state, ...flags].join(' ');
  const owner = ownerOf(neighbor, desired.runtime.neighborProtocol);
  return `${mac === null ? '' : `${mac}, `}${words}, by ${owner} on ${device}, ${formatAge(neighbor.updatedMs / 1000)} old`;
}

function tellFrr(scene: Scene, state: StoryState): StoryStep[] {
  const { facts, place } = scene;
  const { frr } = facts;
  switch (frr.kind) {
    case 'absent':
      return [
        unseen('zebra', 'vtysh is not installed here: nothing of FRR was looked at', 'apt install frr'),
      ];
    case 'silent':
      return [wrong('zebra', frr.message, 'systemctl status frr; systemctl restart frr')];
    case 'answered':
      return place.vni === null
        ? [tellWithoutVni(scene)]
        : [tellZebra(scene, state, place.vni), tellRoute(scene, state, place.vni)];
    default:
      return frr satisfies never;
  }
}

/** What doctor has against this bridge and FRR: the first of these checks that complains. */
function complaintOf(
  { facts, place: { bridge, vlan } }: Scene,
  ids: readonly CheckId[],
): Pick<Check, 'found' | 'remedy'> | undefined {
  if (bridge === undefined) return undefined;
  const { frr, observed, plan } = facts;
  const topology = { bridges: [bridge], problems: [] };
  const checks = [
    ...checkTunnels(bridge, { observed }),
    ...checkFrr({ frr, topology, observed, plan, vlan }),
  ];
  const complaint = checks.find(({ id, status }) => status !== 'ok' && ids.includes(id));
  // The only one whose words do not say what they are about.
  return complaint?.id === 'advertise-all-vni'
    ? { ...complaint, found: `${complaint.id} is off` }
    : complaint;
}

function tellWithoutVni(scene: Scene): StoryStep {
  const complaint = complaintOf(scene, ['tunnel', 'vni', 'neighbor-device', 'advertise-all-vni']);
  if (complaint !== undefined) return wrong('zebra', complaint.found, complaint.remedy);
  return wrong('zebra', NO_VNI.reason, NO_VNI.remedy);
}

function tellZebra(scene: Scene, state: StoryState, vni: number): StoryStep {
  const { facts, place, closeup } = scene;
  const entry = closeup.frr?.neighbor ?? null;
  const from = closeup.frr?.tunnelEnd ?? null;
  if (state === 'remote') {
    if (entry !== null && !entry.isLocal)
      return ok('zebra', `VNI ${vni}: of the node ${from ?? 'it came from'}`);
    const found = `VNI ${vni}: ${entry === null ? 'no node advertises it' : 'its own, though it is not here'}`;
    return wrong('zebra', found, `vtysh -c "show evpn arp-cache vni ${vni} ip ${facts.ip}"`);
  }
  const { mac } = place;
  if (mac === null) return unseen('zebra', `VNI ${vni}: which MAC to look for is not known`, null);
  const neighbors = new Map([[vni, new Map(entry === null ? [] : [[facts.ip, entry]])]]);
  const hindrance = findHindrance({ ip: facts.ip, mac }, vni, { neighbors });
  if (hindrance !== null) {
    const deeper = complaintOf(scene, ['tunnel', 'advertise-all-vni']);
    if (deeper !== undefined) return wrong('zebra', `VNI ${vni}: ${deeper.found}`, deeper.remedy);
    return wrong('zebra', `VNI ${vni}: ${hindrance.reason}`, hindrance.remedy);
  }
  return ok('zebra', `VNI ${vni}: local, active`);
}

function tellRoute(scene: Scene, state: StoryState, vni: number): StoryStep {
  const { facts, place, closeup } = scene;
  const route = closeup.frr?.route ?? null;
  const show = `vtysh -c "show bgp l2vpn evpn route vni ${vni} mac ${place.mac} ip ${facts.ip}"`;
  if (state === 'remote') {
    if (route !== null && !route.isLocal)
      return ok('route', `best path to ${route.nextHop ?? 'another node'}`);
    return wrong(
      'route',
      route === null ? 'bgpd has none' : "the node's own, though the host is not here",
      show,
    );
  }
  if (route === null || !route.isLocal) {
    const complaint = complaintOf(scene, ['advertise-all-vni']);
    const found =
      route === null ? 'bgpd has none' : `the one of ${route.nextHop ?? 'another node'} is better`;
    if (complaint !== undefined) return wrong('route', `${found}: ${complaint.found}`, complaint.remedy);
    return wrong('route', found, show);
  }
  if (route.peers.length > 0) return ok('route', `best path, sent to ${some(route.peers)}`);
  const complaint = complaintOf(scene, ['peers']);
  const found = `best path, sent to nobody${complaint === undefined ? '' : `: ${complaint.found}`}`;
  return wrong('route', found, complaint?.remedy ?? show);
}

function describeRefused(scene: Scene): RefusedReport | null {
  const { facts, place } = scene;
  const { refused } = place;
  if (refused === undefined) return null;
  const port = nameOf(facts, refused.port);
  const entrance = { bridge: place.bridge, bridgeName: bridgeName(scene), port };
  return {
    reason: refused.reason,
    ...describeRefusal(refused, entrance),
    count: refused.count,
    port,
    source: refused.source,
    claimed: refused.claimed,
    firstAge: secondsSince(facts.hosts.nowMs, refused.firstMs),
    lastAge: secondsSince(facts.hosts.nowMs, refused.lastMs),
  };
}

/** The story in a sentence. */
function sumUp(scene: Scene, state: StoryState, steps: readonly StoryStep[]): string {
  const { facts, place, closeup } = scene;
  const { vlan, vni, mac } = place;
  const where = `${facts.ip} on ${bridgeName(scene)}${vlan === 0 ? '' : ` VLAN ${vlan}`}`;
  const cause = steps.find(({ status }) => status === 'wrong');
  if (cause !== undefined) return `${where} ${lackOf(state, cause)}: ${cause.found}`;
  if (state === 'remote') {
    const end = closeup.frr?.tunnelEnd ?? null;
    return `${where} is at another node${end === null ? '' : `, ${end}`}: ${mac}`;
  }
  if (steps.some(({ status }) => status === 'unknown'))
    return `${where} has its neighbor; whether FRR advertises it could not be seen`;
  const peers = closeup.frr?.route?.peers.length ?? 0;
  const to = peers === 1 ? '1 peer' : `${peers} peers`;
  return `${where} is advertised by this node: VNI ${vni}, ${mac} on ${portOf(scene)}, to ${to}`;
}

function lackOf(state: StoryState, { id }: StoryStep): string {
  if (state === 'remote') return 'is at another node, and has no route';
  if (state === 'refused') return 'is not learned';
  return id === 'route' ? 'is not advertised' : 'has no route';
}

function bridgeName({ facts, place }: Scene): string {
  return place.bridge?.desired.name ?? nameOf(facts, place.bridgeIndex);
}

function portOf({ facts, place, location }: Scene): string | null {
  if (location.kind === 'local') return location.port.name;
  if (place.binding !== undefined) return nameOf(facts, place.binding.port);
  return place.verdict === undefined && place.refused !== undefined
    ? nameOf(facts, place.refused.port)
    : null;
}

function nameOf({ observed }: Facts, ifIndex: IfIndex): string {
  return observed.links.get(ifIndex)?.name ?? `the deleted port #${ifIndex}`;
}

/** Whole seconds; none where the clock was read before. */
function secondsSince(nowMs: number, ms: number): number {
  return Math.max(0, Math.floor((nowMs - ms) / 1000));
}

/** Where the address would be heard. A domain without a device, and one that no port is in, have none who listen. */
function lookOut(bridge: Bridge, { ip, observed, hosts }: Facts): Lookout[] {
  const spoken = new Set(hosts.bindings.filter((one) => one.bridge === bridge.ifIndex).map(({ mac }) => mac));
  const names = new Map(bridge.ports.map(({ ifIndex, name }) => [ifIndex, name]));
  return [...bridge.domains.values()].map(({ vlan }): Lookout => {
    const ports = bridge.ports.filter((port) => takesVlan(bridge, port, vlan));
    const listens = ({ ifIndex }: { readonly ifIndex: IfIndex }): boolean => hasProgram(observed, ifIndex);
    return {
      bridge: bridge.desired.name,
      vlan,
      ports: ports.filter(listens).map(({ name }) => name),
      deaf: ports.filter((port) => !listens(port)).map(({ name }) => name),
      because: whyNotLearnable(bridge, { ip, vlan }) ?? whyUnheard(bridge, ip),
      silent: [...(hosts.forwarding.get(bridge.ifIndex) ?? [])].flatMap((entry) => {
        const port = names.get(entry.port);
        const isIn = !bridge.vlanAware || entry.vlan === vlan;
        return isIn && port !== undefined && !spoken.has(entry.mac) ? [{ mac: entry.mac, port }] : [];
      }),
    };
  });
}

/** Why no message of this family is learned from. */
function whyUnheard({ desired: { learn } }: Bridge, ip: IpAddress): string | null {
  const kinds = ip.includes(':') ? ['na', 'ns'] : ['arp-request', 'arp-reply'];
  return learn.some((kind) => kinds.includes(kind)) ? null : `"learn" takes no ${kinds.join(' or ')}`;
}

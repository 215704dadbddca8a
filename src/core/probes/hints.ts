// Hints: what suggests that an address is here and is not enough to learn it. They are probed; the answers are learned
// like any other message. Pure.

import { AF_INET, familyOf, type IfIndex } from '../../base/address.ts';
import { type Hint, type HintKey, hintId } from '../../datapath/records/hint.ts';
import { HINT_KINDS, type HintKind } from '../../datapath/records/hint-kind.ts';
import type { SeenHint } from '../../datapath/records/seen-hint.ts';
import type { HostIndex } from '../host-index.ts';
import { learnableOn } from '../learnable.ts';
import { addressId, staticEntries } from '../neighbors/candidate.ts';
import type { ObservedHosts } from '../observed.ts';
import type { Scope } from '../plan.ts';
import { type Bridge, type Port, type Topology, takesVlan } from '../topology.ts';
import { backoffMs } from './ageing.ts';
import { ANSWER_MS, type Probe, type ProbeSource, probeOut, probeSource, shareByPort } from './probe.ts';

/** The probe of a host that was hinted at, out of the port where the bridge has its MAC. */
export interface HintProbe extends Probe {
  readonly hint: Hint;
}

/** Most probes of one run for hints. Every port has an equal share, so a flood on one port delays no other. */
const PROBES_PER_RUN = 256;

/** How long a hint, or an owner that may not be able to answer, is kept on a bridge without max_age. */
const DEFAULT_LIFE_MS = 20 * 60_000;

/** The same for this bridge. */
export function lifeMsOf({ desired }: Bridge): number {
  return desired.maxAgeMs ?? DEFAULT_LIFE_MS;
}

/**
 * Time during which an address is not probed because a host is checking it. An ARP Probe for an address that a host is
 * checking is a conflict for that host (RFC 5227, section 2.1.1: it waits 1 s, probes for up to 4 s, and waits 2 s more).
 * Duplicate Address Detection takes a second and more (RFC 4862, section 5.4); until then no host answers.
 */
const CHECKING_MS = { arp: 10_000, nd: 3_000 };

/** A host that was away for less than this has not restarted meanwhile and begun to check its address. */
const RESTART_MS = 3_000;

/** How many hints of each kind there are. */
export function countHints({
  seenHints,
  hints,
}: Pick<ObservedHosts, 'seenHints' | 'hints'>): Record<HintKind, number> {
  const counts = Object.fromEntries(HINT_KINDS.map((kind) => [kind, 0])) as Record<HintKind, number>;
  for (const { kind } of [...seenHints, ...hints]) counts[kind] += 1;
  return counts;
}

/** What becomes of a hint now. */
type HintStatus =
  /** Its host has the address by now. */
  | { readonly kind: 'learned' }
  /** Nothing can come of it: too old, or the address may not be learned for this MAC. */
  | { readonly kind: 'obsolete' }
  /** No local port has its MAC, or not the port that its message came from. */
  | { readonly kind: 'away' }
  /** Its MAC has come to a port here, and its host may be about to check the address. */
  | { readonly kind: 'arrived' }
  /** Its next probe is due later. */
  | { readonly kind: 'waiting'; readonly dueMs: number }
  | { readonly kind: 'due'; readonly bridge: Bridge; readonly port: Port; readonly source: ProbeSource };

/** All hints of an observation, by what becomes of them. */
export interface HintsByStatus {
  readonly probes: readonly HintProbe[];
  /** Hints whose hosts have their addresses by now. */
  readonly learned: readonly Hint[];
  readonly obsolete: readonly Hint[];
  /** Hints whose MACs have come to a port here: their first probes are due some time after this. */
  readonly arrived: readonly Hint[];
  /** Hints of the memory whose MACs are on no local port. */
  readonly away: readonly Hint[];
  /** Hints that are to be looked at although nothing happens, with the time: CLOCK_MONOTONIC in milliseconds. */
  readonly waiting: readonly { readonly hint: Hint; readonly dueMs: number }[];
}

/** What becomes of every hint, and the probes that are due. `index` is an index of `hosts`. */
export function hintsByStatus(
  topology: Topology,
  hosts: ObservedHosts,
  index: HostIndex,
  { whole }: Scope,
): HintsByStatus {
  const statusOf = statusByBridge(topology, hosts, index);
  // A run with --bridge leaves those of other bridges alone.
  const elsewhere = whole ? OBSOLETE : NEVER;
  const probes: HintProbe[] = [];
  const learned: Hint[] = [];
  const obsolete: Hint[] = [];
  const arrived: Hint[] = [];
  const away: Hint[] = [];
  const waiting: HintsByStatus['waiting'][number][] = [];
  for (const hint of [...hosts.seenHints, ...hosts.hints]) {
    const status = statusOf.get(hint.bridge)?.(hint) ?? elsewhere;
    switch (status.kind) {
      case 'learned':
        learned.push(hint);
        break;
      case 'obsolete':
        obsolete.push(hint);
        break;
      case 'away':
        if (!isSeenHint(hint)) away.push(hint);
        break;
      case 'arrived':
        arrived.push(hint);
        waiting.push({ hint, dueMs: hosts.nowMs + CHECKING_MS.arp });
        break;
      case 'waiting':
        if (status !== NEVER) waiting.push({ hint, dueMs: status.dueMs });
        break;
      case 'due': {
        probes.push({ ...probeOut(status.bridge, status.port, hint.vlan, status.source, hint), hint });
        // Those that this run does not send are due then.
        waiting.push({ hint, dueMs: hosts.nowMs + ANSWER_MS });
        break;
      }
      default:
        status satisfies never;
    }
  }
  return {
    probes: shareByPort(probes, ({ hint }) => hint.seenMs).slice(0, PROBES_PER_RUN),
    learned,
    obsolete,
    arrived,
    away,
    waiting,
  };
}

/**
 * When the next probe for a hint is due: CLOCK_MONOTONIC in milliseconds; null when it is not probed as things are. `index`
 * is an index of `hosts`.
 */
export function nextProbeMs(
  bridge: Bridge,
  hosts: ObservedHosts,
  index: HostIndex,
  hint: Hint,
): number | null {
  const status = statusOn(bridge, hosts.nowMs, index, checkingTimes(hosts.seenHints))(hint);
  switch (status.kind) {
    case 'due':
      return hosts.nowMs;
    case 'arrived':
      return hosts.nowMs + CHECKING_MS.arp;
    case 'waiting':
      return Number.isFinite(status.dueMs) ? status.dueMs : null;
    case 'learned':
    case 'obsolete':
    case 'away':
      return null;
    default:
      return status satisfies never;
  }
}

/** The hints of the program whose hosts were probed without an answer, or are not probed as things are. */
export function unansweredHints(topology: Topology, hosts: ObservedHosts, index: HostIndex): SeenHint[] {
  const statusOf = statusByBridge(topology, hosts, index);
  return hosts.seenHints.filter((hint) => {
    const status = statusOf.get(hint.bridge)?.(hint);
    if (status?.kind === 'waiting') return hint.probes > 0 || !Number.isFinite(status.dueMs);
    return status?.kind === 'due' && hint.probes > 0;
  });
}

const LEARNED: HintStatus = { kind: 'learned' };
const OBSOLETE: HintStatus = { kind: 'obsolete' };
const AWAY: HintStatus = { kind: 'away' };
const ARRIVED: HintStatus = { kind: 'arrived' };
const NEVER: HintStatus = { kind: 'waiting', dueMs: Number.POSITIVE_INFINITY };

/** True for a hint that the program has taken from a message; false for one of the memory. */
export function isSeenHint(hint: Hint): hint is SeenHint {
  return 'slot' in hint;
}

/** Tells what becomes of a hint, for each bridge. */
function statusByBridge(
  topology: Topology,
  hosts: ObservedHosts,
  index: HostIndex,
): ReadonlyMap<IfIndex, (hint: Hint) => HintStatus> {
  const checkedUntilMs = checkingTimes(hosts.seenHints);
  return new Map(
    topology.bridges.map((bridge) => [bridge.ifIndex, statusOn(bridge, hosts.nowMs, index, checkedUntilMs)]),
  );
}

/** Tells what becomes of a hint of one bridge. */
function statusOn(
  bridge: Bridge,
  nowMs: number,
  index: HostIndex,
  checkedUntilMs: ReadonlyMap<string, number>,
): (hint: Hint) => HintStatus {
  const { desired } = bridge;
  const forwarding = index.forwardingOf(bridge);
  const whyNotLearnable = learnableOn(bridge);
  const statics = staticEntries(bridge);
  const lifeMs = lifeMsOf(bridge);
  return (hint) => {
    const { vlan, ip, mac } = hint;
    if (nowMs - hint.seenMs > lifeMs) return OBSOLETE;
    // Checked first: most MACs of the fabric are on no local port.
    const place = forwarding.locate(vlan, mac);
    if (place.kind !== 'local' || !takesVlan(bridge, place.port, vlan)) return AWAY;
    // Otherwise a guest could name the MAC of another port's host, and use up that port's share of probes.
    if (isSeenHint(hint) && hint.port !== place.port.ifIndex) return AWAY;
    // A provisioned address needs no answer, and gets none from another MAC.
    if (statics.size > 0 && statics.has(addressId(vlan, ip))) return OBSOLETE;
    if (whyNotLearnable(hint) !== null) return OBSOLETE;
    const binding = index.bindingOf(hint);
    if (binding !== undefined && binding.mac === mac && binding.port === place.port.ifIndex) return LEARNED;
    if (binding !== undefined && binding.frozenUntilMs > nowMs) return NEVER;
    const source = probeSource(bridge, vlan, ip);
    if (source === null) return NEVER;
    const mayCheck = hint.probes === 0 && mayCheckAgain(hint, source, nowMs);
    if (mayCheck && hint.probedMs === 0) return ARRIVED;
    const pauseMs = mayCheck ? CHECKING_MS.arp : backoffMs(hint.probes, desired.probe.afterMs);
    const dueMs = Math.max(
      hint.probedMs === 0 ? 0 : hint.probedMs + pauseMs,
      checkedUntilMs.get(checkId(hint, place.port.ifIndex)) ?? 0,
    );
    return dueMs > nowMs ? { kind: 'waiting', dueMs } : { kind: 'due', bridge, port: place.port, source };
  };
}

/**
 * True for a host that was away: it may have restarted, and check its address now (RFC 5227, section 2.1.1). Our ARP Probe
 * would be a conflict for it even before its own is seen. A host that migrates is away for no longer than a moment.
 */
function mayCheckAgain({ kind, ip, seenMs }: Hint, source: ProbeSource, nowMs: number): boolean {
  if (kind !== 'ended' || nowMs - seenMs < RESTART_MS) return false;
  return familyOf(ip) === AF_INET && source.ip === null;
}

/** A host that checks an address, on the port where it does: another port cannot delay its probes. */
function checkId(hint: HintKey, port: IfIndex): string {
  return `${hintId(hint)} ${port}`;
}

/** Until when hosts check whether the addresses are free that they are about to use, by checkId. */
function checkingTimes(seenHints: readonly SeenHint[]): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const hint of seenHints) {
    if (hint.kind !== 'tentative') continue;
    const checkMs = familyOf(hint.ip) === AF_INET ? CHECKING_MS.arp : CHECKING_MS.nd;
    times.set(checkId(hint, hint.port), hint.seenMs + checkMs);
  }
  return times;
}

// The memory of hints: what is remembered of hosts that are elsewhere or gone, to be probed when their MACs are here.
// Pure.

import type { IfIndex, IpAddress } from '../../base/address.ts';
import { ensure } from '../../base/group.ts';
import type { Hint, HintKey } from '../../datapath/records/hint.ts';
import type { Neighbor } from '../../netlink/neighbor.ts';
import type { HostIndex } from '../host-index.ts';
import { learnableOn } from '../learnable.ts';
import { isRemote, isValid } from '../neighbor-entry.ts';
import type { HostPlan } from '../neighbors/plan.ts';
import type { ObservedHosts } from '../observed.ts';
import type { Bridge, Topology } from '../topology.ts';
import { type HintsByStatus, isSeenHint, lifeMsOf } from './hints.ts';

/** What changes in the memory. */
export interface MemoryChange {
  readonly remember: readonly Hint[];
  readonly forget: readonly Hint[];
}

/** An entry is written again when this part of its life is over, and not in every run. */
const RENEW_AFTER = 1 / 4;
/** The part of the map that addresses of the fabric may take: it must not be full when a host here is gone. */
const FABRIC_SHARE = 3 / 4;

/**
 * What to remember: zebra's remote entries, which vanish within a fifth of a second when their hosts move here, and
 * addresses whose bindings have ended because their port is gone. An address that has another MAC at another node now takes
 * the place of the former one, so that it has room also in a full memory. `room` is the size of the map, `elsewhere`
 * how many of its entries `hosts` leaves out; entries of `not` are left to a later run.
 */
export function planMemory(
  topology: Topology,
  hosts: ObservedHosts,
  index: HostIndex,
  plan: Pick<HostPlan, 'endings' | 'decisions'>,
  byStatus: Pick<HintsByStatus, 'learned' | 'obsolete' | 'arrived' | 'away'>,
  {
    room,
    elsewhere = 0,
    not = [],
  }: { readonly room: number; readonly elsewhere?: number; readonly not?: readonly Neighbor[] },
): MemoryChange {
  const done = [...byStatus.learned, ...byStatus.obsolete].filter((hint): hint is Hint => !isSeenHint(hint));
  const known = latestOf(hosts.hints);
  const seenHere = seenBefore(plan);
  const free = room - elsewhere - hosts.hints.length + done.length;
  const share = free - Math.ceil(room * (1 - FABRIC_SHARE));
  const excluded = new Set(not);
  const neighbors =
    not.length === 0 ? hosts.neighbors : hosts.neighbors.filter((entry) => !excluded.has(entry));
  const remotes = topology.bridges.flatMap((bridge) =>
    remotesOf(bridge, { ...hosts, neighbors }, index, known, seenHere),
  );
  const inPlace = remotes.filter(({ former }) => former !== null);
  const added = remotes.filter(({ former }) => former === null);
  // A known address has room beside what is known of it: else every run would take it for changed.
  const moved = added.filter(({ isKnown }) => isKnown).slice(0, Math.max(0, free));
  const unknown = added.filter(({ isKnown }) => !isKnown).slice(0, Math.max(0, share - moved.length));
  const replaced = inPlace.flatMap(({ hint, former }) =>
    former === null || former.mac === hint.mac ? [] : [former],
  );
  const forgotten = new Set(replaced);
  const kept = [
    ...byStatus.arrived.map((hint): Hint => ({ ...hint, probedMs: hosts.nowMs })),
    ...awayOf(
      topology,
      hosts.nowMs,
      index,
      byStatus.away.filter((hint) => !forgotten.has(hint)),
    ),
  ];
  return {
    remember: [
      ...endedOf(hosts, plan),
      ...kept,
      ...[...inPlace, ...moved, ...unknown].map(({ hint }) => hint),
    ],
    forget: [...done, ...replaced],
  };
}

/** The last known MAC of each address, by bridge, VLAN and address. */
export type LatestHints = ReadonlyMap<IfIndex, ReadonlyMap<number, ReadonlyMap<IpAddress, Hint>>>;

/** The latest hint for each address. */
export function latestOf(hints: readonly Hint[]): LatestHints {
  const latest = new Map<IfIndex, Map<number, Map<IpAddress, Hint>>>();
  for (const hint of hints) {
    const vlans = ensure(latest, hint.bridge, () => new Map<number, Map<IpAddress, Hint>>());
    const addresses = ensure(vlans, hint.vlan, () => new Map<IpAddress, Hint>());
    const before = addresses.get(hint.ip);
    if (before === undefined || before.seenMs < hint.seenMs) addresses.set(hint.ip, hint);
  }
  return latest;
}

/** An address of another node's host that is not in the memory as it is now. */
interface Remote {
  readonly hint: Hint;
  /** The entry of the memory whose place it takes. */
  readonly former: Hint | null;
  /** True when the memory has its address. */
  readonly isKnown: boolean;
}

/** When hosts here were last seen with another MAC for an address that is another node's now. */
function seenBefore({ decisions }: Pick<HostPlan, 'decisions'>): ReadonlyMap<Neighbor, number> {
  const times = new Map<Neighbor, number>();
  for (const { state, candidate } of decisions) {
    const { entry, binding } = candidate;
    if (state !== 'remote' || entry === undefined || binding === undefined) continue;
    if (entry.mac !== binding.mac) times.set(entry, binding.lastSeenMs);
  }
  return times;
}

/** What zebra has that the memory does not have as it is now: a host that was here before is another node's now. */
function remotesOf(
  bridge: Bridge,
  hosts: ObservedHosts,
  index: HostIndex,
  known: LatestHints,
  seenHere: ReadonlyMap<Neighbor, number>,
): Remote[] {
  const vlans = new Map([...bridge.domains.values()].map(({ device, vlan }) => [device, vlan]));
  const forwarding = index.forwardingOf(bridge);
  const whyNotLearnable = learnableOn(bridge);
  const renewMs = lifeMsOf(bridge) * RENEW_AFTER;
  const found: Remote[] = [];
  for (const entry of hosts.neighbors) {
    const vlan = vlans.get(entry.ifIndex);
    if (vlan === undefined || entry.mac === undefined || !isRemote(entry) || !isValid(entry)) continue;
    const { ip, mac } = entry;
    const before = known.get(bridge.ifIndex)?.get(vlan)?.get(ip);
    const isKnown = before?.mac === mac && before.kind === 'fabric';
    // What was here since is not the last that is known of the address.
    const isOutdated = before !== undefined && before.seenMs <= (seenHere.get(entry) ?? 0);
    if (isKnown && !isOutdated && hosts.nowMs - before.seenMs < renewMs) continue;
    if (whyNotLearnable({ ip, vlan }) !== null) continue;
    // While its MAC is here the hint is probed, and a new one would begin its probes anew.
    if (before?.mac === mac && forwarding.locate(vlan, mac).kind === 'local') {
      if (isOutdated) found.push({ hint: { ...before, seenMs: hosts.nowMs }, former: before, isKnown });
      continue;
    }
    const hint = hintOf({ bridge: bridge.ifIndex, vlan, ip, mac }, 'fabric', hosts.nowMs);
    // What was here is remembered beside it: its MAC may come back.
    const isReplaced = before !== undefined && (before.mac === mac || before.kind === 'fabric');
    found.push({ hint, former: isReplaced ? before : null, isKnown: before !== undefined });
  }
  return found;
}

/**
 * What changes of hints whose MAC is on no local port: when it is back, its probes begin anew. A host that another node has
 * lost as well is remembered like one that this node has lost: where it appears again, it may have restarted.
 */
function awayOf(topology: Topology, nowMs: number, index: HostIndex, hints: readonly Hint[]): Hint[] {
  const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  const isRemoteNow = ({ bridge, vlan, ip }: Hint): boolean => {
    const device = bridges.get(bridge)?.domains.get(vlan)?.device;
    const entry = device === undefined ? undefined : index.neighborOf(device, ip);
    return entry !== undefined && isRemote(entry) && isValid(entry);
  };
  return hints.flatMap((hint): Hint[] => {
    if (hint.kind === 'fabric' && !isRemoteNow(hint))
      return [{ ...hint, kind: 'ended', seenMs: nowMs, probes: 0, probedMs: 0 }];
    return hint.probedMs > 0 ? [{ ...hint, probes: 0, probedMs: 0 }] : [];
  });
}

/** The addresses of bindings that have ended although their hosts may still have them. */
function endedOf({ nowMs }: ObservedHosts, { endings }: Pick<HostPlan, 'endings'>): Hint[] {
  return [...endings]
    .filter(([, { leavesHint }]) => leavesHint)
    .map(([{ bridge, vlan, ip, mac }]) => hintOf({ bridge, vlan, ip, mac }, 'ended', nowMs));
}

function hintOf(key: HintKey, kind: Hint['kind'], seenMs: number): Hint {
  return { ...key, kind, seenMs, probes: 0, probedMs: 0 };
}

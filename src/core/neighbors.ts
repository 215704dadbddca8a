// Who deserves a neighbor: bindings + static entries + FDB + neighbor table -> verdicts and changes. Pure.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { type Binding, type BindingKey, bindingId } from '../datapath/records.ts';
import { type Neighbor, NUD_NOARP } from '../netlink/neighbor.ts';
import type { NeighborState, StaticEntry } from './desired.ts';
import { type Forwarding, type HostIndex, indexOf, type Location } from './host-index.ts';
import { type LearnableCheck, learnableOn } from './learnable.ts';
import { countByPort } from './ledger.ts';
import {
  isExposed,
  isFixed,
  isOurs,
  isRemote,
  isRouter,
  isValid,
  REFRESH_AFTER_MS,
} from './neighbor-entry.ts';
import type { ObservedHosts } from './observed.ts';
import { isUnanswered } from './probes.ts';
import type { BindingState } from './report.ts';
import { type Bridge, type Domain, effectiveVlan, type Port, type Topology, takesVlan } from './topology.ts';

/** A change of the neighbor table that is due. */
export interface NeighborChange {
  readonly kind: 'add' | 'replace' | 'remove';
  readonly device: IfIndex;
  readonly deviceName: string;
  /** Name of the bridge; of the device where the entry belongs to no configured bridge. */
  readonly bridge: string;
  readonly vlan: number;
  readonly ip: IpAddress;
  /** After the change; for `remove` what goes. */
  readonly mac: Mac | null;
  readonly port: string | null;
  /** The entry as it was observed. */
  readonly existing: Neighbor | undefined;
  readonly state: NeighborState;
  readonly router: boolean;
  readonly because: string;
}

/** What was decided of one address. */
export interface Verdict {
  readonly bridge: string;
  readonly vlan: number;
  readonly device: string | null;
  readonly ip: IpAddress;
  readonly mac: Mac;
  readonly port: string | null;
  readonly source: 'learned' | 'static';
  readonly state: BindingState;
  /** CLOCK_MONOTONIC; null when it was never seen. */
  readonly lastSeenMs: number | null;
  readonly because: string;
  /** True when its neighbor is yet to be written. */
  readonly due: boolean;
}

export interface HostPlan {
  readonly changes: readonly NeighborChange[];
  /** Entries to send again unchanged, because the kernel's garbage collection may take them. */
  readonly refresh: readonly NeighborChange[];
  /** Bindings that have ended: to be deleted once the changes are in the kernel. */
  readonly forget: readonly Binding[];
  /** Why each of those of a configured bridge has ended. */
  readonly endings: ReadonlyMap<Binding, Ending>;
  readonly verdicts: readonly Verdict[];
  /** Learned bindings that have a neighbor, or whose hosts are here at least: who may be asked for a sign of life. */
  readonly present: readonly Binding[];
  /**
   * Learned bindings without a neighbor, for the bridge has lost sight of the MAC, or for another node claims the
   * address though the host is still on its port here: a sign of life brings it back.
   */
  readonly lost: readonly Binding[];
  /** Ports that have as many bindings as they may. */
  readonly fullPorts: readonly { readonly port: string; readonly limit: number }[];
  /** Neighbors that are ours once the changes are made. */
  readonly total: number;
}

export interface HostOptions {
  /** NDA_PROTOCOL of our own entries. */
  readonly protocol: number;
  /** False with `--bridge`: entries on other devices are left alone. */
  readonly whole: boolean;
  /** By bindingId: an owner who is not to lose the address to another MAC in this run, and why. */
  readonly defended?: ReadonlyMap<string, Defence>;
}

export interface Defence {
  readonly owner: Mac;
  /** False: to be asked by the next pass. */
  readonly isAsked: boolean;
  readonly because: string;
}

/** Why a binding has ended. */
export interface Ending {
  readonly because: string;
  /** True: no word of the host changes it. False: it was silent, or is not where it was. */
  readonly isFinal: boolean;
}

/** An address that asks for a neighbor: a binding, or a static entry with the MAC that is there. */
interface Claim extends BindingKey {
  readonly mac: Mac;
  readonly router: boolean;
  readonly source: 'learned' | 'static';
  /** Undefined for a static entry: any chosen port will do. */
  readonly port: Port | undefined;
  readonly lastSeenMs: number | null;
}

/** What is decided of a claim, and of the entry for its address: `none` is not wanted, `keep` stays as it is. */
interface Decision {
  readonly state: BindingState;
  readonly because: string;
  readonly action: 'none' | 'keep' | 'add' | 'replace';
}

/** Decides every address of the configured bridges, and what of the neighbor table must change. */
export function planHosts(topology: Topology, hosts: ObservedHosts, options: HostOptions): HostPlan {
  const index = indexOf(hosts);
  const draft = newDraft();
  for (const bridge of topology.bridges) {
    planBridge(draft, {
      bridge,
      index,
      forwarding: index.forwardingOf(bridge),
      nowMs: hosts.nowMs,
      protocol: options.protocol,
      defended: options.defended ?? new Map(),
    });
  }
  const known = new Set(topology.bridges.map((bridge) => bridge.ifIndex));
  const orphans = options.whole ? hosts.bindings.filter((binding) => !known.has(binding.bridge)) : [];
  return {
    changes: [...planRemovals(topology, hosts, options, draft), ...draft.changes],
    refresh: draft.refresh,
    forget: [...orphans, ...draft.endings.keys()],
    endings: draft.endings,
    verdicts: draft.verdicts,
    present: draft.present,
    lost: draft.lost,
    fullPorts: topology.bridges.flatMap((bridge) => fullPorts(bridge, index.bindingsOf(bridge.ifIndex))),
    total: draft.kept.size + draft.added,
  };
}

/** What the decisions of one bridge look at. */
interface Scene {
  readonly bridge: Bridge;
  readonly index: HostIndex;
  readonly forwarding: Forwarding;
  readonly nowMs: number;
  readonly protocol: number;
  readonly defended: ReadonlyMap<string, Defence>;
}

interface Draft {
  readonly changes: NeighborChange[];
  readonly refresh: NeighborChange[];
  /** Bindings that have ended, and why. */
  readonly endings: Map<Binding, Ending>;
  readonly verdicts: Verdict[];
  readonly present: Binding[];
  readonly lost: Binding[];
  /** Entries that are ours and stay, or become ours. */
  readonly kept: Set<Neighbor>;
  /** How many entries come where there is none. */
  added: number;
  /** Why an entry is not wanted. */
  readonly reasons: Map<Neighbor, string>;
}

function newDraft(): Draft {
  return {
    changes: [],
    refresh: [],
    endings: new Map(),
    verdicts: [],
    present: [],
    lost: [],
    kept: new Set(),
    added: 0,
    reasons: new Map(),
  };
}

function planBridge(draft: Draft, scene: Scene): void {
  const { bridge, index, forwarding, nowMs } = scene;
  const statics = new Map(
    bridge.desired.statics.map((entry) => [addressId(effectiveVlan(bridge, entry.vlan), entry.ip), entry]),
  );
  const ports = new Map(bridge.ports.map((port) => [port.ifIndex, port]));
  const misfitOf = learnableOn(bridge);
  const seen = new Map<string, Binding>();
  for (const binding of index.bindingsOf(bridge.ifIndex)) {
    const id = statics.size === 0 ? '' : addressId(binding.vlan, binding.ip);
    const port = ports.get(binding.port);
    const location = forwarding.locate(binding.vlan, binding.mac);
    const ending = whyEnded(scene, binding, port, location, statics.get(id), misfitOf);
    if (ending !== null) {
      draft.endings.set(binding, ending);
      const domain = bridge.domains.get(binding.vlan);
      const entry = domain && index.neighborOf(domain.device, binding.ip);
      if (entry !== undefined) {
        draft.reasons.set(entry, ending.because);
        // Who claims an address and is gone has not won it.
        if (isDefended(scene, binding, entry)) draft.kept.add(entry);
      }
      continue;
    }
    if (statics.has(id)) {
      seen.set(id, binding);
      continue;
    }
    const { vlan, ip, mac, router, lastSeenMs } = binding;
    const claim: Claim = {
      bridge: bridge.ifIndex,
      vlan,
      ip,
      mac,
      router,
      source: 'learned',
      port,
      lastSeenMs,
    };
    const state = settle(draft, scene, claim, location, binding.frozenUntilMs > nowMs);
    const isLost = state === 'waiting' && location.kind === 'nowhere';
    const isDisplaced = state === 'remote' && location.kind === 'local';
    if (isLost || isDisplaced) draft.lost.push(binding);
    // Also while a foreign entry stands there: when that goes, a claim of long ago must not count.
    else if (state === 'installed' || (location.kind === 'local' && state !== 'frozen')) {
      draft.present.push(binding);
    }
  }
  for (const [id, entry] of statics) {
    const claim = staticClaim(bridge, entry, seen.get(id), forwarding);
    settle(draft, scene, claim, forwarding.locate(claim.vlan, claim.mac), false);
  }
}

/** Why a binding has ended and is to be forgotten; null when it has not. */
function whyEnded(
  scene: Scene,
  binding: Binding,
  port: Port | undefined,
  location: Location,
  entry: StaticEntry | undefined,
  misfitOf: LearnableCheck,
): Ending | null {
  const { bridge, index, nowMs } = scene;
  // Where the bridge forwards the MAC to another port that is learned from, the host is still here.
  if (port === undefined && location.kind !== 'local') return until('its port is gone or not learned from');
  if (port !== undefined && !takesVlan(bridge, port, binding.vlan))
    return until('its port is not in that VLAN');
  if (entry !== undefined && !entry.macs.includes(binding.mac)) return forGood('provisioned for another MAC');
  const misfit = misfitOf(binding);
  if (misfit !== null) return forGood(misfit);
  const { maxAgeMs } = bridge.desired;
  if (entry !== undefined || maxAgeMs === null || nowMs - binding.lastSeenMs <= maxAgeMs) return null;
  if (location.kind !== 'local' && location.kind !== 'other') return until('not seen for max_age');
  // The host lives on: only its silence when asked for this very address ends the binding.
  return isUnanswered(bridge, binding, index.probesOf(binding), nowMs)
    ? until('does not answer for it any more')
    : null;
}

/** An end that the host's next word may undo. */
function until(because: string): Ending {
  return { because, isFinal: false };
}

function forGood(because: string): Ending {
  return { because, isFinal: true };
}

/** A static entry as a claim, with the MAC that spoke or is forwarded by a local port, else the first listed. */
function staticClaim(
  bridge: Bridge,
  entry: StaticEntry,
  seen: Binding | undefined,
  forwarding: Forwarding,
): Claim {
  const vlan = effectiveVlan(bridge, entry.vlan);
  const candidates = seen === undefined ? entry.macs : [seen.mac, ...entry.macs];
  const present = candidates.find((mac) => forwarding.locate(vlan, mac).kind === 'local');
  return {
    bridge: bridge.ifIndex,
    vlan,
    ip: entry.ip,
    mac: present ?? candidates[0] ?? ('00:00:00:00:00:00' as Mac),
    router: seen?.router ?? false,
    source: 'static',
    port: undefined,
    lastSeenMs: seen?.lastSeenMs ?? null,
  };
}

/** Decides a claim and writes down what follows from it. */
function settle(draft: Draft, scene: Scene, claim: Claim, location: Location, frozen: boolean): BindingState {
  const { bridge, index } = scene;
  const domain = bridge.domains.get(claim.vlan);
  const existing = domain && index.neighborOf(domain.device, claim.ip);
  const decision = decide(scene, claim, frozen, domain, existing, location);
  const port = location.kind === 'local' ? location.port : claim.port;
  draft.verdicts.push({
    bridge: bridge.desired.name,
    vlan: claim.vlan,
    device: domain?.deviceName ?? null,
    ip: claim.ip,
    mac: claim.mac,
    port: port?.name ?? null,
    source: claim.source,
    state: decision.state,
    lastSeenMs: claim.lastSeenMs,
    because: decision.because,
    due: decision.action === 'add' || decision.action === 'replace',
  });
  if (domain === undefined) return decision.state;
  if (decision.action === 'none') {
    if (existing !== undefined) draft.reasons.set(existing, decision.because);
    return decision.state;
  }
  const ours = existing !== undefined && isOurs(existing, scene.protocol);
  if (existing === undefined) draft.added += 1;
  else if (decision.action !== 'keep' || ours) draft.kept.add(existing);
  const change = (kind: 'add' | 'replace'): NeighborChange => ({
    kind,
    device: domain.device,
    deviceName: domain.deviceName,
    bridge: bridge.desired.name,
    vlan: claim.vlan,
    ip: claim.ip,
    mac: claim.mac,
    port: port?.name ?? null,
    existing,
    state: bridge.desired.neighborState,
    router: claim.router,
    because: decision.because,
  });
  if (decision.action !== 'keep') draft.changes.push(change(decision.action));
  else if (ours && needsRefresh(existing)) draft.refresh.push(change('replace'));
  return decision.state;
}

function fullPorts(bridge: Bridge, bindings: readonly Binding[]): HostPlan['fullPorts'] {
  const counts = countByPort(bindings);
  const limit = bridge.desired.limits.bindingsPerPort;
  return bridge.ports
    .filter(({ ifIndex }) => limit > 0 && (counts.get(ifIndex) ?? 0) >= limit)
    .map(({ name }) => ({ port: name, limit }));
}

function needsRefresh(entry: Neighbor): boolean {
  return isExposed(entry) && entry.confirmedMs > REFRESH_AFTER_MS;
}

/** True for the neighbor of an owner who is not to lose it to what has been claimed. */
function isDefended({ defended }: Scene, claimed: BindingKey, existing: Neighbor | undefined): boolean {
  if (defended.size === 0 || existing?.mac === undefined) return false;
  return existing.mac === defended.get(bindingId(claimed))?.owner;
}

function decide(
  scene: Scene,
  claim: Claim,
  frozen: boolean,
  domain: Domain | undefined,
  existing: Neighbor | undefined,
  location: Location,
): Decision {
  if (frozen) return { state: 'frozen', action: 'none', because: 'its MAC changes too often: a duplicate' };
  if (domain === undefined) {
    return {
      state: 'homeless',
      action: 'none',
      because: `no device for VLAN ${claim.vlan} above the bridge`,
    };
  }
  const isOpen = scene.defended.size > 0 && claim.source === 'learned';
  const defence = isOpen ? scene.defended.get(bindingId(claim)) : undefined;
  if (defence !== undefined && defence.owner !== claim.mac) {
    const action = isDefended(scene, claim, existing) ? 'keep' : 'none';
    return { state: 'waiting', action, because: defence.because };
  }
  if (location.kind === 'tunnel') {
    return { state: 'remote', action: 'none', because: 'its MAC is behind the tunnel now' };
  }
  const here =
    location.kind === 'local' && (claim.port === undefined || claim.port.ifIndex === location.port.ifIndex);
  if (existing === undefined || !isValid(existing)) {
    if (!here) return waiting(location);
    if (existing === undefined) return { state: 'installed', action: 'add', because: 'new' };
    return { state: 'installed', action: 'replace', because: 'the entry was not valid' };
  }
  if (isRemote(existing)) return decideRemote(claim, existing, here, scene.nowMs);
  if (isOurs(existing, scene.protocol)) return decideOurs(scene, claim, existing, here, location);
  if (existing.mac === claim.mac) {
    return { state: 'installed', action: 'keep', because: 'served by an entry of another owner' };
  }
  return { state: 'waiting', action: 'none', because: 'an entry of another owner has another MAC' };
}

function waiting(location: Location): Decision {
  const because =
    location.kind === 'nowhere'
      ? 'the bridge does not forward its MAC now'
      : 'the bridge forwards its MAC to another port';
  return { state: 'waiting', action: 'none', because };
}

/** An entry of ours: kept while it is true, replaced when the host or the wish has changed. */
function decideOurs(
  { bridge, forwarding }: Scene,
  claim: Claim,
  existing: Neighbor,
  here: boolean,
  location: Location,
): Decision {
  if (existing.mac !== claim.mac) {
    if (here) return { state: 'installed', action: 'replace', because: 'the MAC changed' };
    // The claim is not borne out by the bridge: whoever has the address now keeps it while he is here, unless
    // it is provisioned for others.
    const holder = existing.mac === undefined ? 'nowhere' : forwarding.locate(claim.vlan, existing.mac).kind;
    const keeps = holder === 'local' && claim.source === 'learned';
    return { ...waiting(location), action: keeps ? 'keep' : 'none' };
  }
  const wish = whyRewrite(bridge, claim, existing);
  if (wish !== null) return { state: 'installed', action: 'replace', because: wish };
  return { state: 'installed', action: 'keep', because: '' };
}

/** Why an entry of ours with the right MAC is written again; null when it is as it shall be. */
function whyRewrite(bridge: Bridge, claim: Claim, existing: Neighbor): string | null {
  if (claim.router !== isRouter(existing))
    return claim.router ? 'it is a router now' : 'it is no router any more';
  // The kernel moves stale and reachable entries on by itself.
  const wantsFixed = bridge.desired.neighborState === 'noarp';
  const fits = wantsFixed ? existing.state === NUD_NOARP : !isFixed(existing);
  return fits ? null : `neighbor_state is ${bridge.desired.neighborState}`;
}

/**
 * An entry that zebra learned from another node gives way only to a host that is here now: its MAC on the
 * local port, and, where the MAC is another, seen after zebra wrote the entry. Without that second condition
 * two nodes with a live MAC each would take the address from each other at every run.
 */
function decideRemote(claim: Claim, existing: Neighbor, here: boolean, nowMs: number): Decision {
  const seenSince = claim.lastSeenMs !== null && claim.lastSeenMs > nowMs - existing.updatedMs;
  if (here && (existing.mac === claim.mac || seenSince)) {
    return { state: 'installed', action: 'replace', because: 'the host has moved here' };
  }
  return { state: 'remote', action: 'none', because: 'learned from another node by EVPN' };
}

/** Entries of ours that nobody asks for. */
function planRemovals(
  topology: Topology,
  hosts: ObservedHosts,
  options: HostOptions,
  { kept, reasons }: Draft,
): NeighborChange[] {
  const homes = new Map<IfIndex, { bridge: Bridge; domain: Domain }>();
  for (const bridge of topology.bridges) {
    for (const domain of bridge.domains.values()) homes.set(domain.device, { bridge, domain });
  }
  const index = indexOf(hosts);
  const changes: NeighborChange[] = [];
  for (const neighbor of hosts.neighbors) {
    if (!isOurs(neighbor, options.protocol) || kept.has(neighbor)) continue;
    // A dump shows an entry again when the table grows meanwhile: decided was of the one in the index.
    if (index.neighborOf(neighbor.ifIndex, neighbor.ip) !== neighbor) continue;
    const home = homes.get(neighbor.ifIndex);
    if (home === undefined && !options.whole) continue;
    const deviceName =
      home?.domain.deviceName ?? hosts.deviceNames.get(neighbor.ifIndex) ?? `#${neighbor.ifIndex}`;
    changes.push({
      kind: 'remove',
      device: neighbor.ifIndex,
      deviceName,
      bridge: home?.bridge.desired.name ?? deviceName,
      vlan: home?.domain.vlan ?? 0,
      ip: neighbor.ip,
      mac: neighbor.mac ?? null,
      port: null,
      existing: neighbor,
      state: home?.bridge.desired.neighborState ?? 'noarp',
      router: isRouter(neighbor),
      because: reasons.get(neighbor) ?? (home === undefined ? 'not configured' : 'no binding'),
    });
  }
  return changes;
}

/**
 * Bindings for the neighbors that are ours, for a run that finds nothing pinned: the neighbor table is what is
 * left of them, and a host whose MAC a local port forwards is still here. They count as seen now.
 */
export function adoptBindings(topology: Topology, hosts: ObservedHosts, protocol: number): Binding[] {
  const index = indexOf(hosts);
  return topology.bridges.flatMap((bridge) => {
    const forwarding = index.forwardingOf(bridge);
    const vlans = new Map([...bridge.domains.values()].map((domain) => [domain.device, domain.vlan]));
    return hosts.neighbors.flatMap((neighbor): Binding[] => {
      const vlan = vlans.get(neighbor.ifIndex);
      if (!isOurs(neighbor, protocol) || neighbor.mac === undefined || vlan === undefined) return [];
      const location = forwarding.locate(vlan, neighbor.mac);
      if (location.kind !== 'local') return [];
      return [
        {
          bridge: bridge.ifIndex,
          vlan,
          ip: neighbor.ip,
          mac: neighbor.mac,
          router: isRouter(neighbor),
          port: location.port.ifIndex,
          moves: 0,
          firstSeenMs: hosts.nowMs,
          lastSeenMs: hosts.nowMs,
          windowMs: 0,
          frozenUntilMs: 0,
          owner: null,
        },
      ];
    });
  });
}

/** Ends the freeze of addresses as duplicates: what is observed as if it were over, and the bindings to rewrite. */
export function thaw(
  hosts: ObservedHosts,
  ips: readonly IpAddress[],
): {
  readonly hosts: ObservedHosts;
  readonly rewritten: readonly Binding[];
  readonly warnings: readonly string[];
} {
  const isMeant = ({ ip, frozenUntilMs }: Binding): boolean =>
    frozenUntilMs > hosts.nowMs && ips.includes(ip);
  const thawed = (binding: Binding): Binding => ({
    ...binding,
    moves: 0,
    windowMs: 0,
    frozenUntilMs: 0,
    owner: null,
  });
  const rewritten = hosts.bindings.filter(isMeant).map(thawed);
  const warnings = ips
    .filter((ip) => !rewritten.some((binding) => binding.ip === ip))
    .map((ip) => `--unfreeze ${ip}: it is not frozen on any bridge`);
  const bindings = hosts.bindings.map((binding) => (isMeant(binding) ? thawed(binding) : binding));
  return { hosts: { ...hosts, bindings }, rewritten, warnings };
}

/** Identity of an address in one bridge. */
function addressId(vlan: number, ip: IpAddress): string {
  return `${vlan} ${ip}`;
}

// Who deserves a neighbor: bindings + static entries + FDB + neighbor table -> verdicts and changes. Pure.

import { contains, familyOf, type IfIndex, type IpAddress, isLinkLocal, type Mac } from '../base/address.ts';
import { groupBy } from '../base/group.ts';
import { type Binding, type BindingKey, bindingId, type ProbeState } from '../datapath/records.ts';
import type { FdbEntry } from '../netlink/fdb.ts';
import {
  type Neighbor,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NTF_ROUTER,
  NUD_DELAY,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
} from '../netlink/neighbor.ts';
import type { NeighborState, StaticEntry } from './desired.ts';
import { countByPort } from './ledger.ts';
import type { ObservedHosts } from './observed.ts';
import { allowedPrefixes } from './plan.ts';
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
  readonly forget: readonly BindingKey[];
  /** Why each of those of a configured bridge has ended. */
  readonly endings: ReadonlyMap<BindingKey, string>;
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

/** Any state in which the kernel uses the entry's MAC (NUD_VALID of the kernel, net/neighbour.h). */
export const NUD_VALID = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

/**
 * A NOARP entry without NTF_EXT_EXT_VALIDATED is sent again when it was confirmed so long ago: well before
 * gc_stale_time (60 s) is over, see neigh_periodic_work in net/core/neighbour.c.
 */
const REFRESH_AFTER_MS = 20_000;

/** Where a bridge forwards a MAC, now. */
export type Location =
  | { readonly kind: 'local'; readonly port: Port }
  | { readonly kind: 'tunnel' }
  /** A local port that is not learned from. */
  | { readonly kind: 'other' }
  | { readonly kind: 'nowhere' };

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
  const neighbors = new Map<string, Neighbor>();
  for (const neighbor of hosts.neighbors) neighbors.set(entryId(neighbor.ifIndex, neighbor.ip), neighbor);
  const bindings = groupBy(hosts.bindings, (binding) => binding.bridge);
  const fdb = groupBy(hosts.fdb, (entry) => entry.bridge);
  const drafts = topology.bridges.map((bridge) =>
    planBridge(
      {
        bridge,
        forwarding: new Forwarding(bridge, fdb.get(bridge.ifIndex) ?? []),
        neighbors,
        probes: hosts.probes,
        nowMs: hosts.nowMs,
        protocol: options.protocol,
        defended: options.defended ?? new Map(),
      },
      bindings.get(bridge.ifIndex) ?? [],
    ),
  );
  const kept = new Set(drafts.flatMap((draft) => draft.kept));
  const reasons = new Map(drafts.flatMap((draft) => [...draft.reasons]));
  const removals = planRemovals(topology, hosts, options, kept, reasons);
  const known = new Set(topology.bridges.map((bridge) => bridge.ifIndex));
  const orphans = options.whole ? hosts.bindings.filter((binding) => !known.has(binding.bridge)) : [];
  return {
    changes: [...removals, ...drafts.flatMap((draft) => draft.changes)],
    refresh: drafts.flatMap((draft) => draft.refresh),
    forget: [...orphans, ...drafts.flatMap((draft) => [...draft.endings.keys()])],
    endings: new Map(drafts.flatMap((draft) => [...draft.endings])),
    verdicts: drafts.flatMap((draft) => draft.verdicts),
    present: drafts.flatMap((draft) => draft.present),
    lost: drafts.flatMap((draft) => draft.lost),
    fullPorts: topology.bridges.flatMap((bridge) => fullPorts(bridge, bindings.get(bridge.ifIndex) ?? [])),
    total: kept.size,
  };
}

/** What the decisions of one bridge look at. */
interface Scene {
  readonly bridge: Bridge;
  readonly forwarding: Forwarding;
  /** All neighbors, by device and address. */
  readonly neighbors: ReadonlyMap<string, Neighbor>;
  readonly probes: ReadonlyMap<string, ProbeState>;
  readonly nowMs: number;
  readonly protocol: number;
  readonly defended: ReadonlyMap<string, Defence>;
}

interface Draft {
  readonly changes: NeighborChange[];
  readonly refresh: NeighborChange[];
  /** Bindings that have ended, and why. */
  readonly endings: Map<BindingKey, string>;
  readonly verdicts: Verdict[];
  readonly present: Binding[];
  readonly lost: Binding[];
  /** Identities of entries that are ours and stay, or come. */
  readonly kept: string[];
  /** Why an entry is not wanted, by identity. */
  readonly reasons: Map<string, string>;
}

function planBridge(scene: Scene, bindings: readonly Binding[]): Draft {
  const { bridge, forwarding, nowMs } = scene;
  const draft: Draft = {
    changes: [],
    refresh: [],
    endings: new Map(),
    verdicts: [],
    present: [],
    lost: [],
    kept: [],
    reasons: new Map(),
  };
  const statics = new Map(
    bridge.desired.statics.map((entry) => [addressId(effectiveVlan(bridge, entry.vlan), entry.ip), entry]),
  );
  const ports = new Map(bridge.ports.map((port) => [port.ifIndex, port]));
  const seen = new Map<string, Binding>();
  for (const binding of bindings) {
    const id = addressId(binding.vlan, binding.ip);
    const ending = whyEnded(scene, binding, ports, statics.get(id));
    const domain = bridge.domains.get(binding.vlan);
    if (ending !== null) {
      draft.endings.set(binding, ending);
      if (domain !== undefined) {
        const entry = entryId(domain.device, binding.ip);
        draft.reasons.set(entry, ending);
        // Who claims an address and is gone has not won it.
        if (isDefended(scene, binding, scene.neighbors.get(entry))) draft.kept.push(entry);
      }
      continue;
    }
    if (statics.has(id)) {
      seen.set(id, binding);
      continue;
    }
    const claim: Claim = { ...binding, source: 'learned', port: ports.get(binding.port) };
    const state = settle(draft, scene, claim, binding.frozenUntilMs > nowMs);
    const { kind } = forwarding.locate(binding.vlan, binding.mac);
    const isLost = state === 'waiting' && kind === 'nowhere';
    const isDisplaced = state === 'remote' && kind === 'local';
    if (isLost || isDisplaced) draft.lost.push(binding);
    // Also while a foreign entry stands there: when that goes, a claim of long ago must not count.
    else if (state === 'installed' || (kind === 'local' && state !== 'frozen')) draft.present.push(binding);
  }
  for (const [id, entry] of statics) {
    settle(draft, scene, staticClaim(bridge, entry, seen.get(id), forwarding), false);
  }
  return draft;
}

/** Why a binding has ended and is to be forgotten; null when it has not. */
function whyEnded(
  scene: Scene,
  binding: Binding,
  ports: ReadonlyMap<IfIndex, Port>,
  entry: StaticEntry | undefined,
): string | null {
  const { bridge, forwarding, nowMs } = scene;
  const port = ports.get(binding.port);
  // Where the bridge forwards the MAC to another port that is learned from, the host is still here.
  const isHere = forwarding.locate(binding.vlan, binding.mac).kind === 'local';
  if (port === undefined && !isHere) return 'its port is gone or not learned from';
  if (port !== undefined && !takesVlan(bridge, port, binding.vlan)) return 'its port is not in that VLAN';
  if (entry !== undefined && !entry.macs.includes(binding.mac)) return 'provisioned for another MAC';
  const misfit = whyUnfit(bridge, binding);
  if (misfit !== null) return misfit;
  const { maxAgeMs } = bridge.desired;
  if (entry !== undefined || maxAgeMs === null || nowMs - binding.lastSeenMs <= maxAgeMs) return null;
  const location = forwarding.locate(binding.vlan, binding.mac);
  if (location.kind !== 'local' && location.kind !== 'other') return 'not seen for max_age';
  // The host lives on: only its silence when asked for this very address ends the binding.
  return isUnanswered(bridge, binding, scene.probes.get(bindingId(binding)), nowMs)
    ? 'does not answer for it any more'
    : null;
}

/** Why an address is none that may be learned here; null when it may. The program's own check, once more. */
export function whyUnfit(bridge: Bridge, { ip, vlan }: Pick<BindingKey, 'ip' | 'vlan'>): string | null {
  const domain = bridge.domains.get(vlan);
  if (domain?.reserved.has(ip)) return "the node's own address or a broadcast address";
  if (isLinkLocal(ip)) return bridge.desired.linkLocal ? null : 'link-local';
  const allowed = allowedPrefixes(bridge.desired, domain, familyOf(ip));
  return allowed === 'any' || allowed.some((prefix) => contains(prefix, ip)) ? null : 'not in its subnets';
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
function settle(draft: Draft, scene: Scene, claim: Claim, frozen: boolean): BindingState {
  const { bridge, forwarding, neighbors } = scene;
  const domain = bridge.domains.get(claim.vlan);
  const id = domain === undefined ? '' : entryId(domain.device, claim.ip);
  const existing = neighbors.get(id);
  const location = forwarding.locate(claim.vlan, claim.mac);
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
    draft.reasons.set(id, decision.because);
    return decision.state;
  }
  const ours = existing !== undefined && isOurs(existing, scene.protocol);
  if (decision.action !== 'keep' || ours) draft.kept.push(id);
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

/** True for an entry that we wrote; the kernel keeps the protocol number when EVPN takes an entry over. */
export function isOurs({ protocol, flags }: Neighbor, own: number): boolean {
  return protocol === own && (flags & NTF_EXT_LEARNED) === 0;
}

function needsRefresh(existing: Neighbor): boolean {
  return (
    existing.state === NUD_NOARP &&
    (existing.extFlags & NTF_EXT_EXT_VALIDATED) === 0 &&
    existing.confirmedMs > REFRESH_AFTER_MS
  );
}

/** True for the neighbor of an owner who is not to lose it to what has been claimed. */
function isDefended({ defended }: Scene, claimed: BindingKey, existing: Neighbor | undefined): boolean {
  return existing?.mac !== undefined && existing.mac === defended.get(bindingId(claimed))?.owner;
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
  const defence = claim.source === 'learned' ? scene.defended.get(bindingId(claim)) : undefined;
  if (defence !== undefined && defence.owner !== claim.mac) {
    const action = isDefended(scene, claim, existing) ? 'keep' : 'none';
    return { state: 'waiting', action, because: defence.because };
  }
  if (location.kind === 'tunnel') {
    return { state: 'remote', action: 'none', because: 'its MAC is behind the tunnel now' };
  }
  const here =
    location.kind === 'local' && (claim.port === undefined || claim.port.ifIndex === location.port.ifIndex);
  if (existing === undefined || (existing.state & NUD_VALID) === 0) {
    if (!here) return waiting(location);
    if (existing === undefined) return { state: 'installed', action: 'add', because: 'new' };
    return { state: 'installed', action: 'replace', because: 'the entry was not valid' };
  }
  if ((existing.flags & NTF_EXT_LEARNED) !== 0) return decideRemote(claim, existing, here, scene.nowMs);
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
  const isRouter = (existing.flags & NTF_ROUTER) !== 0;
  if (claim.router !== isRouter) return claim.router ? 'it is a router now' : 'it is no router any more';
  // The kernel moves stale and reachable entries on by itself.
  const fixed = (existing.state & (NUD_NOARP | NUD_PERMANENT)) !== 0;
  const wantsFixed = bridge.desired.neighborState === 'noarp';
  const fits = wantsFixed ? existing.state === NUD_NOARP : !fixed;
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
  kept: ReadonlySet<string>,
  reasons: ReadonlyMap<string, string>,
): NeighborChange[] {
  const homes = new Map<IfIndex, { bridge: Bridge; domain: Domain }>();
  for (const bridge of topology.bridges) {
    for (const domain of bridge.domains.values()) homes.set(domain.device, { bridge, domain });
  }
  const changes: NeighborChange[] = [];
  for (const neighbor of hosts.neighbors) {
    const id = entryId(neighbor.ifIndex, neighbor.ip);
    const home = homes.get(neighbor.ifIndex);
    if (!isOurs(neighbor, options.protocol) || kept.has(id)) continue;
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
      router: (neighbor.flags & NTF_ROUTER) !== 0,
      because: reasons.get(id) ?? (home === undefined ? 'not configured' : 'no binding'),
    });
  }
  return changes;
}

/**
 * Bindings for the neighbors that are ours, for a run that finds nothing pinned: the neighbor table is what is
 * left of them, and a host whose MAC a local port forwards is still here. They count as seen now.
 */
export function adoptBindings(topology: Topology, hosts: ObservedHosts, protocol: number): Binding[] {
  const fdb = groupBy(hosts.fdb, (entry) => entry.bridge);
  return topology.bridges.flatMap((bridge) => {
    const forwarding = new Forwarding(bridge, fdb.get(bridge.ifIndex) ?? []);
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
          router: (neighbor.flags & NTF_ROUTER) !== 0,
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

/** Where one bridge forwards each MAC. */
export class Forwarding {
  readonly #bridge: Bridge;
  readonly #portOf = new Map<string, IfIndex>();
  readonly #ports: ReadonlyMap<IfIndex, Port>;

  constructor(bridge: Bridge, entries: readonly FdbEntry[]) {
    this.#bridge = bridge;
    this.#ports = new Map(bridge.ports.map((port) => [port.ifIndex, port]));
    for (const entry of entries) {
      // An address of a port itself is the node's, not a host's.
      if (!entry.isLocal) this.#portOf.set(addressId(entry.vlan, entry.mac), entry.ifIndex);
    }
  }

  /** A bridge without VLAN filtering forwards by MAC alone, whatever tag the frame has. */
  locate(vlan: number, mac: Mac): Location {
    const ifIndex = this.#portOf.get(addressId(this.#bridge.vlanAware ? vlan : 0, mac));
    if (ifIndex === undefined) return { kind: 'nowhere' };
    if (this.#bridge.tunnelPorts.has(ifIndex)) return { kind: 'tunnel' };
    const port = this.#ports.get(ifIndex);
    return port === undefined ? { kind: 'other' } : { kind: 'local', port };
  }
}

/** Identity of an entry of the neighbor table. */
export function entryId(device: IfIndex, ip: IpAddress): string {
  return `${device} ${ip}`;
}

function addressId(vlan: number, address: IpAddress | Mac): string {
  return `${vlan} ${address}`;
}

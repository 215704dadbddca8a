// What a listening run remembers of each address: by which events it is concerned, and when it is due. Pure.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { ensure } from '../base/group.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import { type Hint, type HintKey, hintId } from '../datapath/records/hint.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';
import type { FdbEntry } from '../netlink/fdb.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { Focus } from './focus.ts';
import type { HostIndex } from './host-index.ts';
import { eachMac } from './known-macs.ts';
import { isRemote, isValid, REFRESH_AFTER_MS } from './neighbor-entry.ts';
import type { HostPlan } from './neighbors/plan.ts';
import type { ObservedHosts } from './observed.ts';
import type { HintsByStatus } from './probes/hints.ts';
import type { MemoryChange } from './probes/memory.ts';
import { ANSWER_MS } from './probes/probe.ts';
import { bindingDueMs, refreshDueMs } from './timers.ts';
import { type Bridge, type Place, placesByDevice, type Topology } from './topology.ts';
import { type Written, writtenEarlier } from './zebra.ts';

/** What a pass has found and done. */
export interface PassOutcome {
  readonly topology: Topology;
  readonly hosts: ObservedHosts;
  readonly index: HostIndex;
  readonly plan: Pick<HostPlan, 'decisions' | 'changes'>;
  readonly byStatus: Pick<HintsByStatus, 'learned' | 'obsolete' | 'waiting'>;
  readonly memory: MemoryChange;
  /** The addresses whose neighbors could not be written. */
  readonly failed: readonly BindingKey[];
  /** The silent hosts that were probed. An answer that changes nothing makes no record: their bindings show it. */
  readonly probed: readonly BindingKey[];
  /** The hosts whose probes were due and that are looked at again soon: an answer would give them a neighbor, or they were left. */
  readonly wereDue: readonly BindingKey[];
  /** NDA_PROTOCOL of our own entries. */
  readonly protocol: number;
}

/** One address. */
interface Watched {
  readonly key: BindingKey;
  /** True when it has a binding or a static entry: every change of its neighbor matters. */
  isHost: boolean;
  /** The MACs by whose forwarding is decided. */
  readonly macs: Mac[];
  /** Where its bindings are. */
  readonly ports: IfIndex[];
  /** The hints of the memory. The MACs of hints matter on a local port alone. */
  readonly hints: HintKey[];
  readonly seenHints: SeenHint[];
  /** When it is to be looked at: CLOCK_MONOTONIC in milliseconds, as these times; Infinity: never. */
  dueMs: number;
  /** When its silence matters, unless its binding is seen before that. */
  silentMs: number;
  /** Its binding, when a pass looked at it. */
  binding: Binding | undefined;
  readonly lookedMs: number;
}

/** Times that are far away are put off to a multiple of this one, so that one pass serves many of them. */
const GRAIN_MS = 10_000;
const FAR_MS = 60_000;

/** The shortest time between two passes that only the clock causes. */
const LEAST_MS = 1000;

/** When a neighbor that could not be written is tried again. */
const FAILED_AGAIN_MS = 10_000;

export class Watchlist {
  #bridges: ReadonlyMap<IfIndex, Bridge> = new Map();
  #places: ReadonlyMap<IfIndex, Place> = new Map();
  #tunnels: ReadonlySet<IfIndex> = new Set();
  readonly #addresses = new Map<string, Watched>();
  /** By MAC: the ids of addresses. */
  readonly #named = new Map<Mac, Set<string>>();
  /** The neighbors that a pass has left as they were, by device. */
  readonly #entries = new Map<IfIndex, Map<IpAddress, Neighbor>>();
  /** By bindingId: the addresses whose neighbors a pass has changed, until the next one looks at them. */
  readonly #unread = new Map<string, BindingKey>();
  /** By bindingId. */
  readonly #written = new Map<string, Written>();
  #hintCount = 0;
  /** No address is due before this time. */
  #dueMs = Number.POSITIVE_INFINITY;

  /** Of a pass over all hosts. */
  constructor(outcome: PassOutcome) {
    this.renew(outcome.topology);
    this.#add(outcome);
  }

  /** Takes over how the bridges are now: the same ones, with the same neighbor devices. */
  renew(topology: Pick<Topology, 'bridges'>): void {
    const { bridges } = topology;
    this.#bridges = new Map(bridges.map((bridge) => [bridge.ifIndex, bridge]));
    this.#places = placesByDevice(topology);
    this.#tunnels = new Set(bridges.flatMap(({ tunnelPorts }) => [...tunnelPorts]));
  }

  /** Takes over what a pass over some addresses has found of them. */
  update({ addresses }: Focus, outcome: PassOutcome): void {
    for (const [id, key] of addresses) this.#forget(id, key);
    this.#add(outcome);
  }

  /** The number of hints in the memory that are about other addresses than these. */
  hintsBeside({ hints }: Focus): number {
    return this.#hintCount - hints.length;
  }

  /** The address of a neighbor; undefined when its device is none of ours. */
  addressOf({ ifIndex, ip }: Pick<Neighbor, 'ifIndex' | 'ip'>): BindingKey | undefined {
    const place = this.#places.get(ifIndex);
    return place && { bridge: place.bridge.ifIndex, vlan: place.domain.vlan, ip };
  }

  /** The neighbor that the last pass found and left as it was; undefined when there is none. */
  entryOf({ ifIndex, ip }: Pick<Neighbor, 'ifIndex' | 'ip'>): Neighbor | undefined {
    return this.#entries.get(ifIndex)?.get(ip);
  }

  /** The addresses whose neighbors passes have changed and not looked at since. */
  unread(): BindingKey[] {
    return [...this.#unread.values()];
  }

  /** What earlier passes have written for other addresses than these, as the last pass over each found it. */
  writtenBeside({ addresses }: Focus): Written[] {
    return [...this.#written].flatMap(([id, written]) => (addresses.has(id) ? [] : [written]));
  }

  /** True when the address has a binding or a static entry. */
  isHost(key: BindingKey): boolean {
    return this.#addresses.get(bindingId(key))?.isHost === true;
  }

  /** True when the memory has hints about the address. */
  isRemembered(key: BindingKey): boolean {
    return (this.#addresses.get(bindingId(key))?.hints.length ?? 0) > 0;
  }

  /** The addresses that a change of the FDB concerns. */
  concernedBy({ bridge, mac, ifIndex }: Pick<FdbEntry, 'bridge' | 'mac' | 'ifIndex'>): BindingKey[] {
    // A port that is not known yet is local.
    const isLocal = !this.#tunnels.has(ifIndex);
    return [...(this.#named.get(mac) ?? [])].flatMap((id) => {
      const watched = this.#addresses.get(id);
      if (watched === undefined || watched.key.bridge !== bridge) return [];
      return isLocal || watched.macs.includes(mac) ? [watched.key] : [];
    });
  }

  /** The addresses with bindings on these ports. */
  hostsOn(ports: readonly IfIndex[]): BindingKey[] {
    if (ports.length === 0) return [];
    const wanted = new Set(ports);
    const watched = [...this.#addresses.values()].filter((one) => one.ports.some((port) => wanted.has(port)));
    return watched.map(({ key }) => key);
  }

  /** All addresses of these bridges that it knows, also those of hosts of other nodes. */
  addressesIn(bridges: readonly IfIndex[]): BindingKey[] {
    if (bridges.length === 0) return [];
    const wanted = new Set(bridges);
    const known = new Map<string, BindingKey>();
    for (const [id, { key }] of this.#addresses) if (wanted.has(key.bridge)) known.set(id, key);
    for (const [device, entries] of this.#entries) {
      const place = this.#places.get(device);
      if (place === undefined || !wanted.has(place.bridge.ifIndex)) continue;
      for (const ip of entries.keys()) {
        const key = { bridge: place.bridge.ifIndex, vlan: place.domain.vlan, ip };
        known.set(bindingId(key), key);
      }
    }
    return [...known.values()];
  }

  /** When an address may be due: CLOCK_MONOTONIC in milliseconds. `since`: the last pass that only the clock caused. */
  nextDueMs(since: number): number {
    return Math.max(this.#dueMs, since + LEAST_MS);
  }

  /** The addresses that are due. */
  due(nowMs: number): BindingKey[] {
    if (this.#dueMs > nowMs) return [];
    const due: BindingKey[] = [];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const watched of this.#addresses.values()) {
      const atMs = dueOf(watched);
      if (atMs <= nowMs) due.push(watched.key);
      else if (atMs < nextMs) nextMs = atMs;
    }
    // The pass that looks at those that are due says when they are due again.
    this.#dueMs = nextMs;
    return due;
  }

  /**
   * True when an address that is due need not be looked at: it has its neighbor, only its silence was due, and its binding, which
   * is this one now, has been seen since and is otherwise as it was. It is due later then, unless it has been silent for long
   * enough since.
   */
  isPutOffBy(binding: Binding, nowMs: number): boolean {
    const watched = this.#addresses.get(bindingId(binding));
    const bridge = this.#bridges.get(binding.bridge);
    const before = watched?.binding;
    if (watched === undefined || bridge === undefined || before === undefined) return false;
    const device = this.#deviceOf(binding);
    const hasNeighbor = device !== undefined && this.#entries.get(device)?.has(binding.ip) === true;
    if (!hasNeighbor || watched.dueMs <= nowMs) return false;
    if (binding.lastSeenMs <= watched.lookedMs || !isSeenAgain(before, binding)) return false;
    // It has not been probed since it was seen: only passes that look at it send probes.
    const silentMs = bindingDueMs(bridge, binding, undefined, binding.lastSeenMs);
    if (silentMs <= nowMs) return false;
    watched.silentMs = coarse(silentMs, nowMs);
    this.#dueMs = Math.min(this.#dueMs, watched.silentMs);
    return true;
  }

  /**
   * The ports whose hints a pass looks at for these addresses and records. All hints of such a port: the program limits the
   * records of hints, so that one stands for others too.
   */
  hintPorts(names: Iterable<BindingKey>, records: readonly Change[]): ReadonlySet<IfIndex> {
    const known = [...names, ...records].flatMap(
      (key) => this.#addresses.get(bindingId(key))?.seenHints ?? [],
    );
    return new Set([...known, ...records.filter(({ kind }) => kind === 'hint')].map(({ port }) => port));
  }

  /** What a pass looks up for these addresses, for those that records of the ring name, and for those of hints. */
  focusOn(
    names: Iterable<BindingKey>,
    records: readonly Change[],
    seenHints: readonly SeenHint[] = [],
  ): Focus {
    const addresses = new Map<string, BindingKey>();
    for (const { bridge, vlan, ip } of [...names, ...records, ...seenHints]) {
      addresses.set(bindingId({ bridge, vlan, ip }), { bridge, vlan, ip });
    }
    const watched = [...addresses.keys()].flatMap((id) => this.#addresses.get(id) ?? []);
    return { addresses, hints: watched.flatMap(({ hints }) => hints), seenHints };
  }

  #deviceOf({ bridge, vlan }: BindingKey): IfIndex | undefined {
    return this.#bridges.get(bridge)?.domains.get(vlan)?.device;
  }

  #forget(id: string, key: BindingKey): void {
    this.#unread.delete(id);
    this.#written.delete(id);
    const device = this.#deviceOf(key);
    if (device !== undefined) this.#entries.get(device)?.delete(key.ip);
    const watched = this.#addresses.get(id);
    if (watched === undefined) return;
    this.#addresses.delete(id);
    this.#hintCount -= watched.hints.length;
    for (const mac of macsOf(watched)) {
      const ids = this.#named.get(mac);
      ids?.delete(id);
      if (ids?.size === 0) this.#named.delete(mac);
    }
  }

  #add(outcome: PassOutcome): void {
    const { topology, hosts, index, plan, byStatus, memory, failed, probed, wereDue, protocol } = outcome;
    const hints = hintsAfter(outcome);
    const done = new Set<Hint>([...byStatus.learned, ...byStatus.obsolete]);
    const seenHints = hosts.seenHints.filter((hint) => !done.has(hint));
    const found = new Map<string, Watched>();
    const watch = (key: BindingKey): Watched =>
      ensure(found, bindingId(key), () => ({
        key: { bridge: key.bridge, vlan: key.vlan, ip: key.ip },
        isHost: false,
        macs: [],
        ports: [],
        hints: [],
        seenHints: [],
        dueMs: Number.POSITIVE_INFINITY,
        silentMs: Number.POSITIVE_INFINITY,
        binding: undefined,
        lookedMs: hosts.nowMs,
      }));
    const dueAt = (key: BindingKey, dueMs: number): void => {
      const watched = watch(key);
      watched.dueMs = Math.min(watched.dueMs, dueMs);
    };
    const silentAt = (key: BindingKey, silentMs: number): void => {
      const watched = watch(key);
      watched.silentMs = Math.min(watched.silentMs, coarse(silentMs, hosts.nowMs));
    };
    eachMac(topology, { ...hosts, hints: [], seenHints: [] }, (bridge, vlan, ip, mac, source) => {
      const key = { bridge: bridge.ifIndex, vlan, ip };
      const watched = source === 'neighbor' ? found.get(bindingId(key)) : watch(key);
      if (watched === undefined || watched.macs.includes(mac)) return;
      watched.macs.push(mac);
    });
    for (const watched of found.values()) watched.isHost = true;
    for (const binding of hosts.bindings) {
      const watched = found.get(bindingId(binding));
      if (watched === undefined) continue;
      watched.ports.push(binding.port);
      watched.binding = binding;
    }
    for (const hint of hints) watch(hint).hints.push(hint);
    for (const hint of seenHints) watch(hint).seenHints.push(hint);

    const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
    const unwritten = new Set(failed.map(bindingId));
    for (const { candidate, due } of plan.decisions) {
      const { entry, binding, location } = candidate;
      const bridge = bridges.get(candidate.bridge);
      dueAt(candidate, refreshDueMs(entry, protocol, hosts.nowMs));
      if (binding === undefined || bridge === undefined) continue;
      const probes = index.probesOf(binding);
      const dueSince = (sinceMs: number): number =>
        bindingDueMs(bridge, binding, probes, sinceMs, location.kind === 'nowhere');
      silentAt(candidate, dueSince(hosts.nowMs));
      // Only hosts with a neighbor are probed: one that gets it now may have been silent for long enough before.
      if (!due || unwritten.has(bindingId(candidate))) continue;
      if (dueSince(binding.lastSeenMs) <= hosts.nowMs) silentAt(candidate, hosts.nowMs + ANSWER_MS);
    }
    for (const { hint, dueMs } of byStatus.waiting) dueAt(hint, dueMs);
    // Another node has the address of a host that has gone: at the next look that is announced to the hosts here.
    for (const hint of memory.remember) {
      const device = hint.kind === 'ended' ? this.#deviceOf(hint) : undefined;
      const entry = device === undefined ? undefined : index.neighborOf(device, hint.ip);
      if (entry !== undefined && isRemote(entry) && isValid(entry)) dueAt(hint, hosts.nowMs + LEAST_MS);
    }
    for (const key of probed) silentAt(key, hosts.nowMs + ANSWER_MS);
    for (const key of wereDue) dueAt(key, hosts.nowMs + ANSWER_MS);
    for (const key of failed) dueAt(key, hosts.nowMs + FAILED_AGAIN_MS);
    // Whether the kernel exposes what was written is seen when it is looked at again.
    for (const { bridge, vlan, ip } of plan.changes.filter(({ kind }) => kind !== 'remove')) {
      const key = { bridge, vlan, ip };
      dueAt(key, hosts.nowMs + REFRESH_AFTER_MS);
      this.#unread.set(bindingId(key), key);
    }

    for (const [id, watched] of found) {
      this.#addresses.set(id, watched);
      this.#hintCount += watched.hints.length;
      this.#dueMs = Math.min(this.#dueMs, dueOf(watched));
      for (const mac of macsOf(watched)) ensure(this.#named, mac, () => new Set<string>()).add(id);
    }
    for (const written of writtenEarlier(plan.decisions, protocol)) {
      const key = this.addressOf(written.entry);
      if (key !== undefined) this.#written.set(bindingId(key), written);
    }
    const changed = new Set(plan.changes.map(({ device, ip }) => `${device} ${ip}`));
    for (const entry of hosts.neighbors) {
      if (!this.#places.has(entry.ifIndex)) continue;
      if (changed.size > 0 && changed.has(`${entry.ifIndex} ${entry.ip}`)) continue;
      ensure(this.#entries, entry.ifIndex, () => new Map<IpAddress, Neighbor>()).set(entry.ip, entry);
    }
  }
}

function dueOf({ dueMs, silentMs }: Pick<Watched, 'dueMs' | 'silentMs'>): number {
  return Math.min(dueMs, silentMs);
}

/** A time that is far away, put off a little. */
function coarse(atMs: number, nowMs: number): number {
  return atMs - nowMs < FAR_MS ? atMs : Math.ceil(atMs / GRAIN_MS) * GRAIN_MS;
}

/** True when nothing but the time when it was last seen is another, and neither of them is frozen. */
function isSeenAgain(before: Binding, now: Binding): boolean {
  return (
    now.mac === before.mac &&
    now.port === before.port &&
    now.router === before.router &&
    now.moves === before.moves &&
    now.owner?.mac === before.owner?.mac &&
    now.frozenUntilMs === 0 &&
    before.frozenUntilMs === 0
  );
}

function macsOf({ macs, hints, seenHints }: Watched): readonly Mac[] {
  return hints.length + seenHints.length === 0
    ? macs
    : [...macs, ...[...hints, ...seenHints].map(({ mac }) => mac)];
}

/** The memory of hints after a pass, as far as the pass has looked at it. */
function hintsAfter({ hosts, memory: { remember, forget } }: PassOutcome): readonly Hint[] {
  if (remember.length + forget.length === 0) return hosts.hints;
  const hints = new Map(hosts.hints.map((hint) => [hintId(hint), hint]));
  for (const hint of forget) hints.delete(hintId(hint));
  for (const hint of remember) hints.set(hintId(hint), hint);
  return [...hints.values()];
}

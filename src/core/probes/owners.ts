// Conflicts: addresses that one MAC has and another claims. The owner is checked first (RFC 9161, section 3.7b). Pure.

import type { IfIndex, Mac } from '../../base/address.ts';
import type { Binding } from '../../datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../../datapath/records/binding-key.ts';
import type { ProbeState } from '../../datapath/records/probe.ts';
import { type Forwarding, HostIndex } from '../host-index.ts';
import { isFixed, isKernels, isOurs, isValid } from '../neighbor-entry.ts';
import { addressId, type KeptByOwner, staticEntries } from '../neighbors/candidate.ts';
import type { ObservedHosts } from '../observed.ts';
import { type Bridge, type Topology, takesVlan } from '../topology.ts';
import type { Warning } from '../warning.ts';
import { lifeMsOf } from './hints.ts';
import { type Probe, probeOut, probeSource } from './probe.ts';

/** An address that one MAC has and another claims. */
export interface Conflict extends BindingKey {
  readonly bridgeName: string;
  readonly owner: Mac;
  readonly claimant: Mac;
  /** Null when it is on no local port. */
  readonly claimantPort: string | null;
  /** When the claimant took it: CLOCK_MONOTONIC in milliseconds. */
  readonly sinceMs: number;
  /**
   * True: the owner may answer through another node of its Ethernet segment, so an owner check without an answer says
   * nothing. The owner keeps the address until the claim has stood for `max_age`, or for 20 minutes where that is `never`.
   */
  readonly isOwnerMultihomed: boolean;
  /** The owner check: one probe for each port of the VLAN. */
  readonly probes: readonly Probe[];
}

/**
 * Every learned address that one MAC has and another claims. This compares states and does not use the ring's records
 * of moves, so neither a full ring nor a killed run skips an owner check. Provisioned and frozen addresses, and domains
 * without probes, have no conflicts. The oldest claims come first. `index` is an index of `hosts`, if the caller has
 * one.
 */
export function findConflicts(
  topology: Topology,
  hosts: ObservedHosts,
  protocol: number,
  index: HostIndex = new HostIndex(hosts),
): Conflict[] {
  const conflicts = topology.bridges.flatMap((bridge) => {
    const view: View = {
      bridge,
      index,
      protocol,
      nowMs: hosts.nowMs,
      forwarding: index.forwardingOf(bridge),
    };
    const statics = staticEntries(bridge);
    const found: Conflict[] = [];
    for (const binding of index.bindingsOf(bridge.ifIndex)) {
      const claimed = claimedOf(view, binding);
      if (claimed === null) continue;
      if (binding.frozenUntilMs > hosts.nowMs || statics.has(addressId(binding.vlan, binding.ip))) continue;
      const conflict = conflictOf(view, binding, claimed);
      if (conflict !== null) found.push(conflict);
    }
    return found;
  });
  return conflicts.sort((a, b) => a.sinceMs - b.sinceMs);
}

/** One bridge, as the search for conflicts sees it. */
interface View {
  readonly bridge: Bridge;
  readonly index: HostIndex;
  readonly forwarding: Forwarding;
  /** NDA_PROTOCOL of our own entries. */
  readonly protocol: number;
  readonly nowMs: number;
}

type Claimed = Pick<Conflict, 'owner' | 'claimant' | 'sinceMs'>;

/** The MAC that has an address and the one that claims it; null when no other MAC claims it. */
function claimedOf({ bridge, index, forwarding, protocol, nowMs }: View, binding: Binding): Claimed | null {
  const domain = bridge.domains.get(binding.vlan);
  if (domain === undefined) return null;
  const entry = index.neighborOf(domain.device, binding.ip);
  if (entry?.mac !== undefined && isValid(entry)) {
    const isOwn = isOurs(entry, protocol);
    // Only snoopy writes such an entry, so its MAC is that of the owner.
    if (isOwn && isFixed(entry)) return claimBy(binding, entry.mac);
    // A claim never replaces an entry of another owner.
    if (!isOwn && !isKernels(entry)) return null;
    // The kernel writes the last claim into it (neigh_update), so the binding has the owner.
    const state = index.probesOf(binding);
    const before = ownerBefore(binding, state);
    if (before !== null) return claimBy(binding, before);
    const isSettled = state?.decided?.mac === entry.mac && state.decided.atMs >= binding.lastSeenMs;
    if (entry.mac === binding.mac || isSettled) return null;
    return { owner: binding.mac, claimant: entry.mac, sinceMs: nowMs - entry.updatedMs };
  }
  // Two MACs claimed it before either had a neighbor: the first is the owner, while moves are counted.
  const before = ownerBefore(binding, index.probesOf(binding));
  const isRecent = nowMs - binding.windowMs <= bridge.desired.duplicates.windowMs;
  const isDue = before !== null && isRecent && forwarding.locate(binding.vlan, binding.mac).kind === 'local';
  return isDue ? claimBy(binding, before) : null;
}

function claimBy({ mac, firstSeenMs }: Binding, owner: Mac): Claimed | null {
  return owner === mac ? null : { owner, claimant: mac, sinceMs: firstSeenMs };
}

/** The owner when the moves of the binding began; null when none is known, or it has lost an owner check since. */
function ownerBefore({ owner, mac, firstSeenMs }: Binding, state: ProbeState | undefined): Mac | null {
  const decided = state?.decided ?? null;
  const hasLost = decided !== null && decided.mac === mac && decided.atMs >= firstSeenMs;
  return owner === null || owner.mac === mac || hasLost ? null : owner.mac;
}

/**
 * Null when the owner cannot be probed. The probe goes to the owner's MAC, but out of every port: another host may have
 * sent a frame with that MAC, so neither the FDB nor the port of the last message is proof of where the owner is.
 */
function conflictOf(
  { bridge, forwarding, nowMs }: View,
  binding: Binding,
  claimed: Claimed,
): Conflict | null {
  const { ip, vlan } = binding;
  const { owner, claimant } = claimed;
  const source = probeSource(bridge, vlan, ip);
  if (source === null) return null;
  const place = forwarding.locate(vlan, claimant);
  const isRecent = nowMs - claimed.sinceMs <= lifeMsOf(bridge);
  return {
    ...claimed,
    bridge: bridge.ifIndex,
    vlan,
    ip,
    bridgeName: bridge.desired.name,
    isOwnerMultihomed: isRecent && forwarding.isMultihomed(vlan, owner),
    claimantPort:
      claimant === binding.mac
        ? nameOf(bridge, binding.port)
        : place.kind === 'local'
          ? place.port.name
          : null,
    probes: bridge.ports
      .filter((port) => takesVlan(bridge, port, vlan))
      .map((port) => probeOut(bridge, port, vlan, source, { mac: owner, ip })),
  };
}

function nameOf(bridge: Bridge, port: IfIndex): string | null {
  return bridge.portsByIndex.get(port)?.name ?? null;
}

/** Identifies a conflict by address and owner: the claimant may change at any time and does not matter. */
function conflictId(conflict: Conflict): string {
  return `${bindingId(conflict)} ${conflict.owner}`;
}

/** The conflicts of `after` that are not among those of `before`. */
export function newConflicts(before: readonly Conflict[], after: readonly Conflict[]): Conflict[] {
  const known = new Set(before.map(conflictId));
  return after.filter((conflict) => !known.has(conflictId(conflict)));
}

/**
 * The bindings whose claimants have won owner checks, with these as the owners: the next claim is checked with them, and a
 * freeze gives the address back to them.
 */
export function bindingsOfNewOwners(lost: readonly Conflict[], index: HostIndex): Binding[] {
  return lost.flatMap((conflict) => {
    const binding = index.bindingOf(conflict);
    if (binding === undefined || binding.mac !== conflict.claimant) return [];
    return [{ ...binding, owner: { mac: binding.mac, port: binding.port } }];
  });
}

/**
 * The `probed` conflicts whose owner certainly did not answer, even if records were lost. An answer moves the binding
 * back, and the next claim has a new time. So a claim that is unchanged in `after` was not answered.
 */
export function certainlyUnanswered(probed: readonly Conflict[], after: readonly Conflict[]): Conflict[] {
  const unmoved = new Set(after.map(claimId));
  return probed.filter((conflict) => unmoved.has(claimId(conflict)));
}

function claimId(conflict: Conflict): string {
  return `${conflictId(conflict)} ${conflict.claimant} ${conflict.sinceMs}`;
}

/**
 * The addresses that their owners keep, by bindingId. An address goes to another MAC only if its owner was `probed` in
 * this run, no answer was lost, and none came, where the owner can answer to this node alone. So a claimant gains nothing by
 * claiming again at once or during the owner checks.
 */
export function keepForOwners(
  conflicts: readonly Conflict[],
  probed: readonly Conflict[],
  answered: readonly Conflict[],
): Map<string, KeptByOwner> {
  const isProbed = new Set(probed.map(conflictId));
  const isAnswered = new Set(answered.map(conflictId));
  const kept = new Map<string, KeptByOwner>();
  for (const conflict of conflicts) {
    const { owner } = conflict;
    const id = conflictId(conflict);
    const keep = (standing: KeptByOwner['standing'], because: string): void => {
      kept.set(bindingId(conflict), { owner, standing, because: `its owner ${owner} ${because}` });
    };
    if (isAnswered.has(id)) keep('answers', 'still answers');
    else if (!isProbed.has(id)) keep('unprobed', 'is not probed yet');
    else if (conflict.isOwnerMultihomed)
      keep('multihomed', 'may answer to another node of its Ethernet segment');
  }
  return kept;
}

/** A warning for conflicts that stay open because their owners could not be probed. */
export function warningsOfUnprobed(kept: ReadonlyMap<string, KeptByOwner>): Warning[] {
  const count = [...kept.values()].filter(({ standing }) => standing === 'unprobed').length;
  return count === 0 ? [] : [{ kind: 'unprobed', count }];
}

/** A warning for a claim on the address of an owner that answered on `port`. */
export function warningOfKept(conflict: Conflict, port: IfIndex): Warning {
  const { ip, vlan, bridgeName: bridge, owner, claimant, claimantPort, probes } = conflict;
  const ownerPort = probes.find((probe) => probe.port.ifIndex === port)?.port.name ?? `#${port}`;
  return { kind: 'kept', ip, bridge, vlan, owner, ownerPort, claimant, claimantPort };
}

// Whom to ask for a sign of life, and when silence means that a host is gone (RFC 9161, section 3.5). Pure.

import {
  AF_INET,
  AF_INET6,
  contains,
  familyOf,
  type IfIndex,
  type IpAddress,
  isLinkLocal,
  type Mac,
} from '../base/address.ts';
import { type Binding, bindingId, type ProbeState } from '../datapath/records.ts';
import type { ObservedHosts } from './observed.ts';
import { type Bridge, type Domain, leavesTagged, type Topology } from './topology.ts';

/** A question to one host: a unicast ARP request or Neighbor Solicitation out of its own port. */
export interface Probe {
  readonly binding: Binding;
  readonly port: IfIndex;
  readonly sourceMac: Mac;
  /** Null: 0.0.0.0, an ARP Probe (RFC 5227, section 2.1.1). */
  readonly sourceIp: IpAddress | null;
  /** The 802.1Q tag of the frame; null: none. */
  readonly tag: number | null;
  /** What is to be remembered once it is sent. */
  readonly state: ProbeState;
}

/** So often a host is asked before its silence counts (MAX_UNICAST_SOLICIT of RFC 4861, section 10). */
const MAX_PROBES = 3;
/** Time that a host has for an answer. */
export const ANSWER_MS = 1000;
/** Most probes of one run, the longest silent first: a burst must not fill a tap's queue. */
const PROBES_PER_RUN = 256;

/**
 * The probes that are due: for hosts in the neighbor table that have been silent for `after`, and at once for
 * those whose neighbor was lost together with the bridge's knowledge of their MAC (bridge down and up), or to a claim
 * at another node: that is section 3.7b, done where the former owner is.
 */
export function planProbes(
  topology: Topology,
  { present, lost }: { readonly present: readonly Binding[]; readonly lost: readonly Binding[] },
  hosts: Pick<ObservedHosts, 'nowMs' | 'probes'>,
): Probe[] {
  const bridges = new Map(
    topology.bridges.map((bridge) => [bridge.ifIndex, { bridge, pace: probePace(bridge) }]),
  );
  const probes: Probe[] = [];
  const consider = (binding: Binding, isLost: boolean): void => {
    const known = bridges.get(binding.bridge);
    if (known === undefined) return;
    const { bridge, pace } = known;
    if (!isLost && hosts.nowMs - binding.lastSeenMs < pace.afterMs) return;
    const before = stateSinceHeard(binding, hosts.probes.get(bindingId(binding)));
    if (before.count > 0 && hosts.nowMs - before.lastMs < pace.intervalMs) return;
    const domain = bridge.domains.get(binding.vlan);
    const source = domain && probeSource(bridge, domain, binding.ip);
    if (source === undefined || source === null) return;
    const port = bridge.ports.find(({ ifIndex }) => ifIndex === binding.port);
    if (port === undefined) return;
    probes.push({
      binding,
      port: port.ifIndex,
      sourceMac: source.mac,
      sourceIp: source.ip,
      tag: leavesTagged(bridge, port, binding.vlan) ? binding.vlan : null,
      state: { lastMs: hosts.nowMs, count: before.count + 1 },
    });
  };
  for (const binding of present) consider(binding, false);
  for (const binding of lost) consider(binding, true);
  probes.sort((a, b) => a.binding.lastSeenMs - b.binding.lastSeenMs);
  return probes.slice(0, PROBES_PER_RUN);
}

/** What was asked since the host was heard last. */
function stateSinceHeard(binding: Binding, state: ProbeState | undefined): ProbeState {
  return state === undefined || state.lastMs <= binding.lastSeenMs ? { lastMs: 0, count: 0 } : state;
}

/** When a silent host may be asked next, and when its silence after the last question counts. */
export function probeTimes(
  bridge: Bridge,
  binding: Binding,
  state: ProbeState | undefined,
): readonly number[] {
  const domain = bridge.domains.get(binding.vlan);
  if (domain === undefined || probeSource(bridge, domain, binding.ip) === null) return [];
  const { afterMs, intervalMs } = probePace(bridge);
  const { lastMs, count } = stateSinceHeard(binding, state);
  if (count === 0) return [binding.lastSeenMs + afterMs];
  return [lastMs + intervalMs, lastMs + ANSWER_MS];
}

/** The first probe after `after`, at most half of `max_age`; MAX_PROBES of them until that is over. */
function probePace(bridge: Bridge): { readonly afterMs: number; readonly intervalMs: number } {
  const { maxAgeMs, probe } = bridge.desired;
  const afterMs = maxAgeMs === null ? probe.afterMs : Math.min(probe.afterMs, maxAgeMs / 2);
  const roomMs = maxAgeMs === null ? afterMs : maxAgeMs - afterMs;
  return { afterMs, intervalMs: Math.max(ANSWER_MS, roomMs / MAX_PROBES) };
}

/** True when a host was asked for this address often enough and has not answered. */
export function isUnanswered(
  bridge: Bridge,
  binding: Binding,
  state: ProbeState | undefined,
  nowMs: number,
): boolean {
  const domain = bridge.domains.get(binding.vlan);
  if (domain === undefined || probeSource(bridge, domain, binding.ip) === null) return false;
  const { count, lastMs } = stateSinceHeard(binding, state);
  return count >= MAX_PROBES && nowMs - lastMs >= ANSWER_MS;
}

/**
 * Whom a probe comes from; null where none is to be sent. Never an address of another device, such as the
 * underlay's, which the kernel's own resolver would take. IPv6 has no probe without an address of one's own:
 * a solicitation from the unspecified address is Duplicate Address Detection, and would make the host give up
 * its address.
 */
export function probeSource(
  bridge: Bridge,
  domain: Domain,
  ip: IpAddress,
): { readonly mac: Mac; readonly ip: IpAddress | null } | null {
  const { learn, probe } = bridge.desired;
  const { enabled, source } = probe;
  const { mac } = domain;
  if (enabled === 'never' || mac === undefined) return null;
  // Who does not learn from answers would take each for silence.
  if (!learn.includes(familyOf(ip) === AF_INET ? 'arp-reply' : 'na')) return null;
  const own = domain.addresses.find(({ connected }) => contains(connected, ip))?.ip;
  if (enabled === 'auto' && own === undefined) return null;
  if (source !== 'auto' && familyOf(source) === familyOf(ip)) return { mac, ip: source };
  if (own !== undefined) return { mac, ip: own };
  if (familyOf(ip) === AF_INET) return { mac, ip: null };
  const linkLocal = domain.addresses.find(
    (address) => familyOf(address.ip) === AF_INET6 && isLinkLocal(address.ip),
  );
  return linkLocal === undefined ? null : { mac, ip: linkLocal.ip };
}

// Which hosts to probe, and when silence means that a host is gone (RFC 9161, section 3.5). Pure.

import {
  AF_INET,
  AF_INET6,
  contains,
  familyOf,
  type IpAddress,
  isLinkLocal,
  type Mac,
} from '../base/address.ts';
import type { Question } from '../datapath/frames.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { ProbeState } from '../datapath/records/probe.ts';
import type { ObservedHosts } from './observed.ts';
import { type Bridge, leavesTagged, type Port, type Topology } from './topology.ts';

/** A question to one MAC for one address, out of one port. */
export interface Probe {
  readonly port: Port;
  readonly question: Question;
}

/** The probe of a silent host, out of the port of its binding. */
export interface HostProbe extends Probe {
  readonly binding: Binding;
  /** What is to be remembered once it is sent. */
  readonly state: ProbeState;
}

/** Probes before the silence of a host counts (MAX_UNICAST_SOLICIT of RFC 4861, section 10). */
const MAX_PROBES = 3;
/** Time that a host has for an answer. */
export const ANSWER_MS = 1000;
/** Most probes of one run, the longest silent first: a burst must not fill a tap's queue. */
const PROBES_PER_RUN = 256;

/**
 * The probes that are due: for hosts in the neighbor table that have been silent for `after`, and at once for those
 * that lost their neighbor because the bridge forgot their MAC (bridge down and up), or because another node claims
 * the address (section 3.7b, at the node of the former owner).
 */
export function planProbes(
  topology: Topology,
  { present, lost }: { readonly present: readonly Binding[]; readonly lost: readonly Binding[] },
  hosts: Pick<ObservedHosts, 'nowMs' | 'probes'>,
): HostProbe[] {
  const bridges = new Map(
    topology.bridges.map((bridge) => [bridge.ifIndex, { bridge, pace: probePace(bridge) }]),
  );
  const probes: HostProbe[] = [];
  const consider = (binding: Binding, isLost: boolean): void => {
    const known = bridges.get(binding.bridge);
    if (known === undefined) return;
    const { bridge, pace } = known;
    if (!isLost && hosts.nowMs - binding.lastSeenMs < pace.afterMs) return;
    const before = stateSinceSeen(binding, hosts.probes.get(bindingId(binding)));
    if (before.count > 0 && hosts.nowMs - before.lastMs < pace.intervalMs) return;
    const { vlan, ip, mac } = binding;
    const source = probeSource(bridge, vlan, ip);
    if (source === null) return;
    const port = bridge.ports.find(({ ifIndex }) => ifIndex === binding.port);
    if (port === undefined) return;
    probes.push({
      ...probeOut(bridge, port, vlan, source, { mac, ip, named: false }),
      binding,
      state: { ...before, lastMs: hosts.nowMs, count: before.count + 1 },
    });
  };
  for (const binding of present) consider(binding, false);
  for (const binding of lost) consider(binding, true);
  probes.sort((a, b) => a.binding.lastSeenMs - b.binding.lastSeenMs);
  return probes.slice(0, PROBES_PER_RUN);
}

/** The probe of `target` out of one port; `named`: the answer must name its MAC. */
export function probeOut(
  bridge: Bridge,
  port: Port,
  vlan: number,
  source: ProbeSource,
  target: { readonly mac: Mac; readonly ip: IpAddress; readonly named: boolean },
): Probe {
  return {
    port,
    question: {
      sourceMac: source.mac,
      sourceIp: source.ip,
      targetMac: target.mac,
      targetIp: target.ip,
      tag: leavesTagged(bridge, port, vlan) ? vlan : null,
      named: target.named,
    },
  };
}

const NOT_PROBED: ProbeState = { lastMs: 0, count: 0, decided: null };

/** The probes since the host was last seen. */
function stateSinceSeen(binding: Binding, state: ProbeState | undefined): ProbeState {
  const { lastMs, count, decided } = state ?? NOT_PROBED;
  return lastMs <= binding.lastSeenMs ? { lastMs: 0, count: 0, decided } : { lastMs, count, decided };
}

/** When a silent host may be probed next, and when its silence after the last probe counts. */
export function probeTimes(
  bridge: Bridge,
  binding: Binding,
  state: ProbeState | undefined,
): readonly number[] {
  if (probeSource(bridge, binding.vlan, binding.ip) === null) return [];
  const { afterMs, intervalMs } = probePace(bridge);
  const { lastMs, count } = stateSinceSeen(binding, state);
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

/** True when a host was probed for this address often enough and has not answered. */
export function isUnanswered(
  bridge: Bridge,
  binding: Binding,
  state: ProbeState | undefined,
  nowMs: number,
): boolean {
  if (probeSource(bridge, binding.vlan, binding.ip) === null) return false;
  const { count, lastMs } = stateSinceSeen(binding, state);
  return count >= MAX_PROBES && nowMs - lastMs >= ANSWER_MS;
}

/** The sender of a probe. Its address is null for 0.0.0.0: an ARP Probe (RFC 5227, section 2.1.1). */
export interface ProbeSource {
  readonly mac: Mac;
  readonly ip: IpAddress | null;
}

/**
 * The sender of a probe for an address; null where none may be sent. Never an address of another device, such as the
 * underlay's, which the kernel's own resolver would take. An IPv6 probe needs an address: a solicitation from the
 * unspecified address is Duplicate Address Detection, and would make the host give up its address.
 */
export function probeSource(bridge: Bridge, vlan: number, ip: IpAddress): ProbeSource | null {
  const domain = bridge.domains.get(vlan);
  if (domain === undefined) return null;
  const { learn, probe } = bridge.desired;
  const { enabled, source } = probe;
  const { mac } = domain;
  if (enabled === 'never' || mac === undefined) return null;
  // A bridge that does not learn from answers would take each for silence.
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

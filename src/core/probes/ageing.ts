// Probes of silent hosts, and when silence means that a host is gone (RFC 9161, section 3.5). Pure.

import type { Binding } from '../../datapath/records/binding.ts';
import { bindingId } from '../../datapath/records/binding-key.ts';
import type { ProbeState } from '../../datapath/records/probe.ts';
import type { ObservedHosts } from '../observed.ts';
import type { Bridge, Port, Topology } from '../topology.ts';
import { ANSWER_MS, type Probe, probeOut, probeSource, shareByPort } from './probe.ts';

/** A binding, and the port where its host is expected. */
export interface PlacedBinding {
  readonly binding: Binding;
  readonly port: Port;
  /** True when the bridge has forgotten its MAC: zebra has withdrawn its routes. */
  readonly isForgotten: boolean;
}

/** The probe of a bound host. */
export interface HostProbe extends Probe {
  readonly binding: Binding;
  /** What is to be remembered once it is sent. */
  readonly state: ProbeState;
}

/** Probes before the silence of a host counts (MAX_UNICAST_SOLICIT of RFC 4861, section 10). */
const MAX_PROBES = 3;
/** Most probes of one run: a burst must not fill a tap's queue. Every port has an equal share, so none delays another. */
const PROBES_PER_RUN = 256;
/** The part that silent hosts and those in doubt each have to themselves when both need more. */
const RESERVED = PROBES_PER_RUN / 2;
/** Time from the first probe of a host that ought to answer now to the second; each later one takes this many times as long. */
const FIRST_PAUSE_MS = 1000;
const PAUSE_GROWS = 8;

/** The time after the `count`-th probe of a host that ought to answer now, until the next one. */
export function backoffMs(count: number, longestMs: number): number {
  return Math.min(longestMs, FIRST_PAUSE_MS * PAUSE_GROWS ** Math.max(0, count - 1));
}

/** The bound hosts of a plan that may be probed. */
export interface Probeable {
  /** Hosts that have a neighbor or are on a local port: probed when they are silent. */
  readonly present: readonly PlacedBinding[];
  /** Hosts that an answer would give their neighbor back: probed at once. */
  readonly doubtful: readonly PlacedBinding[];
}

/**
 * The probes that are due: of hosts that have been silent for `after`, and at once of those in doubt. When there are too
 * many, the hosts of a port that have been silent for the longest time come first, and others are `left` to the next run.
 */
export function planHostProbes(
  topology: Topology,
  { present, doubtful }: Probeable,
  hosts: Pick<ObservedHosts, 'nowMs' | 'probes'>,
): {
  readonly silent: readonly HostProbe[];
  readonly doubtful: readonly HostProbe[];
  readonly left: readonly HostProbe[];
} {
  const bridges = new Map(
    topology.bridges.map((bridge) => [bridge.ifIndex, { bridge, pace: probePace(bridge) }]),
  );
  const probesOf = (placed: readonly PlacedBinding[], isDoubtful: boolean): HostProbe[] => {
    const probes: HostProbe[] = [];
    for (const { binding, port, isForgotten } of placed) {
      const known = bridges.get(binding.bridge);
      if (known === undefined) continue;
      const { bridge, pace } = known;
      const afterMs = isForgotten ? pace.forgottenMs : pace.afterMs;
      if (!isDoubtful && hosts.nowMs - binding.lastSeenMs < afterMs) continue;
      const before = stateSinceSeen(binding, hosts.probes.get(bindingId(binding)));
      const pauseMs = isDoubtful ? backoffMs(before.count, pace.intervalMs) : pace.intervalMs;
      if (before.count > 0 && hosts.nowMs - before.lastMs < pauseMs) continue;
      const { vlan, ip, mac } = binding;
      const source = probeSource(bridge, vlan, ip);
      if (source === null) continue;
      probes.push({
        ...probeOut(bridge, port, vlan, source, { mac, ip }),
        binding,
        state: { ...before, lastMs: hosts.nowMs, count: before.count + 1 },
      });
    }
    return shareByPort(probes, ({ binding }) => binding.lastSeenMs);
  };
  const silent = probesOf(present, false);
  const inDoubt = probesOf(doubtful, true);
  const most = Math.max(RESERVED, PROBES_PER_RUN - silent.length);
  const rest = PROBES_PER_RUN - Math.min(most, inDoubt.length);
  return {
    silent: silent.slice(0, rest),
    doubtful: inDoubt.slice(0, most),
    left: [...silent.slice(rest), ...inDoubt.slice(most)],
  };
}

/** What is known of an address that was never probed. */
export const NEVER_PROBED: ProbeState = { lastMs: 0, count: 0, decided: null };

/** The probes since the host was last seen. */
function stateSinceSeen(binding: Binding, state: ProbeState | undefined): ProbeState {
  if (state === undefined) return NEVER_PROBED;
  return state.lastMs > binding.lastSeenMs ? state : { ...state, lastMs: 0, count: 0 };
}

/** True when a host was probed since it was seen, and has not answered; false where it is not probed now. */
export function hasNotAnswered(bridge: Bridge, binding: Binding, state: ProbeState | undefined): boolean {
  return probeSource(bridge, binding.vlan, binding.ip) !== null && stateSinceSeen(binding, state).count > 0;
}

/** When a silent host may be probed next, and when its silence after the last probe counts. */
export function probeTimes(
  bridge: Bridge,
  binding: Binding,
  state: ProbeState | undefined,
  isForgotten: boolean,
): readonly number[] {
  if (probeSource(bridge, binding.vlan, binding.ip) === null) return [];
  const { afterMs, forgottenMs, intervalMs } = probePace(bridge);
  const { lastMs, count } = stateSinceSeen(binding, state);
  if (count === 0) return [binding.lastSeenMs + (isForgotten ? forgottenMs : afterMs)];
  return [lastMs + backoffMs(count, intervalMs), lastMs + intervalMs, lastMs + ANSWER_MS];
}

interface ProbePace {
  readonly afterMs: number;
  /** The same for a host whose MAC the bridge has aged out. */
  readonly forgottenMs: number;
  readonly intervalMs: number;
}

/** The first probe after `after`, at most half of `max_age`; MAX_PROBES of them until that is over. */
function probePace({ desired: { maxAgeMs, probe }, ageingMs }: Bridge): ProbePace {
  const afterMs = maxAgeMs === null ? probe.afterMs : Math.min(probe.afterMs, maxAgeMs / 2);
  // A bridge that keeps no MAC would forget the host again at once.
  const forgottenMs = ageingMs === 0 ? afterMs : Math.min(afterMs, ageingMs);
  const roomMs = maxAgeMs === null ? afterMs : maxAgeMs - afterMs;
  return { afterMs, forgottenMs, intervalMs: Math.max(ANSWER_MS, roomMs / MAX_PROBES) };
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

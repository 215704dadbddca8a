// decide(candidate) -> decision: whether one address gets a neighbor, and why. Pure.

import type { Mac } from '../../base/address.ts';
import type { Binding } from '../../datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../../datapath/records/binding-key.ts';
import type { Neighbor } from '../../netlink/neighbor.ts';
import type { Location } from '../host-index.ts';
import { isKernels, isOurs, isRemote, isRouter, isValid, isZebras } from '../neighbor-entry.ts';
import { hasNotAnswered } from '../probes/ageing.ts';
import type { BindingReport } from '../report.ts';
import type { Bridge, Domain } from '../topology.ts';
import type { Candidate, Context, KeptByOwner } from './candidate.ts';
import { isOut } from './ended.ts';
import { hasState, stateFor } from './entry-state.ts';
import { countMove } from './moves.ts';

/** The decision about one address, with the names that the report shows. */
export interface Decision
  extends Pick<
    BindingReport,
    'bridge' | 'vlan' | 'device' | 'ip' | 'mac' | 'port' | 'source' | 'state' | 'because'
  > {
  readonly candidate: Candidate;
  /** What happens to the entry of the address. `none`: no entry is wanted. `keep`: it stays as it is. */
  readonly action: 'none' | 'keep' | 'add' | 'replace';
  /** True when its neighbor must still be written. */
  readonly due: boolean;
  /** True when an answer of the host would change the decision: it is probed at once. */
  readonly isDoubtful: boolean;
  /** The binding to write, with a move that was counted; null: as it is. */
  readonly moved: Binding | null;
}

interface Ruling extends Pick<Decision, 'state' | 'action' | 'because'> {
  readonly isDoubtful?: true;
  readonly moved?: Binding;
}

/** Decides one candidate. */
export function decide(context: Context, candidate: Candidate): Decision {
  const { vlan, ip, mac, source, location, domain } = candidate;
  const { state, action, because, isDoubtful = false, moved = null } = rule(context, candidate);
  const port = location.kind === 'local' ? location.port : candidate.port;
  return {
    bridge: context.bridge.desired.name,
    vlan,
    device: domain?.deviceName ?? null,
    ip,
    mac,
    port: port?.name ?? null,
    source,
    state,
    because,
    candidate,
    action,
    due: action === 'add' || action === 'replace',
    isDoubtful,
    moved,
  };
}

const FROZEN: Ruling = {
  state: 'frozen',
  action: 'none',
  because: 'its MAC changes too often: a duplicate',
};
const BEHIND_TUNNEL: Ruling = {
  state: 'remote',
  action: 'none',
  because: 'its MAC is behind the tunnel now',
};
const OF_ANOTHER_NODE: Ruling = {
  state: 'remote',
  action: 'none',
  because: 'learned from another node by EVPN',
};
const OUT_OF_BRIDGE: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'its port is out of the bridge',
};
const UNFORWARDED: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'the bridge does not forward its MAC now',
  isDoubtful: true,
};
const ON_ANOTHER_PORT: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'the bridge forwards its MAC to another port',
  isDoubtful: true,
};
const INACTIVE: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'it sends nothing to this node of its Ethernet segment',
  isDoubtful: true,
};
const UNANSWERED: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'it has not answered the kernel since it was seen last',
  isDoubtful: true,
};
const REFUTED: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'its MAC has changed, and it has not answered a probe since it was last seen',
  isDoubtful: true,
};
const OF_ANOTHER_OWNER: Ruling = {
  state: 'waiting',
  action: 'none',
  because: 'an entry of another owner has another MAC',
};
const SERVED: Ruling = {
  state: 'installed',
  action: 'keep',
  because: 'served by an entry of another owner',
};
const NEW: Ruling = { state: 'installed', action: 'add', because: 'new' };
const INSTALLED: Ruling = { state: 'installed', action: 'keep', because: '' };

function replace(because: string): Ruling {
  return { state: 'installed', action: 'replace', because };
}

/** The rules in order: the first that applies decides. */
function rule(context: Context, candidate: Candidate): Ruling {
  const { domain, entry, location } = candidate;
  if (isFrozen(context, candidate)) return FROZEN;
  if (domain === undefined) {
    return {
      state: 'homeless',
      action: 'none',
      because: `no device for VLAN ${candidate.vlan} above the bridge`,
    };
  }
  const { binding } = candidate;
  if (candidate.port === undefined && binding !== undefined && isOut(context, binding, location)) {
    return OUT_OF_BRIDGE;
  }
  const kept = candidate.source === 'learned' ? keptByOwner(context, candidate) : undefined;
  if (kept !== undefined && kept.owner !== candidate.mac) {
    const action = isKeptByOwner(context, candidate, entry) ? 'keep' : 'none';
    return { state: 'waiting', action, because: kept.because };
  }
  if (location.kind === 'tunnel') return BEHIND_TUNNEL;
  if (entry === undefined || !isValid(entry)) return ruleUnserved(context, candidate, entry);
  if (isRemote(entry)) return ruleRemote(context, candidate, entry);
  if (isOurs(entry, context.protocol)) return ruleOurs(context, candidate, domain, entry);
  if (entry.mac === candidate.mac) return ruleServed(candidate, entry);
  const isProven = kept?.standing === 'answers' && isHere(candidate);
  return isKernels(entry) && isProven ? replace('its owner still answers') : OF_ANOTHER_OWNER;
}

/**
 * Nothing serves the address: its host gets an entry if it is here. An entry that the kernel found invalid counts as the
 * silence of its host, until the host is seen again.
 */
function ruleUnserved(context: Context, candidate: Candidate, entry: Neighbor | undefined): Ruling {
  const { nowMs, protocol } = context;
  const { binding, source, location } = candidate;
  if (!isHere(candidate)) return waiting(location);
  if (source === 'learned' && binding !== undefined && isRefuted(context, binding))
    return entry !== undefined && isOurs(entry, protocol) ? { ...REFUTED, action: 'keep' } : REFUTED;
  if (entry === undefined) return NEW;
  const isSilent =
    source === 'learned' && binding !== undefined && binding.lastSeenMs < nowMs - entry.updatedMs;
  if (!isSilent) return replace('the entry was not valid');
  return isOurs(entry, protocol) ? { ...UNANSWERED, action: 'keep' } : UNANSWERED;
}

/** A static entry is never frozen. */
function isFrozen({ nowMs }: Context, { source, binding }: Candidate): boolean {
  return source === 'learned' && binding !== undefined && binding.frozenUntilMs > nowMs;
}

function keptByOwner({ kept }: Context, key: BindingKey): KeptByOwner | undefined {
  // Without conflicts no key is built.
  return kept.size === 0 ? undefined : kept.get(bindingId(key));
}

/** True for the neighbor of an owner that keeps its address although another MAC claims it. */
export function isKeptByOwner(context: Context, key: BindingKey, entry: Neighbor | undefined): boolean {
  return entry?.mac !== undefined && entry.mac === keptByOwner(context, key)?.owner;
}

/**
 * True for a claim to the address of another MAC that is not answered for: once the owner at another node goes, such a claim would be
 * all that is left. A host that was seen for longer than `duplicates.window` after its move has the address.
 */
function isRefuted({ bridge, index, forwarding }: Context, binding: Binding): boolean {
  const { vlan, mac, moves, lastSeenMs, windowMs } = binding;
  // On an Ethernet segment it may have answered through another node.
  if (forwarding.isMultihomed(vlan, mac)) return false;
  const isNewHere = moves > 0 && lastSeenMs <= windowMs + bridge.desired.duplicates.windowMs;
  return isNewHere && hasNotAnswered(bridge, binding, index.probesOf(binding));
}

/** True when the bridge forwards the MAC to the port where the candidate was seen. */
function isHere({ location, port }: Candidate): boolean {
  return location.kind === 'local' && (port === undefined || port.ifIndex === location.port.ifIndex);
}

function waiting(location: Location): Ruling {
  if (location.kind === 'inactive') return INACTIVE;
  return location.kind === 'nowhere' ? UNFORWARDED : ON_ANOTHER_PORT;
}

/**
 * An entry of another owner with the right MAC serves the host. zebra's own does so only until the kernel has it as STALE: then
 * zebra withdraws the host although it sends. zebra may put it in place of ours again.
 */
function ruleServed(candidate: Candidate, entry: Neighbor): Ruling {
  if (!isZebras(entry)) return SERVED;
  return isHere(candidate) ? replace('zebra has put its own in place') : waiting(candidate.location);
}

/** Our own entry stays while it is right, and is replaced when the host or the configuration has changed. */
function ruleOurs(context: Context, candidate: Candidate, domain: Domain, entry: Neighbor): Ruling {
  if (entry.mac === candidate.mac) {
    const because = whyRewrite(context.bridge, candidate, domain, entry);
    return because === null ? INSTALLED : replace(because);
  }
  if (isHere(candidate)) return replace('the MAC changed');
  const ruling = waiting(candidate.location);
  return keepsMac(context, candidate, entry.mac) ? { ...ruling, action: 'keep' } : ruling;
}

/** When the bridge does not confirm the candidate, the MAC in the entry keeps the address while it is on a local port. */
function keepsMac({ forwarding }: Context, { source, vlan }: Candidate, mac: Mac | undefined): boolean {
  return source === 'learned' && mac !== undefined && forwarding.locate(vlan, mac).kind === 'local';
}

/** Why our own entry with the right MAC is written again; null when it is right. */
function whyRewrite(bridge: Bridge, candidate: Candidate, domain: Domain, entry: Neighbor): string | null {
  const { router } = candidate;
  if (router !== isRouter(entry)) return router ? 'it is a router now' : 'it is no router any more';
  const wanted = stateFor(bridge, domain, candidate);
  if (hasState(entry, wanted)) return null;
  const { neighborState } = bridge.desired;
  return `neighbor_state is ${wanted.state}${neighborState === 'auto' ? ' (auto)' : ''}`;
}

/**
 * An entry that zebra learned from another node is replaced only for a host that is here now. A local port must forward
 * its MAC; and if the entry has another MAC, the host must have been seen after zebra wrote the entry. Without the
 * second condition two nodes, each with a live MAC, would take the address from each other at every run.
 */
function ruleRemote({ bridge, nowMs }: Context, candidate: Candidate, entry: Neighbor): Ruling {
  const { binding, location } = candidate;
  const isNewer = binding !== undefined && binding.lastSeenMs > nowMs - entry.updatedMs;
  if (isHere(candidate) && (entry.mac === candidate.mac || isNewer)) {
    const moving = replace('the host has moved here');
    if (entry.mac === candidate.mac || candidate.source === 'static' || binding === undefined) return moving;
    const moved = countMove(binding, bridge.desired.duplicates, nowMs);
    return moved.frozenUntilMs > nowMs ? { ...FROZEN, moved } : { ...moving, moved };
  }
  return location.kind === 'local' ? { ...OF_ANOTHER_NODE, isDoubtful: true } : OF_ANOTHER_NODE;
}

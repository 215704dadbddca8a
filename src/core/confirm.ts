// Who is asked before an address goes from one MAC to another (RFC 9161, section 3.7b). Pure.

import type { IfIndex, Mac } from '../base/address.ts';
import { groupBy } from '../base/group.ts';
import type { Question } from '../datapath/frames.ts';
import { type Binding, type BindingKey, bindingId } from '../datapath/records.ts';
import { type Defence, entryId, Forwarding, isOurs, NUD_VALID } from './neighbors.ts';
import type { ObservedHosts } from './observed.ts';
import { probeSource } from './probes.ts';
import { type Bridge, effectiveVlan, leavesTagged, type Port, type Topology } from './topology.ts';

/** An address that one MAC has and another claims, and the question to the one who has it. */
export interface Dispute extends BindingKey {
  readonly bridgeName: string;
  readonly owner: Mac;
  readonly ownerPort: Port;
  readonly claimant: Mac;
  /** Null when the port is gone. */
  readonly claimantPort: string | null;
  readonly question: Question;
}

export interface Disputes {
  readonly asked: readonly Dispute[];
  /** For the next run: more at a time would fill the queues of taps. Their owners keep what they have. */
  readonly postponed: readonly Dispute[];
}

/** Most questions of one run, the oldest claims first. */
const DISPUTES_PER_RUN = 256;

/**
 * Every learned address whose MAC is not the one in its neighbor, or, where it has none yet, not the one that had it
 * when its moves began. It is decided by what is there and not by the ring's records of moves, so that a full ring
 * or a run that was killed costs no question. Nobody is asked where probes are not allowed, nor for provisioned and
 * frozen addresses, nor an owner whose port is not known or is not here.
 */
export function planDisputes(topology: Topology, hosts: ObservedHosts, protocol: number): Disputes {
  const bindings = groupBy(hosts.bindings, (binding) => binding.bridge);
  const fdb = groupBy(hosts.fdb, (entry) => entry.bridge);
  const holders = new Map<string, Mac | undefined>();
  for (const neighbor of hosts.neighbors) {
    if ((neighbor.state & NUD_VALID) === 0) continue;
    // Undefined for what another owner has written: nobody loses that to a claim.
    const holder = isOurs(neighbor, protocol) ? neighbor.mac : undefined;
    holders.set(entryId(neighbor.ifIndex, neighbor.ip), holder);
  }
  const disputes = topology.bridges.flatMap((bridge) => {
    const forwarding = new Forwarding(bridge, fdb.get(bridge.ifIndex) ?? []);
    const statics = new Set(
      bridge.desired.statics.map(({ ip, vlan }) => `${effectiveVlan(bridge, vlan)} ${ip}`),
    );
    return (bindings.get(bridge.ifIndex) ?? []).flatMap((binding) => {
      const isExempt = binding.frozenUntilMs > hosts.nowMs || statics.has(`${binding.vlan} ${binding.ip}`);
      const owner = isExempt ? undefined : ownerOf(bridge, binding, holders, forwarding, hosts.nowMs);
      if (owner === undefined || owner === binding.mac) return [];
      const dispute = disputeOf(bridge, binding, owner, forwarding);
      return dispute === null ? [] : [{ dispute, sinceMs: binding.firstSeenMs }];
    });
  });
  disputes.sort((a, b) => a.sinceMs - b.sinceMs);
  const sorted = disputes.map(({ dispute }) => dispute);
  return { asked: sorted.slice(0, DISPUTES_PER_RUN), postponed: sorted.slice(DISPUTES_PER_RUN) };
}

/** The MAC that has the address now, whoever claims it; undefined when there is none that could lose it. */
function ownerOf(
  bridge: Bridge,
  binding: Binding,
  holders: ReadonlyMap<string, Mac | undefined>,
  forwarding: Forwarding,
  nowMs: number,
): Mac | undefined {
  const domain = bridge.domains.get(binding.vlan);
  if (domain === undefined) return undefined;
  const id = entryId(domain.device, binding.ip);
  if (holders.has(id)) return holders.get(id);
  // Two have claimed it before anybody had a neighbor: the first is the owner, as long as moves are counted.
  const isRecent = nowMs - binding.windowMs <= bridge.desired.duplicates.windowMs;
  const isDue = forwarding.locate(binding.vlan, binding.mac).kind === 'local';
  return isRecent && isDue ? binding.owner?.mac : undefined;
}

/** Null when the owner cannot be asked. */
function disputeOf(bridge: Bridge, binding: Binding, owner: Mac, forwarding: Forwarding): Dispute | null {
  const { ip, vlan } = binding;
  const domain = bridge.domains.get(vlan);
  const source = domain && probeSource(bridge, domain, ip);
  const ownerPort = portOf(bridge, binding, owner, forwarding);
  if (source === undefined || source === null || ownerPort === undefined) return null;
  return {
    bridge: bridge.ifIndex,
    vlan,
    ip,
    bridgeName: bridge.desired.name,
    owner,
    ownerPort,
    claimant: binding.mac,
    claimantPort: nameOf(bridge, binding.port),
    question: {
      sourceMac: source.mac,
      sourceIp: source.ip,
      targetMac: owner,
      targetIp: ip,
      tag: leavesTagged(bridge, ownerPort, vlan) ? vlan : null,
      named: true,
    },
  };
}

/** Where the bridge forwards the owner's MAC; where it has lost that, the port of before the first claim. */
function portOf(bridge: Bridge, binding: Binding, owner: Mac, forwarding: Forwarding): Port | undefined {
  const location = forwarding.locate(binding.vlan, owner);
  if (location.kind === 'local') return location.port;
  if (location.kind !== 'nowhere' || binding.owner?.mac !== owner) return undefined;
  const { port } = binding.owner;
  return bridge.ports.find(({ ifIndex }) => ifIndex === port);
}

function nameOf(bridge: Bridge, port: IfIndex): string | null {
  return bridge.ports.find(({ ifIndex }) => ifIndex === port)?.name ?? null;
}

/** What the next decision is to respect: those who answered and those who could not be asked yet. */
export function defend(answered: readonly Dispute[], postponed: readonly Dispute[]): Map<string, Defence> {
  const defended = new Map<string, Defence>();
  for (const dispute of answered) {
    const because = `its owner ${dispute.owner} still answers for it`;
    defended.set(bindingId(dispute), { owner: dispute.owner, because });
  }
  for (const dispute of postponed) {
    const because = `its owner ${dispute.owner} is yet to be asked`;
    defended.set(bindingId(dispute), { owner: dispute.owner, because });
  }
  return defended;
}

/** For the operator: somebody claims what another still has. */
export function describeDefended(dispute: Dispute): string {
  const { ip, vlan, bridgeName, owner, ownerPort, claimant, claimantPort } = dispute;
  const where = `"${bridgeName}"${vlan === 0 ? '' : ` VLAN ${vlan}`}`;
  const from = claimantPort === null ? '' : ` on port "${claimantPort}"`;
  return (
    `${ip} on ${where} was claimed by ${claimant}${from}, but its owner ${owner} on port "${ownerPort.name}" ` +
    'still answers: kept'
  );
}

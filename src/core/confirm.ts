// Who is asked before an address goes from one MAC to another (RFC 9161, section 3.7b). Pure.

import type { IfIndex, Mac } from '../base/address.ts';
import type { Question } from '../datapath/frames.ts';
import { type Binding, type BindingKey, bindingId } from '../datapath/records.ts';
import { type Forwarding, type HostIndex, indexOf } from './host-index.ts';
import { isOurs, isValid } from './neighbor-entry.ts';
import type { Defence } from './neighbors.ts';
import type { ObservedHosts } from './observed.ts';
import { probeSource } from './probes.ts';
import { type Bridge, effectiveVlan, leavesTagged, type Port, type Topology, takesVlan } from './topology.ts';

/** An address that one MAC has and another claims. */
export interface Dispute extends BindingKey {
  readonly bridgeName: string;
  readonly owner: Mac;
  readonly claimant: Mac;
  /** Null when the port is gone. */
  readonly claimantPort: string | null;
  /** When the claimant took it. */
  readonly sinceMs: number;
  readonly questions: readonly OwnerQuestion[];
}

/** The question to the owner, out of one of the ports. */
export interface OwnerQuestion {
  readonly port: Port;
  readonly question: Question;
}

/**
 * Most frames of a run, and most disputes that are asked for: a port gets one of each, and more would fill a tap's
 * queue. The owners of the others keep what they have until the next run.
 */
const FRAMES_PER_RUN = 4096;
const DISPUTES_PER_RUN = 256;

/**
 * Every learned address whose MAC is not the one in its neighbor, or, where it has none yet, not the one that had it
 * when its moves began. It is decided by what is there and not by the ring's records of moves, so that a full ring
 * or a run that was killed costs no question. Nobody is asked where probes are not allowed, nor for provisioned and
 * frozen addresses. The oldest claims come first.
 */
export function planDisputes(topology: Topology, hosts: ObservedHosts, protocol: number): Dispute[] {
  const index = indexOf(hosts);
  const disputes = topology.bridges.flatMap((bridge) => {
    const forwarding = index.forwardingOf(bridge);
    const statics = new Set(
      bridge.desired.statics.map(({ ip, vlan }) => `${effectiveVlan(bridge, vlan)} ${ip}`),
    );
    const found: Dispute[] = [];
    for (const binding of index.bindingsOf(bridge.ifIndex)) {
      const owner = ownerOf(bridge, binding, index, forwarding, protocol, hosts.nowMs);
      if (owner === undefined || owner === binding.mac) continue;
      const isExempt = binding.frozenUntilMs > hosts.nowMs || statics.has(`${binding.vlan} ${binding.ip}`);
      const dispute = isExempt ? null : disputeOf(bridge, binding, owner);
      if (dispute !== null) found.push(dispute);
    }
    return found;
  });
  return disputes.sort((a, b) => a.sinceMs - b.sinceMs);
}

/** The MAC that has the address now, whoever claims it; undefined when there is none that could lose it. */
function ownerOf(
  bridge: Bridge,
  binding: Binding,
  index: HostIndex,
  forwarding: Forwarding,
  protocol: number,
  nowMs: number,
): Mac | undefined {
  const domain = bridge.domains.get(binding.vlan);
  if (domain === undefined) return undefined;
  const neighbor = index.neighborOf(domain.device, binding.ip);
  if (neighbor !== undefined && isValid(neighbor)) {
    // Undefined for what another owner has written: nobody loses that to a claim.
    return isOurs(neighbor, protocol) ? neighbor.mac : undefined;
  }
  if (binding.owner === null) return undefined;
  // Two have claimed it before anybody had a neighbor: the first is the owner, as long as moves are counted.
  const isRecent = nowMs - binding.windowMs <= bridge.desired.duplicates.windowMs;
  const isDue = forwarding.locate(binding.vlan, binding.mac).kind === 'local';
  return isRecent && isDue ? binding.owner.mac : undefined;
}

/**
 * Null when the owner cannot be asked. He is asked by his MAC, but out of every port: where the bridge, or his last
 * message, says that he is may be what somebody else has made them believe with a frame or two in his name.
 */
function disputeOf(bridge: Bridge, binding: Binding, owner: Mac): Dispute | null {
  const { ip, vlan } = binding;
  const domain = bridge.domains.get(vlan);
  const source = domain && probeSource(bridge, domain, ip);
  if (source === undefined || source === null) return null;
  const questions = bridge.ports
    .filter((port) => takesVlan(bridge, port, vlan))
    .map((port) => ({
      port,
      question: {
        sourceMac: source.mac,
        sourceIp: source.ip,
        targetMac: owner,
        targetIp: ip,
        tag: leavesTagged(bridge, port, vlan) ? vlan : null,
        named: true,
      },
    }));
  return {
    bridge: bridge.ifIndex,
    vlan,
    ip,
    bridgeName: bridge.desired.name,
    owner,
    claimant: binding.mac,
    claimantPort: nameOf(bridge, binding.port),
    sinceMs: binding.firstSeenMs,
    questions,
  };
}

/** Those that a run can ask for, the oldest first. */
export function chooseDisputes(disputes: readonly Dispute[]): Dispute[] {
  let frames = 0;
  return disputes.slice(0, DISPUTES_PER_RUN).filter(({ questions }, i) => {
    frames += questions.length;
    return i === 0 || frames <= FRAMES_PER_RUN;
  });
}

function nameOf(bridge: Bridge, port: IfIndex): string | null {
  return bridge.ports.find(({ ifIndex }) => ifIndex === port)?.name ?? null;
}

/** A dispute by its address and owner: who claims it may change at any time, and makes no difference. */
function disputeId(dispute: Dispute): string {
  return `${bindingId(dispute)} ${dispute.owner}`;
}

/**
 * Those of the `asked` who were silent for sure, though records were lost: an answer moves the binding, and the next
 * claim begins anew. So the same claim as `before` was not answered in between.
 */
export function silentFor(asked: readonly Dispute[], after: readonly Dispute[]): Dispute[] {
  const unmoved = new Set(after.map(claimId));
  return asked.filter((dispute) => unmoved.has(claimId(dispute)));
}

function claimId(dispute: Dispute): string {
  return `${disputeId(dispute)} ${dispute.claimant} ${dispute.sinceMs}`;
}

/**
 * What the decision is to respect: an address goes to another MAC only if its owner was asked in this very run, could
 * be heard (`asked`) and has not answered. So who claims it again at once gains nothing, nor who claims it while others
 * are asked.
 */
export function defend(
  disputes: readonly Dispute[],
  asked: readonly Dispute[],
  answered: readonly Dispute[],
): Map<string, Defence> {
  const isAsked = new Set(asked.map(disputeId));
  const isAnswered = new Set(answered.map(disputeId));
  const defended = new Map<string, Defence>();
  for (const dispute of disputes) {
    const { owner } = dispute;
    if (isAnswered.has(disputeId(dispute))) {
      defended.set(bindingId(dispute), { owner, isAsked: true, because: `its owner ${owner} still answers` });
    } else if (!isAsked.has(disputeId(dispute))) {
      defended.set(bindingId(dispute), {
        owner,
        isAsked: false,
        because: `its owner ${owner} is yet to be asked`,
      });
    }
  }
  return defended;
}

/** For the operator: claims that are left open, for nobody could hear their owners. */
export function describeOpen(defended: ReadonlyMap<string, Defence>): string[] {
  const count = [...defended.values()].filter(({ isAsked }) => !isAsked).length;
  if (count === 0) return [];
  const what = count === 1 ? '1 address is' : `${count} addresses are`;
  return [`${what} claimed by another MAC, and the owner could not be asked or heard yet: kept until then`];
}

/** For the operator: somebody claims what another still has. `port` is where the answer came from. */
export function describeDefended(dispute: Dispute, port: IfIndex): string {
  const { ip, vlan, bridgeName, owner, claimant, claimantPort, questions } = dispute;
  const where = `"${bridgeName}"${vlan === 0 ? '' : ` VLAN ${vlan}`}`;
  const from = claimantPort === null ? '' : ` on port "${claimantPort}"`;
  const ownerPort = questions.find((question) => question.port.ifIndex === port)?.port.name ?? `#${port}`;
  return (
    `${ip} on ${where} was claimed by ${claimant}${from}, but its owner ${owner} on port "${ownerPort}" ` +
    'still answers: kept'
  );
}

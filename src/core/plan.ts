// plan(desired, observed) -> actions: what must change on the data path. Pure and total.

import type { IfIndex } from '../base/address.ts';
import { encodeVlans, type PortPolicy } from '../datapath/records/port.ts';
import type { PrefixRule } from '../datapath/records/prefix-rule.ts';
import type { StaticRule } from '../datapath/records/static-rule.ts';
import {
  SNOOPY_LEARN_ARP_REPLY,
  SNOOPY_LEARN_ARP_REQUEST,
  SNOOPY_LEARN_NA,
  SNOOPY_LEARN_NS,
} from '../generated/layouts.ts';
import type { Action, AttachmentKind, PortRef, QdiscKind } from './actions.ts';
import type { AttachMode, Desired, LearnKind } from './desired.ts';
import { prefixRules } from './learnable.ts';
import { type Attachment, NOT_ATTACHED, type Observed } from './observed.ts';
import { type Bridge, effectiveVlan, type Port, type Topology } from './topology.ts';

/** The part of the node that a plan covers. */
export interface Scope {
  /** False with `--bridge`: what belongs to other bridges is left as it is. */
  readonly whole: boolean;
}

/**
 * The steps from the observed to the desired state; none when they agree. Applying them and planning again yields no
 * step. The order is safe at every point: the maps have a port's policy before the program is attached to it, and a
 * new attachment is made before the old one is removed.
 */
export function plan(desired: Desired, topology: Topology, observed: Observed, scope: Scope): Action[] {
  const actions: Action[] = [];
  if (!observed.bpffsMounted) actions.push({ kind: 'mount', path: desired.runtime.bpffs });
  const reason = observed.datapath.loadReason;
  if (reason !== null) actions.push({ kind: 'load', reason });
  const served = new Set(topology.bridges.map(({ ifIndex }) => ifIndex));
  const belongs = (bridge: IfIndex): boolean => scope.whole || served.has(bridge);
  // Also of bridges that have left the configuration; one that is gone has none.
  const names = new Map([...observed.links.values()].map(({ ifIndex, name }) => [ifIndex, name]));
  return [
    ...actions,
    ...planPrefixes(topology, observed, belongs, names),
    ...planStatics(topology, observed, belongs, names),
    ...planPorts(wayOf(desired.runtime.attach, observed), topology, observed, scope, belongs, names),
  ];
}

type Belongs = (bridge: IfIndex) => boolean;
type Names = ReadonlyMap<IfIndex, string>;

/**
 * Sets the longest prefixes first and drops them last. So the rule for an address is always the old or the new one, and
 * a host that both accept is learned throughout.
 */
function planPrefixes(topology: Topology, observed: Observed, belongs: Belongs, names: Names): Action[] {
  const wanted = new Map(topology.bridges.flatMap(prefixRules).map((rule) => [prefixId(rule), rule]));
  const found = new Map(observed.datapath.prefixes.map((rule) => [prefixId(rule), rule]));
  const actions: Action[] = [];
  for (const [id, rule] of [...wanted].sort(([, a], [, b]) => lengthOf(b) - lengthOf(a))) {
    if (found.get(id)?.allow !== rule.allow) {
      actions.push({ kind: 'set-prefix', bridge: names.get(rule.bridge) ?? null, rule });
    }
  }
  for (const [id, rule] of [...found].sort(([, a], [, b]) => lengthOf(a) - lengthOf(b))) {
    if (!wanted.has(id) && belongs(rule.bridge)) {
      actions.push({ kind: 'drop-prefix', bridge: names.get(rule.bridge) ?? null, rule });
    }
  }
  return actions;
}

/** A rule for a whole bridge counts as shorter than every prefix. */
function lengthOf({ prefix }: PrefixRule): number {
  return prefix?.length ?? -1;
}

function prefixId({ bridge, vlan, prefix }: PrefixRule): string {
  return prefix === null ? `${bridge}` : `${bridge}/${vlan}/${prefix.ip}/${prefix.length}`;
}

/** Sets the MACs of a static address before the address itself, and drops them after it: it always has an owner. */
function planStatics(topology: Topology, observed: Observed, belongs: Belongs, names: Names): Action[] {
  const wanted = new Map(topology.bridges.flatMap(staticRules).map((rule) => [staticId(rule), rule]));
  const found = new Map(observed.datapath.statics.map((rule) => [staticId(rule), rule]));
  const actions: Action[] = [];
  for (const [id, rule] of wanted) {
    if (!found.has(id)) actions.push({ kind: 'set-static', bridge: names.get(rule.bridge) ?? null, rule });
  }
  const isOwner = ({ mac }: StaticRule): number => (mac === null ? 0 : 1);
  for (const [id, rule] of [...found].sort(([, a], [, b]) => isOwner(a) - isOwner(b))) {
    if (!wanted.has(id) && belongs(rule.bridge)) {
      actions.push({ kind: 'drop-static', bridge: names.get(rule.bridge) ?? null, rule });
    }
  }
  return actions;
}

function staticId({ bridge, vlan, ip, mac }: StaticRule): string {
  return `${bridge}/${vlan}/${ip}/${mac ?? ''}`;
}

function staticRules(bridge: Bridge): StaticRule[] {
  return bridge.desired.statics.flatMap((entry) => {
    const key = { bridge: bridge.ifIndex, vlan: effectiveVlan(bridge, entry.vlan), ip: entry.ip };
    return [...entry.macs.map((mac) => ({ ...key, mac })), { ...key, mac: null }];
  });
}

/** How the program is attached to every port. */
interface Way {
  readonly as: AttachmentKind;
  readonly qdisc: QdiscKind;
}

/**
 * Proxmox VE, libvirt and others limit the rate of a port with a qdisc of their own at its ingress. TCX needs none. A qdisc
 * of kind `ingress` gives way to theirs, as they delete one of that kind before; a clsact qdisc makes their command fail.
 */
function wayOf(mode: AttachMode, { hasTcx }: Observed): Way {
  switch (mode) {
    case 'auto':
      return { as: hasTcx ? 'tcx' : 'filter', qdisc: 'ingress' };
    case 'tcx':
      return { as: 'tcx', qdisc: 'clsact' };
    case 'clsact':
      return { as: 'filter', qdisc: 'clsact' };
    default:
      return mode satisfies never;
  }
}

function planPorts(
  way: Way,
  topology: Topology,
  observed: Observed,
  scope: Scope,
  belongs: Belongs,
  names: Names,
): Action[] {
  const policies: Action[] = [];
  const attach: Action[] = [];
  const detach: Action[] = [];
  const last: Action[] = [];
  const wanted = new Set<IfIndex>();
  for (const bridge of topology.bridges) {
    const name = bridge.desired.name;
    for (const port of bridge.ports) {
      wanted.add(port.ifIndex);
      const ref: PortRef = { ifIndex: port.ifIndex, name: port.name };
      const found = observed.datapath.ports.get(port.ifIndex);
      const attachment = observed.attachments.get(port.ifIndex) ?? NOT_ATTACHED;
      const policy = portPolicy(way, bridge, port, attachment, found);
      if (found === undefined || !samePolicy(policy, found)) {
        // The filter records that the qdisc is ours until the qdisc is deleted, so that a killed run does not leave it.
        const isLast = found?.ownsQdisc === true && !policy.ownsQdisc;
        (isLast ? last : policies).push({ kind: 'set-port', bridge: name, port: ref, policy });
      }
      const stale = observed.datapath.loadReason !== null;
      const moves = way.as === 'filter' && way.qdisc === 'ingress' && attachment.isReplaceable;
      if (stale || moves || programOf(attachment, way.as) !== observed.datapath.programId) {
        attach.push({
          kind: 'attach',
          bridge: name,
          port: ref,
          ...way,
          ownsQdisc: policy.ownsQdisc,
          createsQdisc: attachment.qdisc === null,
        });
      }
      const other = way.as === 'filter' ? 'tcx' : 'filter';
      const dropQdisc = other === 'filter' && ownsQdisc(way, attachment, found);
      if (programOf(attachment, other) !== null || dropQdisc) {
        detach.push({ kind: 'detach', bridge: name, port: ref, as: other, dropQdisc });
      }
      detach.push(...planStrays(attachment, name, ref));
    }
  }
  const known = new Set([...observed.datapath.ports.keys(), ...observed.attachments.keys()]);
  for (const ifIndex of [...known].sort((a, b) => a - b)) {
    const policy = observed.datapath.ports.get(ifIndex);
    if (wanted.has(ifIndex) || !(policy === undefined ? scope.whole : belongs(policy.bridge))) continue;
    const link = observed.links.get(ifIndex);
    const bridge = (policy && names.get(policy.bridge)) ?? null;
    const port: PortRef = { ifIndex, name: link?.name ?? `#${ifIndex}` };
    const attachment = observed.attachments.get(ifIndex) ?? NOT_ATTACHED;
    const dropQdisc = ownsQdisc(way, attachment, policy);
    if (attachment.filterProgramId !== null || dropQdisc) {
      detach.push({ kind: 'detach', bridge, port, as: 'filter', dropQdisc });
    }
    if (attachment.tcxProgramId !== null) {
      detach.push({ kind: 'detach', bridge, port, as: 'tcx', dropQdisc: false });
    }
    detach.push(...planStrays(attachment, bridge, port));
    if (policy !== undefined) last.push({ kind: 'drop-port', bridge, port });
  }
  return [...policies, ...attach, ...detach, ...last];
}

function planStrays({ strays }: Attachment, bridge: string | null, port: PortRef): Action[] {
  return strays.map((programId) => ({ kind: 'detach', bridge, port, as: 'stray', programId }));
}

/** Recorded in the policy and in the name of the filter, which remains when pins are lost. */
function ownsQdisc(way: Way, attachment: Attachment, policy: PortPolicy | undefined): boolean {
  const { qdisc, filterProgramId } = attachment;
  if (qdisc === null) return false;
  // Ours has gone with its filter, and another program has created one of the other kind.
  const isAnother =
    filterProgramId === null && way.as === 'filter' && way.qdisc === 'ingress' && qdisc === 'clsact';
  return attachment.ownsQdisc || (policy?.ownsQdisc === true && !isAnother);
}

function programOf(attachment: Attachment, kind: AttachmentKind): number | null {
  return kind === 'filter' ? attachment.filterProgramId : attachment.tcxProgramId;
}

const LEARN_BITS: Readonly<Record<LearnKind, number>> = {
  'arp-request': SNOOPY_LEARN_ARP_REQUEST,
  'arp-reply': SNOOPY_LEARN_ARP_REPLY,
  na: SNOOPY_LEARN_NA,
  ns: SNOOPY_LEARN_NS,
};

const NS_PER_S = 1e9;

function portPolicy(
  way: Way,
  bridge: Bridge,
  port: Port,
  attachment: Attachment,
  found: PortPolicy | undefined,
): PortPolicy {
  const { learn, linkLocal, limits, duplicates } = bridge.desired;
  return {
    bridge: bridge.ifIndex,
    pvid: port.pvid,
    learn: learn.reduce((bits, kind) => bits | LEARN_BITS[kind], 0),
    linkLocal,
    // Recorded before the qdisc is created, so that it is still ours if the run is killed in between.
    ownsQdisc: way.as === 'filter' && (attachment.qdisc === null || ownsQdisc(way, attachment, found)),
    maxBindings: limits.bindingsPerPort,
    newIntervalNs: Math.floor(NS_PER_S / limits.newBindingsPerSecond),
    newBurst: limits.bindingsPerPort,
    duplicateMoves: duplicates.moves,
    duplicateWindowMs: duplicates.windowMs,
    duplicateHoldMs: duplicates.holdMs,
    released: found?.released ?? 0,
    reported: found?.reported ?? 0,
    vlans: bridge.vlanAware ? encodeVlans(port.vlans) : null,
  };
}

function samePolicy(a: PortPolicy, b: PortPolicy): boolean {
  return (
    a.bridge === b.bridge &&
    a.pvid === b.pvid &&
    a.learn === b.learn &&
    a.linkLocal === b.linkLocal &&
    a.ownsQdisc === b.ownsQdisc &&
    a.maxBindings === b.maxBindings &&
    a.newIntervalNs === b.newIntervalNs &&
    a.newBurst === b.newBurst &&
    a.duplicateMoves === b.duplicateMoves &&
    a.duplicateWindowMs === b.duplicateWindowMs &&
    a.duplicateHoldMs === b.duplicateHoldMs &&
    sameVlans(a.vlans, b.vlans)
  );
}

function sameVlans(a: Uint8Array | null, b: Uint8Array | null): boolean {
  if (a === null || b === null) return a === b;
  return a.every((byte, i) => byte === b[i]);
}

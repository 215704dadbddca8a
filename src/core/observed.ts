// The observed state of the kernel, the second input of every decision. Plain values, read once for a plan.

import type { IfIndex } from '../base/address.ts';
import type { LoadReason } from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import type { Hint } from '../datapath/records/hint.ts';
import type { PortPolicy, PortState } from '../datapath/records/port.ts';
import type { PrefixRule } from '../datapath/records/prefix-rule.ts';
import type { ProbeState } from '../datapath/records/probe.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';
import type { StaticRule } from '../datapath/records/static-rule.ts';
import type { InterfaceAddress } from '../netlink/address.ts';
import type { ForwardingTable } from '../netlink/forwarding-table.ts';
import type { Link } from '../netlink/link.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { PortVlans } from '../netlink/vlan.ts';
import type { QdiscKind } from './actions.ts';

/** Interfaces, and what the program's maps have about them. */
export interface Observed {
  readonly links: ReadonlyMap<IfIndex, Link>;
  readonly portVlans: ReadonlyMap<IfIndex, PortVlans>;
  readonly addresses: readonly InterfaceAddress[];
  readonly bpffsMounted: boolean;
  readonly datapath: ObservedDatapath;
  readonly attachments: ReadonlyMap<IfIndex, Attachment>;
  /** Whether the kernel has TCX (Linux 6.6). */
  readonly hasTcx: boolean;
}

/** What is pinned. When the program must be loaded, the maps that cannot be kept read as empty. */
export interface ObservedDatapath {
  /** Why the program must be loaded; null when the pinned program and maps are current. */
  readonly loadReason: LoadReason | null;
  readonly programId: number | null;
  readonly ports: ReadonlyMap<IfIndex, PortPolicy>;
  readonly prefixes: readonly PrefixRule[];
  readonly statics: readonly StaticRule[];
}

/** How our program is attached to a device, and what else the plan needs to know about its ingress. */
export interface Attachment {
  /** Kind of the qdisc of any owner that can have our filter; null without one. */
  readonly qdisc: QdiscKind | null;
  /** True when the name of our filter records that snoopy created that qdisc. */
  readonly ownsQdisc: boolean;
  /** True when `auto` replaces that qdisc: it is a clsact of ours without other filters, on a kernel without TCX. */
  readonly isReplaceable: boolean;
  /** ID of the program in our filter; null when there is no such filter. */
  readonly filterProgramId: number | null;
  /** ID of the program in our pinned TCX link, 0 when that is detached; null when there is none. */
  readonly tcxProgramId: number | null;
  /** IDs of other programs of ours, attached by TCX links whose pins are out of sight. */
  readonly strays: readonly number[];
}

export const NOT_ATTACHED: Attachment = {
  qdisc: null,
  isReplaceable: false,
  ownsQdisc: false,
  filterProgramId: null,
  tcxProgramId: null,
  strays: [],
};

/** Hosts: the bindings, the forwarding of the bridges, and the neighbors. */
export interface ObservedHosts {
  /** CLOCK_MONOTONIC, like the times of the bindings. */
  readonly nowMs: number;
  readonly bindings: readonly Binding[];
  /** The probes of silent hosts, by bindingId. */
  readonly probes: ReadonlyMap<string, ProbeState>;
  /** Hints that the program has taken from messages. */
  readonly seenHints: readonly SeenHint[];
  /** The memory of hints: addresses of other nodes' hosts, and of bindings that have ended. */
  readonly hints: readonly Hint[];
  readonly portStates: ReadonlyMap<IfIndex, PortState>;
  /** Names of the devices that have neighbors. */
  readonly deviceNames: ReadonlyMap<IfIndex, string>;
  /** For the configured bridges. */
  readonly forwarding: ReadonlyMap<IfIndex, ForwardingTable>;
  readonly neighbors: readonly Neighbor[];
}

/** True when the pinned program is attached to the port, in either way. */
export function hasProgram({ attachments, datapath }: Observed, port: IfIndex): boolean {
  const attachment = attachments.get(port);
  const programId = attachment?.filterProgramId ?? attachment?.tcxProgramId ?? null;
  return programId !== null && programId === datapath.programId;
}

/** True when programs of ours are attached but nothing is pinned: pins were lost, or are out of sight. */
export function hasLostPins({ attachments, datapath }: Observed): boolean {
  const isAttached = ({ filterProgramId, strays }: Attachment): boolean =>
    filterProgramId !== null || strays.length > 0;
  return datapath.loadReason === 'absent' && [...attachments.values()].some(isAttached);
}

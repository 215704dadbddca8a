// What the kernel says: the second half of every decision. Plain values, read once for a plan.

import type { IfIndex } from '../base/address.ts';
import type { LoadReason } from '../datapath/pins.ts';
import type { Binding } from '../datapath/records/binding.ts';
import type { PortPolicy, PortState } from '../datapath/records/port.ts';
import type { PrefixRule } from '../datapath/records/prefix-rule.ts';
import type { ProbeState } from '../datapath/records/probe.ts';
import type { StaticRule } from '../datapath/records/static-rule.ts';
import type { InterfaceAddress } from '../netlink/address.ts';
import type { ForwardingTable } from '../netlink/forwarding-table.ts';
import type { Link } from '../netlink/link.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { PortVlans } from '../netlink/vlan.ts';

/** Interfaces and what the program is told about them. */
export interface Observed {
  readonly links: ReadonlyMap<IfIndex, Link>;
  readonly portVlans: ReadonlyMap<IfIndex, PortVlans>;
  readonly addresses: readonly InterfaceAddress[];
  readonly bpffsMounted: boolean;
  readonly datapath: ObservedDatapath;
  readonly attachments: ReadonlyMap<IfIndex, Attachment>;
}

/** What is pinned. With a reason to load, the maps that cannot be kept read as empty. */
export interface ObservedDatapath {
  /** Why the program must be loaded; null when what is pinned is what would be loaded. */
  readonly loadReason: LoadReason | null;
  readonly programId: number | null;
  readonly ports: ReadonlyMap<IfIndex, PortPolicy>;
  readonly prefixes: readonly PrefixRule[];
  readonly statics: readonly StaticRule[];
}

/** How our program is attached to a device, and what else the plan must know about its ingress. */
export interface Attachment {
  /** True when the device has a clsact (or an ingress) qdisc, whoever made it. */
  readonly hasClsact: boolean;
  /** True when our filter says that snoopy made that qdisc. */
  readonly ownsClsact: boolean;
  /** ID of the program in our filter; null when there is no such filter. */
  readonly filterProgramId: number | null;
  /** ID of the program in our pinned TCX link, 0 when that is detached; null when there is none. */
  readonly tcxProgramId: number | null;
}

/** Hosts: who was seen, where the bridges forward, which neighbors there are. */
export interface ObservedHosts {
  /** CLOCK_MONOTONIC, as the bindings' times. */
  readonly nowMs: number;
  readonly bindings: readonly Binding[];
  /** What silent hosts were asked, by bindingId. */
  readonly probes: ReadonlyMap<string, ProbeState>;
  readonly portStates: ReadonlyMap<IfIndex, PortState>;
  /** Names of the devices that have neighbors. */
  readonly deviceNames: ReadonlyMap<IfIndex, string>;
  /** Of the configured bridges. */
  readonly forwarding: ReadonlyMap<IfIndex, ForwardingTable>;
  readonly neighbors: readonly Neighbor[];
}

/** True when the program that is pinned is attached to the port, in whichever way. */
export function hasProgram({ attachments, datapath }: Observed, port: IfIndex): boolean {
  const attachment = attachments.get(port);
  const programId = attachment?.filterProgramId ?? attachment?.tcxProgramId ?? null;
  return programId !== null && programId === datapath.programId;
}

/** True when filters of ours are attached and nothing is pinned: pins were lost, or are in another mount namespace. */
export function hasLostPins({ attachments, datapath }: Observed): boolean {
  const filters = [...attachments.values()].some(({ filterProgramId }) => filterProgramId !== null);
  return datapath.loadReason === 'absent' && filters;
}

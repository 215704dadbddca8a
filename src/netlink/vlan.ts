// VLANs of the ports of VLAN-aware bridges, and their VNIs on a VXLAN port with many VNIs: IFLA_BRIDGE_VLAN_INFO
// and IFLA_BRIDGE_VLAN_TUNNEL_INFO (linux/if_bridge.h).

import { AF_BRIDGE, type IfIndex } from '../base/address.ts';
import { readI32, readU8, readU16 } from '../base/bytes.ts';
import { malformed, type SnoopyError } from '../base/errors.ts';
import { IFINFOMSG_SIZE, linkRequest, RTM_NEWLINK } from './link.ts';
import { Attributes, type Message, type Request } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const IFLA_AF_SPEC = 26;
/** In IFLA_AF_SPEC of an AF_BRIDGE message, once for each VLAN, or for each end of a range. */
const IFLA_BRIDGE_VLAN_INFO = 2;
/** Likewise, with attributes of its own. */
const IFLA_BRIDGE_VLAN_TUNNEL_INFO = 3;
const IFLA_BRIDGE_VLAN_TUNNEL_ID = 1;
const IFLA_BRIDGE_VLAN_TUNNEL_VID = 2;
const IFLA_BRIDGE_VLAN_TUNNEL_FLAGS = 3;
// Flags of struct bridge_vlan_info.
export const BRIDGE_VLAN_INFO_PVID = 1 << 1;
export const BRIDGE_VLAN_INFO_UNTAGGED = 1 << 2;
const BRIDGE_VLAN_INFO_RANGE_BEGIN = 1 << 3;
const BRIDGE_VLAN_INFO_RANGE_END = 1 << 4;
/** Of IFLA_EXT_MASK: VLANs, as ranges. */
const RTEXT_FILTER_BRVLAN_COMPRESSED = 1 << 2;

/** The VLANs of one port, or of a bridge itself, when `ifIndex` is the bridge's. */
export interface PortVlans {
  readonly ifIndex: IfIndex;
  /** 0: untagged frames have no VLAN. */
  readonly pvid: number;
  readonly ranges: readonly VlanRange[];
  /** The VNIs of the VLANs on a VXLAN port with many VNIs (`vlan_tunnel on`); none for other ports. */
  readonly vnis: readonly VniRange[];
}

export interface VlanRange {
  readonly start: number;
  /** Included. */
  readonly end: number;
  /** Leaves untagged. */
  readonly untagged: boolean;
}

/** VLANs from `start` to `end` (included); `vni` is that of the first, and counts up with them. */
export interface VniRange {
  readonly start: number;
  readonly end: number;
  readonly vni: number;
}

/** struct bridge_vlan_info: u16 flags, u16 vid. */
export function readVlanInfo(info: Uint8Array): { readonly flags: number; readonly vlan: number } {
  return { flags: readU16(info, 0), vlan: readU16(info, 2) };
}

/** undefined for other messages, and for ports without VLANs. */
export function decodePortVlans(message: Message): PortVlans | undefined {
  const { payload } = message;
  if (message.type !== RTM_NEWLINK || readU8(payload, 0) !== AF_BRIDGE) return undefined;
  const spec = new Attributes(payload, IFINFOMSG_SIZE).nested(IFLA_AF_SPEC);
  if (spec === undefined) return undefined;
  const ranges: VlanRange[] = [];
  let pvid = 0;
  let begun: number | undefined;
  for (const { type, payload: info } of spec) {
    if (type !== IFLA_BRIDGE_VLAN_INFO) continue;
    const { flags, vlan } = readVlanInfo(info);
    const untagged = (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0;
    if ((flags & BRIDGE_VLAN_INFO_PVID) !== 0) pvid = vlan;
    if ((flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) !== 0) {
      begun = vlan;
    } else if ((flags & BRIDGE_VLAN_INFO_RANGE_END) !== 0) {
      if (begun === undefined || begun > vlan) throw endOfNothing(vlan);
      ranges.push({ start: begun, end: vlan, untagged });
      begun = undefined;
    } else {
      ranges.push({ start: vlan, end: vlan, untagged });
    }
  }
  if (ranges.length === 0) return undefined;
  return { ifIndex: readI32(payload, 4) as IfIndex, pvid, ranges, vnis: decodeVnis(spec) };
}

function decodeVnis(spec: Attributes): VniRange[] {
  const ranges: VniRange[] = [];
  let begun: Omit<VniRange, 'end'> | undefined;
  for (const { type, payload } of spec) {
    if (type !== IFLA_BRIDGE_VLAN_TUNNEL_INFO) continue;
    const info = new Attributes(payload, 0);
    const vni = info.u32(IFLA_BRIDGE_VLAN_TUNNEL_ID) ?? 0;
    const vlan = info.u16(IFLA_BRIDGE_VLAN_TUNNEL_VID) ?? 0;
    const flags = info.u16(IFLA_BRIDGE_VLAN_TUNNEL_FLAGS) ?? 0;
    if ((flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) !== 0) {
      begun = { start: vlan, vni };
    } else if ((flags & BRIDGE_VLAN_INFO_RANGE_END) !== 0) {
      if (begun === undefined || begun.start > vlan) throw endOfNothing(vlan);
      ranges.push({ ...begun, end: vlan });
      begun = undefined;
    } else {
      ranges.push({ start: vlan, end: vlan, vni });
    }
  }
  return ranges;
}

function endOfNothing(vlan: number): SnoopyError {
  return malformed('netlink', 'decode the VLANs of a port', `a range ends at ${vlan} without a start`);
}

function portVlanDump(): Request {
  return linkRequest(AF_BRIDGE, RTEXT_FILTER_BRVLAN_COMPRESSED);
}

/** All ports with VLANs; empty when the kernel has no VLAN filtering. */
export function dumpPortVlans(socket: NetlinkSocket): PortVlans[] {
  return socket.dump(portVlanDump(), 'VLANs of bridge ports', decodePortVlans);
}

// The VLANs of one port of a bridge, or of the bridge itself, with their options: struct br_vlan_msg and BRIDGE_VLANDB_*
// (linux/if_bridge.h).

import { AF_BRIDGE, type IfIndex } from '../base/address.ts';
import { readU8, readU16, writeU8, writeU32 } from '../base/bytes.ts';
import { errnoOf } from '../base/errors.ts';
import { Attributes, type Message, PayloadWriter, type Request } from './message.ts';
import type { NetlinkSocket } from './socket.ts';
import {
  BRIDGE_VLAN_INFO_PVID,
  BRIDGE_VLAN_INFO_UNTAGGED,
  type PortVlans,
  readVlanInfo,
  type VlanRange,
} from './vlan.ts';

export const RTM_NEWVLAN = 112;
const RTM_GETVLAN = 114;
/** sizeof(struct br_vlan_msg): u8 family, u8 and u16 reserved, u32 ifindex. */
export const BR_VLAN_MSG_SIZE = 8;
/** In a request. */
const BRIDGE_VLANDB_DUMP_FLAGS = 1;
/** With statistics, which each VLAN has of its own. */
const BRIDGE_VLANDB_DUMPF_STATS = 1 << 0;
/** In a message once for each range of VLANs with the same options. */
const BRIDGE_VLANDB_ENTRY = 1;
// In an entry.
const BRIDGE_VLANDB_ENTRY_INFO = 1;
const BRIDGE_VLANDB_ENTRY_RANGE = 2;
const BRIDGE_VLANDB_ENTRY_NEIGH_SUPPRESS = 9;

/** The VLANs of a range and their options. */
export interface VlanOptions extends VlanRange {
  /** True when the first of them is the PVID. */
  readonly isPvid: boolean;
  /** Suppression of ARP and ND, for a port on which each VLAN has its own (IFLA_BRPORT_NEIGH_VLAN_SUPPRESS, Linux 6.5). */
  readonly neighSuppress: boolean;
}

/** Undefined for other messages. */
export function decodeVlanOptions(message: Message): VlanOptions[] | undefined {
  const { type, payload } = message;
  if (type !== RTM_NEWVLAN || readU8(payload, 0) !== AF_BRIDGE) return undefined;
  return [...new Attributes(payload, BR_VLAN_MSG_SIZE)].flatMap((entry) => {
    if (entry.type !== BRIDGE_VLANDB_ENTRY) return [];
    let flags = 0;
    let vlan: number | undefined;
    let end: number | undefined;
    let neighSuppress = false;
    for (const { type: option, payload: value } of new Attributes(entry.payload, 0)) {
      if (option === BRIDGE_VLANDB_ENTRY_INFO) ({ flags, vlan } = readVlanInfo(value));
      if (option === BRIDGE_VLANDB_ENTRY_RANGE) end = readU16(value, 0);
      if (option === BRIDGE_VLANDB_ENTRY_NEIGH_SUPPRESS) neighSuppress = readU8(value, 0) !== 0;
    }
    if (vlan === undefined) return [];
    return [
      {
        start: vlan,
        end: end ?? vlan,
        untagged: (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0,
        isPvid: (flags & BRIDGE_VLAN_INFO_PVID) !== 0,
        neighSuppress,
      },
    ];
  });
}

/** `eachVlan`: in an entry of its own, not in ranges. */
export function vlanOptionsDump(port: IfIndex, eachVlan = false): Request {
  const writer = new PayloadWriter(BR_VLAN_MSG_SIZE + 8);
  const bytes = writer.structure(BR_VLAN_MSG_SIZE);
  writeU8(bytes, 0, AF_BRIDGE);
  writeU32(bytes, 4, port);
  if (eachVlan) writer.u32(BRIDGE_VLANDB_DUMP_FLAGS, BRIDGE_VLANDB_DUMPF_STATS);
  return { type: RTM_GETVLAN, flags: 0, payload: writer.finish() };
}

/** The VLANs of a port or bridge with their options. Throws SnoopyError `netlink_failed`. */
export function dumpVlanOptions(socket: NetlinkSocket, port: IfIndex): VlanOptions[] {
  const dump = (eachVlan: boolean): VlanOptions[] =>
    socket.dump(vlanOptionsDump(port, eachVlan), 'options of VLANs', decodeVlanOptions).flat();
  const ranges = dump(false);
  // The kernel lets VLANs after the PVID join its range, and then leaves out where that ends (br_vlan_fill_vids).
  const pvid = ranges.find(({ isPvid }) => isPvid);
  const hasEnd = pvid === undefined || ranges.some(({ start }) => start === pvid.start + 1);
  return hasEnd ? ranges : dump(true);
}

/**
 * The VLANs of some ports, each asked for by itself. Not for tunnel ports: the answer has no VNIs. A port that is gone, or in no
 * bridge by now, has no VLANs. Throws SnoopyError `netlink_failed`.
 */
export function lookUpPortVlans(socket: NetlinkSocket, ports: readonly IfIndex[]): PortVlans[] {
  return ports.flatMap((ifIndex) => {
    const options = vlansOf(socket, ifIndex);
    if (options.length === 0) return [];
    const pvid = options.find(({ isPvid }) => isPvid)?.start ?? 0;
    return [{ ifIndex, pvid, ranges: joined(options), vnis: [] }];
  });
}

/** As dumpPortVlans has them: VLANs in sequence with the same tagging are one range, but the PVID is one of its own. */
function joined(options: readonly VlanOptions[]): VlanRange[] {
  const ranges: VlanRange[] = [];
  let last: VlanOptions | undefined;
  for (const next of options) {
    const { start, end, untagged, isPvid } = next;
    const before = ranges.at(-1);
    if (before && !isPvid && !last?.isPvid && before.end + 1 === start && before.untagged === untagged) {
      ranges[ranges.length - 1] = { ...before, end };
    } else {
      ranges.push({ start, end, untagged });
    }
    last = next;
  }
  return ranges;
}

function vlansOf(socket: NetlinkSocket, port: IfIndex): VlanOptions[] {
  try {
    return dumpVlanOptions(socket, port);
  } catch (thrown) {
    if (['ENODEV', 'EINVAL'].includes(errnoOf(thrown) ?? '')) return [];
    throw thrown;
  }
}

// Links: struct ifinfomsg and its attributes (linux/if_link.h).

import { AF_BRIDGE, AF_UNSPEC, type IfIndex, type Mac } from '../base/address.ts';
import { readI32, readU8, readU32, writeU8, writeU32 } from '../base/bytes.ts';
import { Attributes, type Message, PayloadWriter, type Request } from './message.ts';
import { lookUpAll, type NetlinkSocket } from './socket.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;

/** sizeof(struct ifinfomsg): u8 family, u8 padding, u16 type, s32 index, u32 flags, u32 change. */
export const IFINFOMSG_SIZE = 16;
const IFF_UP = 1 << 0;
const IFF_LOWER_UP = 1 << 16;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_EXT_MASK = 29;
const IFLA_LINK_NETNSID = 37;
// In IFLA_LINKINFO.
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
// In IFLA_INFO_DATA of a bridge.
const IFLA_BR_AGEING_TIME = 4;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_VLAN_PROTOCOL = 8;
const IFLA_BR_VLAN_DEFAULT_PVID = 39;
// In IFLA_INFO_DATA of a VLAN.
const IFLA_VLAN_ID = 1;
// In IFLA_INFO_DATA of a VXLAN.
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_COLLECT_METADATA = 25;
// In IFLA_INFO_SLAVE_DATA of a port of a bridge.
const IFLA_BRPORT_STATE = 1;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_NEIGH_SUPPRESS = 32;
const IFLA_BRPORT_ISOLATED = 33;
const IFLA_BRPORT_NEIGH_VLAN_SUPPRESS = 43;

/** Of IFLA_EXT_MASK: no counters, which are most of a message. */
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** The bridge's times are clock_t: USER_HZ is 100 on every architecture but alpha. */
export const CLOCK_TICK_MS = 10;

export const ETHERTYPE_VLAN = 0x8100;

export interface Link {
  readonly ifIndex: IfIndex;
  readonly name: string;
  /** IFLA_INFO_KIND such as `bridge`, `vxlan`, `veth`; undefined for a physical device. */
  readonly kind: string | undefined;
  /** IFLA_INFO_SLAVE_KIND: `bridge` for a port of a bridge. */
  readonly slaveKind: string | undefined;
  readonly master: IfIndex | undefined;
  /** IFLA_LINK: the device below a VLAN, the peer of a veth; undefined when it is in another namespace. */
  readonly link: IfIndex | undefined;
  /** Undefined for devices whose addresses are not Ethernet's. */
  readonly mac: Mac | undefined;
  /** ifi_flags, IFF_* */
  readonly flags: number;
  /** IFF_UP */
  readonly up: boolean;
  /** IFF_LOWER_UP: the link has a carrier. */
  readonly lowerUp: boolean;
  readonly mtu: number;
  /** Of kind `bridge`. */
  readonly bridge: BridgeAttributes | undefined;
  /** Of kind `vlan`. */
  readonly vlanId: number | undefined;
  /** Of kind `vxlan`. */
  readonly vxlan: VxlanAttributes | undefined;
  /** Of slave kind `bridge`. */
  readonly bridgePort: BridgePortAttributes | undefined;
}

/** IFLA_BR_* */
export interface BridgeAttributes {
  readonly vlanFiltering: boolean;
  /** 0: none, or a kernel without VLAN filtering. */
  readonly vlanDefaultPvid: number;
  /** Ethertype, 0x8100 or 0x88a8. */
  readonly vlanProtocol: number;
  readonly ageingTimeMs: number;
}

/** IFLA_VXLAN_* */
export interface VxlanAttributes {
  readonly vni: number;
  readonly learning: boolean;
  /** Collect metadata: one device for many VNIs. */
  readonly external: boolean;
}

/** IFLA_BRPORT_* */
export interface BridgePortAttributes {
  readonly learning: boolean;
  readonly neighSuppress: boolean;
  /** Suppression is set for each VLAN (Linux 6.5). */
  readonly neighVlanSuppress: boolean;
  readonly isolated: boolean;
  /** BR_STATE_*: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking. */
  readonly state: number;
}

/** undefined for messages other than RTM_NEWLINK and RTM_DELLINK of a device (AF_BRIDGE ones, for instance). */
export function decodeLink(message: Message): Link | undefined {
  if (message.type !== RTM_NEWLINK && message.type !== RTM_DELLINK) return undefined;
  const { payload } = message;
  if (readU8(payload, 0) === AF_BRIDGE) return undefined;
  const attributes = new Attributes(payload, IFINFOMSG_SIZE);
  const flags = readU32(payload, 8);
  const info = attributes.nested(IFLA_LINKINFO);
  const kind = info?.text(IFLA_INFO_KIND);
  const slaveKind = info?.text(IFLA_INFO_SLAVE_KIND);
  const data = info?.nested(IFLA_INFO_DATA);
  const slaveData = slaveKind === 'bridge' ? info?.nested(IFLA_INFO_SLAVE_DATA) : undefined;
  return {
    ifIndex: readI32(payload, 4) as IfIndex,
    name: attributes.text(IFLA_IFNAME) ?? '',
    kind,
    slaveKind,
    master: indexOf(attributes.u32(IFLA_MASTER)),
    link: attributes.has(IFLA_LINK_NETNSID) ? undefined : indexOf(attributes.u32(IFLA_LINK)),
    mac: attributes.mac(IFLA_ADDRESS),
    flags,
    up: (flags & IFF_UP) !== 0,
    lowerUp: (flags & IFF_LOWER_UP) !== 0,
    mtu: attributes.u32(IFLA_MTU) ?? 0,
    bridge: kind === 'bridge' && data !== undefined ? bridgeAttributes(data) : undefined,
    vlanId: kind === 'vlan' ? data?.u16(IFLA_VLAN_ID) : undefined,
    vxlan: kind === 'vxlan' && data !== undefined ? vxlanAttributes(data) : undefined,
    bridgePort: slaveData === undefined ? undefined : bridgePortAttributes(slaveData),
  };
}

/** An ifindex from an attribute, where 0 means none. */
function indexOf(value: number | undefined): IfIndex | undefined {
  return value === undefined || value === 0 ? undefined : (value as IfIndex);
}

function isSet(attributes: Attributes, type: number): boolean {
  return (attributes.u8(type) ?? 0) !== 0;
}

function bridgeAttributes(data: Attributes): BridgeAttributes {
  return {
    vlanFiltering: isSet(data, IFLA_BR_VLAN_FILTERING),
    vlanDefaultPvid: data.u16(IFLA_BR_VLAN_DEFAULT_PVID) ?? 0,
    vlanProtocol: data.be16(IFLA_BR_VLAN_PROTOCOL) ?? ETHERTYPE_VLAN,
    ageingTimeMs: (data.u32(IFLA_BR_AGEING_TIME) ?? 0) * CLOCK_TICK_MS,
  };
}

function vxlanAttributes(data: Attributes): VxlanAttributes {
  return {
    vni: data.u32(IFLA_VXLAN_ID) ?? 0,
    learning: isSet(data, IFLA_VXLAN_LEARNING),
    external: isSet(data, IFLA_VXLAN_COLLECT_METADATA),
  };
}

function bridgePortAttributes(data: Attributes): BridgePortAttributes {
  return {
    learning: isSet(data, IFLA_BRPORT_LEARNING),
    neighSuppress: isSet(data, IFLA_BRPORT_NEIGH_SUPPRESS),
    neighVlanSuppress: isSet(data, IFLA_BRPORT_NEIGH_VLAN_SUPPRESS),
    isolated: isSet(data, IFLA_BRPORT_ISOLATED),
    state: data.u8(IFLA_BRPORT_STATE) ?? 0,
  };
}

/** RTM_GETLINK with struct ifinfomsg of a family and IFLA_EXT_MASK; of one device, or as a dump of all. */
export function linkRequest(family: number, extMask: number, ifIndex = 0): Request {
  const writer = new PayloadWriter(IFINFOMSG_SIZE + 8);
  const header = writer.structure(IFINFOMSG_SIZE);
  writeU8(header, 0, family);
  writeU32(header, 4, ifIndex);
  writer.u32(IFLA_EXT_MASK, extMask);
  return { type: RTM_GETLINK, flags: 0, payload: writer.finish() };
}

export function linkDump(): Request {
  return linkRequest(AF_UNSPEC, RTEXT_FILTER_SKIP_STATS);
}

/** All links. */
export function dumpLinks(socket: NetlinkSocket): Link[] {
  return socket.dump(linkDump(), 'links', decodeLink);
}

/** These links, without those that do not exist. */
export function lookUpLinks(socket: NetlinkSocket, devices: readonly IfIndex[]): Link[] {
  const requests = devices.map((ifIndex) => ({
    ...linkRequest(AF_UNSPEC, RTEXT_FILTER_SKIP_STATS, ifIndex),
    answered: true,
  }));
  return lookUpAll(socket, requests, 'links', decodeLink, ['ENODEV']);
}

// The configuration resolved against the existing links: the ports and neighbor devices of each bridge.

import {
  AF_INET,
  AF_INET6,
  contains,
  decodeIp,
  encodeIp,
  familyOf,
  type IfIndex,
  type IpAddress,
  isLinkLocal,
  type Mac,
  type Prefix,
} from '../base/address.ts';
import type { Problem } from '../base/errors.ts';
import type { InterfaceAddress } from '../netlink/address.ts';
import { ETHERTYPE_VLAN, type Link } from '../netlink/link.ts';
import type { VlanRange } from '../netlink/vlan.ts';
import type { Desired, DesiredBridge } from './desired.ts';
import { matchesPort } from './glob.ts';
import type { Observed } from './observed.ts';

/** Kinds of links that give a node a second address on a bridge or VLAN device, such as an anycast gateway's. */
const STACKED_KINDS: ReadonlySet<string> = new Set(['macvlan', 'macvtap', 'ipvlan', 'ipvtap']);

/** Kinds of links that lead to other nodes: never learned from, even if the configuration includes them. */
const TUNNEL_KINDS: ReadonlySet<string> = new Set(['vxlan', 'geneve', 'gretap', 'ip6gretap', 'bareudp']);

/** A configured bridge that exists. */
export interface Bridge {
  readonly desired: DesiredBridge;
  readonly ifIndex: IfIndex;
  readonly vlanAware: boolean;
  /** The VLAN of the bridge's own untagged frames: its PVID; 0 on a plain bridge. */
  readonly ownVlan: number;
  /** After how long without a frame it forgets a MAC; 0: at once. */
  readonly ageingMs: number;
  /** The local ports that are learned from. */
  readonly ports: readonly Port[];
  /** The same, by ifindex. */
  readonly portsByIndex: ReadonlyMap<IfIndex, Port>;
  /** Ports to other nodes. */
  readonly tunnelPorts: ReadonlySet<IfIndex>;
  /** True when a tunnel port keeps ARP and ND messages to all hosts from the hosts here. */
  readonly suppresses: boolean;
  /** True when one of its ports is a bond. */
  readonly hasBond: boolean;
  /** The neighbor device of each VLAN, by VLAN ID. */
  readonly domains: ReadonlyMap<number, Domain>;
}

export interface Port {
  readonly ifIndex: IfIndex;
  readonly name: string;
  /** VLAN of untagged frames; 0: none. */
  readonly pvid: number;
  /** The VLANs of the port; none on a bridge that is not VLAN-aware. */
  readonly vlans: readonly VlanRange[];
}

/** One VLAN of a bridge and its neighbor device. */
export interface Domain {
  readonly vlan: number;
  readonly device: IfIndex;
  readonly deviceName: string;
  readonly mac: Mac | undefined;
  readonly addresses: readonly InterfaceAddress[];
  /**
   * Addresses that no host may have: the node's own, also those on devices stacked on this one, and the broadcast and
   * anycast addresses of their prefixes.
   */
  readonly reserved: ReadonlySet<IpAddress>;
}

export interface Topology {
  readonly bridges: readonly Bridge[];
  /** Interfaces that are in no bridge. */
  readonly freePorts: ReadonlySet<IfIndex>;
  /** Configured names that do not exist, or are no usable bridge. */
  readonly problems: readonly Problem[];
}

/** True for a port that leads to other nodes. */
export function isTunnel({ kind }: Pick<Link, 'kind'>): boolean {
  return kind !== undefined && TUNNEL_KINDS.has(kind);
}

/** True for a device that gives a node a second address on another one. */
export function isStacked({ kind }: Pick<Link, 'kind'>): boolean {
  return kind !== undefined && STACKED_KINDS.has(kind);
}

/** Resolves the configuration against the existing links. */
export function resolveTopology(desired: Desired, observed: Observed): Topology {
  const byName = new Map<string, Link>();
  const portsOf = new Map<IfIndex, Link[]>();
  const vlanDevicesOf = new Map<IfIndex, Link[]>();
  for (const link of observed.links.values()) {
    byName.set(link.name, link);
    if (link.master !== undefined && link.slaveKind === 'bridge') push(portsOf, link.master, link);
    if (link.kind === 'vlan' && link.link !== undefined) push(vlanDevicesOf, link.link, link);
  }
  const bridges: Bridge[] = [];
  const problems: Problem[] = [];
  for (const wanted of desired.bridges) {
    const link = byName.get(wanted.name);
    if (link === undefined) {
      if (wanted.required) problems.push(bridgeMissing(wanted.name));
    } else if (link.bridge === undefined) {
      problems.push(notABridge(link));
    } else if (hasOtherTags(link)) {
      problems.push(otherTags(link));
    } else {
      bridges.push(
        resolveBridge(
          wanted,
          link,
          portsOf.get(link.ifIndex) ?? [],
          vlanDevicesOf.get(link.ifIndex) ?? [],
          observed,
        ),
      );
    }
  }
  const links = [...observed.links.values()];
  const free = links.filter(({ master }) => master === undefined).map(({ ifIndex }) => ifIndex);
  return { bridges, freePorts: new Set(free), problems };
}

/** A neighbor device, and what it is the device of. */
export interface Place {
  readonly bridge: Bridge;
  readonly domain: Domain;
}

/** The neighbor devices of all bridges. */
export function placesByDevice({ bridges }: Pick<Topology, 'bridges'>): ReadonlyMap<IfIndex, Place> {
  return new Map(
    bridges.flatMap((bridge) =>
      [...bridge.domains.values()].map((domain) => [domain.device, { bridge, domain }] as const),
    ),
  );
}

function push<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

function bridgeMissing(name: string): Problem {
  return {
    code: 'bridge_missing',
    object: name,
    operation: `use bridge "${name}"`,
    cause: 'it does not exist',
    fix: 'create it, remove it from the configuration, or set "required: false"',
  };
}

function notABridge(link: Link): Problem {
  return {
    code: 'not_a_bridge',
    object: link.name,
    operation: `use bridge "${link.name}"`,
    cause: `it is no bridge, its kind is ${link.kind ?? 'physical'}`,
    fix: 'configure the bridge that it is a port of',
  };
}

/** Such a bridge forwards an 802.1Q tag as data of the guest, and a guest must not choose the VLAN it is learned in. */
export function hasOtherTags({ bridge }: Pick<Link, 'bridge'>): boolean {
  return bridge?.vlanFiltering === true && bridge.vlanProtocol !== ETHERTYPE_VLAN;
}

function otherTags({ name }: Link): Problem {
  return {
    code: 'unsupported',
    object: name,
    operation: `use bridge "${name}"`,
    cause: 'its vlan_protocol is not 802.1Q, so nothing is learned on it',
    fix: 'set vlan_protocol to 802.1Q, or remove the bridge from the configuration',
  };
}

function resolveBridge(
  wanted: DesiredBridge,
  link: Link,
  members: readonly Link[],
  vlanDevices: readonly Link[],
  observed: Observed,
): Bridge {
  const vlanAware = link.bridge?.vlanFiltering ?? false;
  const ports = members
    .filter((member) => !isTunnel(member) && matchesPort(member.name, wanted.ports))
    .map((member) => ({
      ifIndex: member.ifIndex,
      name: member.name,
      pvid: vlanAware ? (observed.portVlans.get(member.ifIndex)?.pvid ?? 0) : 0,
      vlans: vlanAware ? (observed.portVlans.get(member.ifIndex)?.ranges ?? []) : [],
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const tunnels = members.filter(isTunnel);
  const suppresses = tunnels.some(
    ({ bridgePort }) => bridgePort?.neighSuppress || bridgePort?.neighVlanSuppress,
  );
  const domains = new Map<number, Domain>();
  // The bridge itself is the neighbor device for its untagged frames: of everything on a plain bridge, and of the VLAN
  // that is its own PVID on a VLAN-aware one.
  const ownVlan = vlanAware ? (observed.portVlans.get(link.ifIndex)?.pvid ?? 0) : 0;
  domains.set(ownVlan, domainOf(ownVlan, link, observed));
  for (const device of vlanDevices) {
    if (device.vlanId !== undefined) domains.set(device.vlanId, domainOf(device.vlanId, device, observed));
  }
  const hasBond = members.some(({ kind }) => kind === 'bond');
  return {
    desired: wanted,
    ifIndex: link.ifIndex,
    vlanAware,
    ownVlan,
    ageingMs: link.bridge?.ageingTimeMs ?? 0,
    ports,
    portsByIndex: new Map(ports.map((port) => [port.ifIndex, port])),
    tunnelPorts: new Set(tunnels.map(({ ifIndex }) => ifIndex)),
    suppresses,
    hasBond,
    domains,
  };
}

/** True when a bridge may be part of an Ethernet segment (EVPN multihoming), which is on a bond. */
export function mayHaveSegments({ bridges }: Topology): boolean {
  return bridges.some(({ hasBond }) => hasBond);
}

function domainOf(vlan: number, device: Link, observed: Observed): Domain {
  const addresses = observed.addresses.filter((address) => address.ifIndex === device.ifIndex);
  const stacked = observed.addresses.filter(({ ifIndex }) => {
    const link = observed.links.get(ifIndex);
    return link?.link === device.ifIndex && isStacked(link);
  });
  return {
    vlan,
    device: device.ifIndex,
    deviceName: device.name,
    mac: device.mac,
    addresses,
    reserved: new Set([
      ...addresses.flatMap(({ ip, connected }) => [ip, ...sharedOf(connected)]),
      ...stacked.map(({ ip }) => ip),
    ]),
  };
}

/**
 * Addresses of a prefix that belong to no single host. IPv4: the all-zeroes and all-ones addresses (RFC 919), except in
 * a /31 and a /32 (RFC 3021). IPv6: the Subnet-Router anycast address, which all routers have (RFC 4291, 2.6.1), except
 * in a /127 and a /128 (RFC 6164).
 */
function sharedOf({ ip, length }: Prefix): IpAddress[] {
  const bytes = encodeIp(ip);
  if (length > bytes.length * 8 - 2) return [];
  if (familyOf(ip) === AF_INET6) return isLinkLocal(ip) ? [] : [ip];
  for (let bit = length; bit < 32; bit++) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  return [ip, decodeIp(bytes, 0, AF_INET)];
}

/** The local ports of a bridge that `ports` of its configuration leaves out. */
export function excludedPorts({ ifIndex, ports }: Bridge, { links }: Pick<Observed, 'links'>): Link[] {
  const known = new Set(ports.map((port) => port.ifIndex));
  return [...links.values()].filter(
    (link) =>
      link.master === ifIndex && link.slaveKind === 'bridge' && !isTunnel(link) && !known.has(link.ifIndex),
  );
}

/** The device's address in the subnet of a host; undefined when it has none there. */
export function ownAddressFor({ addresses }: Domain, ip: IpAddress): IpAddress | undefined {
  return addresses.find(({ connected }) => contains(connected, ip))?.ip;
}

/** True when a frame of this VLAN leaves the port with a tag. A plain bridge does not change tags. */
export function leavesTagged(bridge: Bridge, port: Port, vlan: number): boolean {
  if (!bridge.vlanAware) return vlan !== 0;
  return !port.vlans.some((range) => range.untagged && includes(range, vlan));
}

/** True when the bridge accepts frames of this VLAN from the port. A plain bridge accepts all. */
export function takesVlan(bridge: Bridge, port: Port, vlan: number): boolean {
  return !bridge.vlanAware || port.vlans.some((range) => includes(range, vlan));
}

function includes({ start, end }: VlanRange, vlan: number): boolean {
  return start <= vlan && vlan <= end;
}

/** The VLAN ID for one of the configuration, where 0 means the VLAN of the bridge itself. */
export function effectiveVlan(bridge: Bridge, vlan: number): number {
  return vlan === 0 ? bridge.ownVlan : vlan;
}

// The MACs whose forwarding a pass decides by: those of hosts, of what is provisioned, and of neighbors. Pure.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { ensure } from '../base/group.ts';
import type { ForwardingKey } from '../netlink/forwarding-table.ts';
import { isRemote } from './neighbor-entry.ts';
import type { ObservedHosts } from './observed.ts';
import { type Bridge, effectiveVlan, placesByDevice, type Topology } from './topology.ts';

/** What has a MAC: a binding or a static entry, a hint, or a neighbor. */
type MacSource = 'host' | 'hint' | 'neighbor';

type KnownHosts = Pick<ObservedHosts, 'bindings' | 'hints' | 'seenHints' | 'neighbors'>;

/**
 * Visits every MAC that a decision, a probe or an announcement may ask `Forwarding.locate` for, with the address that it is
 * about. One may be visited many times.
 */
export function eachMac(
  topology: Topology,
  { bindings, hints, seenHints, neighbors }: KnownHosts,
  visit: (bridge: Bridge, vlan: number, ip: IpAddress, mac: Mac, source: MacSource) => void,
): void {
  const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  for (const { bridge: ifIndex, vlan, ip, mac, owner } of bindings) {
    const bridge = bridges.get(ifIndex);
    if (bridge === undefined) continue;
    visit(bridge, vlan, ip, mac, 'host');
    if (owner !== null) visit(bridge, vlan, ip, owner.mac, 'host');
  }
  for (const list of [hints, seenHints]) {
    for (const { bridge: ifIndex, vlan, ip, mac } of list) {
      const bridge = bridges.get(ifIndex);
      if (bridge !== undefined) visit(bridge, vlan, ip, mac, 'hint');
    }
  }
  for (const bridge of topology.bridges) {
    for (const { vlan, ip, macs } of bridge.desired.statics) {
      for (const mac of macs) visit(bridge, effectiveVlan(bridge, vlan), ip, mac, 'host');
    }
  }
  const places = placesByDevice(topology);
  for (const entry of neighbors) {
    const place = places.get(entry.ifIndex);
    // Where another node's host is matters when a binding or a hint has its MAC.
    if (place === undefined || entry.mac === undefined || isRemote(entry)) continue;
    visit(place.bridge, place.domain.vlan, entry.ip, entry.mac, 'neighbor');
  }
}

/** What to look up in the FDB of each bridge. */
export function knownMacs(
  topology: Topology,
  hosts: KnownHosts,
): ReadonlyMap<IfIndex, Iterable<ForwardingKey>> {
  const found = new Map<IfIndex, ForwardingKey[]>();
  eachMac(topology, hosts, (bridge, vlan, _, mac) => {
    // A bridge without VLAN filtering forwards by MAC alone.
    ensure(found, bridge.ifIndex, () => []).push({ vlan: bridge.vlanAware ? vlan : 0, mac });
  });
  return found;
}

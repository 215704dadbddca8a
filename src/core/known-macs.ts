// The MACs whose forwarding a pass decides by: those of hosts, of what is provisioned, and of neighbors. Pure.

import type { IfIndex, Mac } from '../base/address.ts';
import { ensure } from '../base/group.ts';
import type { ForwardingKey } from '../netlink/forwarding-table.ts';
import { isRemote } from './neighbor-entry.ts';
import type { ObservedHosts } from './observed.ts';
import { type Bridge, effectiveVlan, type Topology } from './topology.ts';

/**
 * What to look up in the FDB of each bridge. A MAC may be in it many times. Every MAC that a decision, a probe or an
 * announcement asks `Forwarding.locate` for must be among them.
 */
export function knownMacs(
  topology: Topology,
  {
    bindings,
    hints,
    seenHints,
    neighbors,
  }: Pick<ObservedHosts, 'bindings' | 'hints' | 'seenHints' | 'neighbors'>,
): ReadonlyMap<IfIndex, Iterable<ForwardingKey>> {
  const found = new Map<IfIndex, ForwardingKey[]>();
  const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  const add = (bridge: Bridge, vlan: number, mac: Mac): void => {
    // A bridge without VLAN filtering forwards by MAC alone.
    ensure(found, bridge.ifIndex, () => []).push({ vlan: bridge.vlanAware ? vlan : 0, mac });
  };
  for (const binding of bindings) {
    const bridge = bridges.get(binding.bridge);
    if (bridge === undefined) continue;
    add(bridge, binding.vlan, binding.mac);
    if (binding.owner !== null) add(bridge, binding.vlan, binding.owner.mac);
  }
  for (const hint of [...hints, ...seenHints]) {
    const bridge = bridges.get(hint.bridge);
    if (bridge !== undefined) add(bridge, hint.vlan, hint.mac);
  }
  for (const bridge of topology.bridges) {
    for (const { vlan, macs } of bridge.desired.statics) {
      for (const mac of macs) add(bridge, effectiveVlan(bridge, vlan), mac);
    }
  }
  const domains = new Map(
    topology.bridges.flatMap((bridge) =>
      [...bridge.domains.values()].map(({ device, vlan }) => [device, { bridge, vlan }] as const),
    ),
  );
  for (const entry of neighbors) {
    const domain = domains.get(entry.ifIndex);
    // Where another node's host is matters when a binding or a hint has its MAC.
    if (domain === undefined || entry.mac === undefined || isRemote(entry)) continue;
    add(domain.bridge, domain.vlan, entry.mac);
  }
  return found;
}

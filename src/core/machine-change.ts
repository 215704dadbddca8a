// What another look at the machine has found changed, and so which hosts it concerns. Pure.

import type { IfIndex } from '../base/address.ts';
import { isEqual } from '../base/equal.ts';
import type { BindingKey } from '../datapath/records/binding-key.ts';
import type { KnownMachine } from './link-change.ts';
import type { Observed } from './observed.ts';
import type { Bridge, Domain } from './topology.ts';
import type { Watchlist } from './watchlist.ts';

/** What concerns hosts. */
export interface MachineChange {
  /** The bridges that are not as they were, apart from their ports. */
  readonly bridges: readonly IfIndex[];
  /** The devices that are new, gone or not as they were, as links or as ports. */
  readonly ports: readonly IfIndex[];
}

/**
 * What has changed; null when other bridges are served, or the same ones have other settings or neighbor devices: that may
 * concern hosts that no pass has seen.
 */
export function machineChange(before: KnownMachine, after: KnownMachine): MachineChange | null {
  if (!isEqual(before.desired.bridges, after.desired.bridges)) return null;
  if (!isEqual(before.topology.problems, after.topology.problems)) return null;
  const known = new Map(before.topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  if (known.size !== after.topology.bridges.length) return null;
  const bridges: IfIndex[] = [];
  const ports = new Set(changedLinks(before.observed.links, after.observed.links));
  for (const now of after.topology.bridges) {
    const then = known.get(now.ifIndex);
    if (then === undefined || !hasSameDevices(then, now)) return null;
    if (!isEqual(withoutPorts(then), withoutPorts(now))) bridges.push(now.ifIndex);
    // A port that joins or leaves a bridge has changed as a link. One that stays can be in other VLANs, or be excluded by its new name.
    for (const port of new Set([...then.portsByIndex.keys(), ...now.portsByIndex.keys()])) {
      if (![before, after].every(({ observed }) => observed.links.get(port)?.master === now.ifIndex))
        continue;
      const [was, is] = [then.portsByIndex.get(port), now.portsByIndex.get(port)];
      if (was === undefined || is === undefined) bridges.push(now.ifIndex);
      else if (!isEqual(was, is)) ports.add(port);
    }
  }
  return { bridges: [...new Set(bridges)], ports: [...ports] };
}

/** The addresses of a watchlist that the change concerns. */
export function addressesOf(
  { bridges, ports }: MachineChange,
  watchlist: Pick<Watchlist, 'addressesIn' | 'hostsOn'>,
): BindingKey[] {
  return [...watchlist.addressesIn(bridges), ...watchlist.hostsOn(ports)];
}

function changedLinks(before: Observed['links'], after: Observed['links']): IfIndex[] {
  const gone = [...before.keys()].filter((ifIndex) => !after.has(ifIndex));
  const changed = [...after].filter(([ifIndex, now]) => !isEqual(before.get(ifIndex), now));
  return [...gone, ...changed.map(([ifIndex]) => ifIndex)];
}

function hasSameDevices(before: Bridge, after: Bridge): boolean {
  const devicesOf = ({ vlanAware, ownVlan, domains }: Bridge): unknown => [
    vlanAware,
    ownVlan,
    new Map([...domains.values()].map(({ vlan, device }) => [vlan, device])),
  ];
  return isEqual(devicesOf(before), devicesOf(after));
}

/** What decisions about hosts depend on. The MAC of a bridge can change with every port that comes, and no decision depends on it. */
function withoutPorts({ ports, portsByIndex, domains, ...bridge }: Bridge): unknown {
  const settled = ({ mac, addresses, ...domain }: Domain): unknown => ({
    ...domain,
    hasMac: mac !== undefined,
    addresses: addresses.map(({ flags, ...address }) => address),
  });
  return { ...bridge, domains: [...domains.values()].map(settled) };
}

// What another look at the machine has found changed, and so which hosts it concerns. Pure.

import { isDeepStrictEqual } from 'node:util';
import type { IfIndex } from '../base/address.ts';
import { isSame } from './link-change.ts';
import type { Observed } from './observed.ts';
import type { Bridge, Port, Topology } from './topology.ts';

/** A machine as far as decisions about hosts depend on it. */
export interface LookedAt {
  readonly observed: Pick<Observed, 'links'>;
  readonly topology: Pick<Topology, 'bridges'>;
}

/** What concerns hosts. */
export interface MachineChange {
  /** The bridges that are otherwise, apart from their ports. */
  readonly bridges: readonly IfIndex[];
  /** The devices that are otherwise, new or gone, as links or as ports. */
  readonly ports: readonly IfIndex[];
}

/**
 * What has changed; null when other bridges are served, or the same ones have other neighbor devices: that may concern hosts
 * that no pass has seen.
 */
export function machineChange(before: LookedAt, after: LookedAt): MachineChange | null {
  const known = new Map(before.topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  if (known.size !== after.topology.bridges.length) return null;
  const bridges: IfIndex[] = [];
  const ports = new Set(changedLinks(before.observed.links, after.observed.links));
  for (const now of after.topology.bridges) {
    const then = known.get(now.ifIndex);
    if (then === undefined || !hasSameDevices(then, now)) return null;
    const isOther = !isDeepStrictEqual(withoutPorts(then), withoutPorts(now));
    if (isOther || takesOthers(before, after, then, now)) bridges.push(now.ifIndex);
    for (const port of changedPorts(then, now)) ports.add(port);
  }
  return { bridges, ports: [...ports] };
}

/** True when the configuration takes a port in, or leaves it out, that has been in the bridge all the time: its name is another one. */
function takesOthers(before: LookedAt, after: LookedAt, then: Bridge, now: Bridge): boolean {
  const masterIn = ({ observed }: LookedAt, ifIndex: IfIndex) => observed.links.get(ifIndex)?.master;
  const isOut = (ifIndex: IfIndex, { portsByIndex }: Bridge): boolean =>
    !portsByIndex.has(ifIndex) && masterIn(before, ifIndex) === masterIn(after, ifIndex);
  return (
    now.ports.some(({ ifIndex }) => isOut(ifIndex, then)) ||
    then.ports.some(({ ifIndex }) => isOut(ifIndex, now))
  );
}

function changedLinks(before: Observed['links'], after: Observed['links']): IfIndex[] {
  const changed = [...before.keys()].filter((ifIndex) => !after.has(ifIndex));
  for (const [ifIndex, now] of after) {
    const then = before.get(ifIndex);
    if (then === undefined || !isSame(then, now)) changed.push(ifIndex);
  }
  return changed;
}

/** The ports of which the bridge takes other VLANs. One that has come or gone has changed as a link. */
function changedPorts(before: Bridge, { ports }: Bridge): IfIndex[] {
  const isOther = (port: Port): boolean => {
    const then = before.portsByIndex.get(port.ifIndex);
    return then !== undefined && !isDeepStrictEqual(then, port);
  };
  return ports.filter(isOther).map(({ ifIndex }) => ifIndex);
}

function hasSameDevices(before: Bridge, after: Bridge): boolean {
  const devicesOf = ({ domains }: Bridge): [number, IfIndex][] =>
    [...domains.values()].map(({ vlan, device }) => [vlan, device]);
  return (
    before.vlanAware === after.vlanAware &&
    isDeepStrictEqual(new Map(devicesOf(before)), new Map(devicesOf(after)))
  );
}

function withoutPorts({ ports, portsByIndex, ...bridge }: Bridge): Omit<Bridge, 'ports' | 'portsByIndex'> {
  return bridge;
}

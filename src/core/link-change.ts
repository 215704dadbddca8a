// What a change of a link means for the bridges. Pure.

import type { IfIndex } from '../base/address.ts';
import { isEqual } from '../base/equal.ts';
import type { Link } from '../netlink/link.ts';
import type { Desired } from './desired.ts';
import type { Observed } from './observed.ts';
import { isStacked, isTunnel, type Topology } from './topology.ts';

/** The part of a node that a change of one link concerns. */
export type Extent = 'nothing' | 'port' | 'machine';

/** What an earlier pass has found. */
export interface KnownMachine {
  readonly observed: Pick<Observed, 'links'>;
  readonly desired: Pick<Desired, 'bridges'>;
  readonly topology: Pick<Topology, 'bridges' | 'problems'>;
}

/** What a link concerns that is now like this; `now` is undefined for one that is gone. */
export function extentOfLink(machine: KnownMachine, ifIndex: IfIndex, now: Link | undefined): Extent {
  const before = machine.observed.links.get(ifIndex);
  if (before !== undefined && now !== undefined) {
    if (isEqual(before, now)) return 'nothing';
    // The configuration may take a port in by its new name or leave it out, without any change of what the bridge has learned.
    if (before.name !== now.name && isServed(machine, before.master)) return 'machine';
  }
  const states = [before, now].filter((link) => link !== undefined);
  const isMore = (link: Link): boolean => isStructural(machine, link) || isNamed(machine, link);
  return states.some(isMore) ? 'machine' : 'port';
}

/** True for what the configuration takes for a bridge. */
function isNamed({ desired }: KnownMachine, link: Link): boolean {
  return desired.bridges.some(({ name }) => name === link.name);
}

/** True for a known device of which more than itself depends. An unknown one is notified of as a link first. */
export function isMoreThanPort(machine: KnownMachine, ifIndex: IfIndex): boolean {
  const link = machine.observed.links.get(ifIndex);
  return link !== undefined && isStructural(machine, link);
}

/** True for a device whose addresses concern hosts: a neighbor device, and what is stacked on one. */
export function hasOwnAddresses(machine: KnownMachine, ifIndex: IfIndex): boolean {
  const link = machine.observed.links.get(ifIndex);
  return isNeighborDevice(machine, ifIndex) || (link !== undefined && isStackedOnOne(machine, link));
}

/**
 * True for a link that hosts, or ports other than itself, depend on: a bridge that is served or may be from now on, with what has
 * addresses in its VLANs and a bond (of EVPN multihoming) as its port; a VRF, a tunnel port. Not the bridge that a firewall or
 * containers have for themselves.
 */
function isStructural(machine: KnownMachine, link: Link): boolean {
  const { kind, link: below, master, slaveKind } = link;
  if (isTunnel(link) || kind === 'vrf') return true;
  if (link.bridge !== undefined) return isServed(machine, link.ifIndex) || mayBeServed(machine, link.ifIndex);
  const upper = slaveKind === 'bridge' ? master : undefined;
  return (
    mayBeServed(machine, upper) ||
    (kind === 'bond' && isServed(machine, upper)) ||
    (kind === 'vlan' && isServed(machine, below)) ||
    isStackedOnOne(machine, link)
  );
}

function isServed({ topology }: KnownMachine, bridge: IfIndex | undefined): boolean {
  return topology.bridges.some(({ ifIndex }) => ifIndex === bridge);
}

/** True for a bridge that is not served, and may be when it or a port of it changes: it has a tunnel port (findHostBridges). */
function mayBeServed(machine: KnownMachine, bridge: IfIndex | undefined): boolean {
  if (bridge === undefined || isServed(machine, bridge)) return false;
  return [...machine.observed.links.values()].some((link) => link.master === bridge && isTunnel(link));
}

/** True for a served bridge, and for a device in a VLAN of one. */
function isNeighborDevice({ topology }: KnownMachine, ifIndex: IfIndex | undefined): boolean {
  return topology.bridges.some(({ domains }) =>
    [...domains.values()].some(({ device }) => device === ifIndex),
  );
}

/** True for what gives the node a second address on a neighbor device. */
function isStackedOnOne(machine: KnownMachine, link: Link): boolean {
  return isStacked(link) && isNeighborDevice(machine, link.link);
}

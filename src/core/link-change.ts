// What a change of a link means for the bridges. Pure.

import type { IfIndex } from '../base/address.ts';
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
  readonly topology: Pick<Topology, 'bridges'>;
}

/** What a link concerns that is now like this; `now` is undefined for one that is gone. */
export function extentOfLink(machine: KnownMachine, ifIndex: IfIndex, now: Link | undefined): Extent {
  const before = machine.observed.links.get(ifIndex);
  if (before !== undefined && now !== undefined) {
    if (isSame(before, now)) return 'nothing';
    // The configuration may take another name in or leave it out, without any change of what the bridge has learned.
    if (before.name !== now.name) return 'machine';
  }
  const states = [before, now].filter((link) => link !== undefined);
  const isMore = (link: Link): boolean =>
    isStructural(link) || isNamed(machine, link) || mayBeginToServe(machine, link);
  return states.some(isMore) ? 'machine' : 'port';
}

/** True for what the configuration takes for a bridge. */
function isNamed({ desired }: KnownMachine, link: Link): boolean {
  return desired.bridges.some(({ name }) => name === link.name);
}

/** True for a port of a bridge that is not served, and may be from now on: it has a tunnel port (findHostBridges). */
function mayBeginToServe({ observed, topology }: KnownMachine, { slaveKind, master }: Link): boolean {
  if (slaveKind !== 'bridge' || topology.bridges.some(({ ifIndex }) => ifIndex === master)) return false;
  return [...observed.links.values()].some((link) => link.master === master && isTunnel(link));
}

/** True for a known device of which more than itself depends. An unknown one is notified of as a link first. */
export function isMoreThanPort({ observed }: KnownMachine, ifIndex: IfIndex): boolean {
  const link = observed.links.get(ifIndex);
  return link !== undefined && isStructural(link);
}

/**
 * True for a link that other ports and hosts depend on: a bridge and the VRF that it is in, a tunnel port, a bond (of EVPN
 * multihoming) as a port, and what has addresses in the bridge's VLANs.
 */
function isStructural(link: Link): boolean {
  return (
    link.bridge !== undefined ||
    link.kind === 'vlan' ||
    link.kind === 'vrf' ||
    (link.kind === 'bond' && link.slaveKind === 'bridge') ||
    isTunnel(link) ||
    isStacked(link)
  );
}

function isSame(before: Link, now: Link): boolean {
  return JSON.stringify(before) === JSON.stringify(now);
}

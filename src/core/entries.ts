// The entries of the configuration and the bridges of a node: which entry serves which bridge. Pure.

import type { IfIndex } from '../base/address.ts';
import { type Problem, SnoopyError } from '../base/errors.ts';
import { groupBy } from '../base/group.ts';
import type { Link } from '../netlink/link.ts';
import type { BridgeEntry, Configuration, Desired } from './desired.ts';
import { escapeGlob, isGlob, matchesGlob } from './glob.ts';
import { hasOtherTags, isTunnel } from './topology.ts';

type Links = ReadonlyMap<IfIndex, Link>;

/** What the configuration desires of a node. */
export interface Resolved {
  readonly desired: Desired;
  /** Selected bridges that no entry serves. */
  readonly problems: readonly Problem[];
}

/**
 * Resolves globs against the existing links. A glob serves every bridge of such a name that has a tunnel port and may have
 * hosts, and keeps serving one that earlier runs served (`before`): a network that is reloaded takes the ports out of its
 * bridge for a moment, and its hosts must not be forgotten. An exact name goes before a glob, an earlier glob before a later
 * one. `selected` are the bridges of `--bridge`; none: all.
 */
export function resolveEntries(
  { entries, ...shared }: Configuration,
  links: Links,
  before: ReadonlySet<IfIndex>,
  selected: readonly string[] = [],
): Resolved {
  const names = [
    ...findHostBridges(links).map(({ bridge }) => bridge.name),
    // Another kind of device may have the index of a bridge that is gone.
    ...[...before].flatMap((ifIndex) => {
      const link = links.get(ifIndex);
      return link?.bridge === undefined ? [] : [link.name];
    }),
  ];
  const namesOf = namesByEntry(entries, [...new Set(names)].sort());
  const served = entries.flatMap((entry) => {
    const { isGlob, ...settings } = entry;
    return isGlob ? (namesOf.get(entry) ?? []).map((name) => ({ ...settings, name })) : [settings];
  });
  if (selected.length === 0) return { desired: { ...shared, bridges: served }, problems: [] };
  const bridges = served.filter(({ name }) => selected.includes(name));
  const found = new Set(bridges.map(({ name }) => name));
  const problems = selected.filter((name) => !found.has(name)).map(notServed);
  return { desired: { ...shared, bridges }, problems };
}

/** The names that each entry serves, of these; those that none serves have the key undefined. */
export function namesByEntry(
  entries: readonly BridgeEntry[],
  names: readonly string[],
): Map<BridgeEntry | undefined, string[]> {
  return groupBy(names, entryFinder(entries));
}

/** Finds the entry for the name of a bridge: the one of this name, else the first glob that matches. */
function entryFinder(entries: readonly BridgeEntry[]): (name: string) => BridgeEntry | undefined {
  const exact = new Map(entries.filter(({ isGlob }) => !isGlob).map((entry) => [entry.name, entry]));
  const globs = entries.filter(({ isGlob }) => isGlob);
  return (name) => exact.get(name) ?? globs.find((glob) => matchesGlob(name, glob.name));
}

function notServed(name: string): Problem {
  return {
    code: 'bridge_missing',
    object: name,
    operation: `use bridge "${name}"`,
    cause: 'only a glob of the configuration matches it, and there is no such bridge with a tunnel port',
    fix: isGlob(name)
      ? 'give the name of a bridge, not a glob'
      : 'create it, or name it in the configuration',
  };
}

/** Throws SnoopyError `usage` for a selected bridge that no entry can serve. */
export function checkSelection({ entries }: Configuration, selected: readonly string[]): void {
  const entryOf = entryFinder(entries);
  const unknown = selected.find((name) => entryOf(name) === undefined);
  if (unknown === undefined) return;
  const known = entries.map(({ name }) => name).join(', ');
  throw new SnoopyError({
    code: 'usage',
    object: unknown,
    operation: `select bridge "${unknown}"`,
    cause: 'it is not in the configuration',
    fix: known === '' ? 'add it' : `add it, or select one of ${known}`,
  });
}

/** A bridge with a tunnel port. */
export interface TunnelBridge {
  readonly bridge: Link;
  readonly tunnels: readonly Link[];
  /** Its other ports. */
  readonly ports: readonly Link[];
}

/** All bridges with a tunnel port, by name, without those whose VLAN tags are not 802.1Q: nothing is learned there. */
export function findTunnelBridges(links: Links): TunnelBridge[] {
  const membersOf = new Map<IfIndex, Link[]>();
  for (const link of links.values()) {
    if (link.master === undefined || link.slaveKind !== 'bridge') continue;
    const members = membersOf.get(link.master);
    if (members === undefined) membersOf.set(link.master, [link]);
    else members.push(link);
  }
  return [...membersOf]
    .flatMap(([ifIndex, members]): TunnelBridge[] => {
      const bridge = links.get(ifIndex);
      const tunnels = members.filter(isTunnel);
      if (bridge?.bridge === undefined || hasOtherTags(bridge) || tunnels.length === 0) return [];
      return [{ bridge, tunnels, ports: members.filter((member) => !isTunnel(member)) }];
    })
    .sort((a, b) => (a.bridge.name < b.bridge.name ? -1 : 1));
}

/**
 * The bridges with a tunnel port that may have hosts. A bridge in a VRF with no port but the tunnel's is usually that of
 * an L3 VNI, which routes between subnets.
 */
export function findHostBridges(links: Links): TunnelBridge[] {
  const isInVrf = ({ master }: Link): boolean => master !== undefined && links.get(master)?.kind === 'vrf';
  return findTunnelBridges(links).filter(({ bridge, ports }) => ports.length > 0 || !isInVrf(bridge));
}

/** The names of the bridges that may have hosts, and that no entry serves. */
export function findUnnamed({ entries }: Configuration, links: Links): string[] {
  const entryOf = entryFinder(entries);
  return findHostBridges(links)
    .map(({ bridge }) => bridge.name)
    .filter((name) => entryOf(name) === undefined);
}

/** The line of the configuration that names this bridge. */
export function entryLine(name: string): string {
  const text = isGlob(name) ? escapeGlob(name) : name;
  return `- name: ${isPlainInYaml(text) ? text : JSON.stringify(text)}`;
}

/** True for a name that YAML 1.1 and 1.2 read as a text, and not as a number, a boolean or null. */
function isPlainInYaml(name: string): boolean {
  return /^[a-z][\w.-]*$/i.test(name) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(name);
}

// The kernel -> Observed. Reads only.

import { AF_INET, AF_INET6, type IfIndex } from '../base/address.ts';
import { errnoOf } from '../base/errors.ts';
import { mapPairs } from '../base/pairs.ts';
import type { Runtime } from '../core/desired.ts';
import type { Focus } from '../core/focus.ts';
import { knownMacs } from '../core/known-macs.ts';
import {
  type Attachment,
  NOT_ATTACHED,
  type Observed,
  type ObservedDatapath,
  type ObservedHosts,
} from '../core/observed.ts';
import type { Counters } from '../core/report.ts';
import type { Topology } from '../core/topology.ts';
import {
  filterPlace,
  findStrays,
  isOurFilter,
  kernelHasTcx,
  recordsOwner,
  tcxDevices,
  tcxLinks,
} from '../datapath/attachment.ts';
import { readBinding, readBindings } from '../datapath/migrate.ts';
import type { Pins } from '../datapath/pins.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { type CounterName, FIRST_REASON } from '../datapath/records/counters.ts';
import type { Rejection } from '../datapath/records/rejection.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';
import { COUNTERS, SNOOPY_SEEN_SLOTS } from '../generated/layouts.ts';
import { dumpAddresses } from '../netlink/address.ts';
import { lookUpForwarding, readForwarding } from '../netlink/fdb.ts';
import { type ForwardingKey, ForwardingTable } from '../netlink/forwarding-table.ts';
import { dumpLinks, type Link, lookUpLinks } from '../netlink/link.ts';
import { dumpNeighbors, lookUpNeighbors } from '../netlink/neighbor.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { countFilters, dumpQdiscs, filterOf, getFilter, lookUpQdiscs, type Qdisc } from '../netlink/tc.ts';
import { dumpPortVlans, type PortVlans } from '../netlink/vlan.ts';
import { lookUpPortVlans } from '../netlink/vlan-options.ts';
import { isBpffs } from './pin-directory.ts';

/** On which devices to look for programs of ours whose pins are out of sight: a call for each device. */
export type StrayScope = 'none' | 'ports' | 'all';

function devicesOf(links: ReadonlyMap<IfIndex, Link>, scope: StrayScope): readonly IfIndex[] {
  if (scope === 'none') return [];
  const all = [...links.values()];
  return (scope === 'all' ? all : all.filter(({ slaveKind }) => slaveKind === 'bridge')).map(
    ({ ifIndex }) => ifIndex,
  );
}

/** All interfaces. Throws SnoopyError `netlink_failed`. */
export function observeLinks(netlink: NetlinkSocket): Map<IfIndex, Link> {
  return new Map(dumpLinks(netlink).map(byIfIndex));
}

/** Interfaces, pins and attachments. */
export function observe(
  netlink: NetlinkSocket,
  runtime: Runtime,
  pins: Pins,
  strays: StrayScope = 'none',
): Observed {
  const links = observeLinks(netlink);
  const hasTcx = kernelHasTcx([...links.keys()][0]);
  const wantsIngress = runtime.attach === 'auto' && hasTcx === false;
  const attachments = observeAttachments(netlink, pins, {
    qdiscs: dumpQdiscs(netlink),
    linked: tcxDevices(pins.directory),
    searched: devicesOf(links, strays),
    wantsIngress,
  });
  return {
    links,
    portVlans: observePortVlans(netlink, links),
    addresses: dumpAddresses(netlink),
    bpffsMounted: isBpffs(runtime.bpffs),
    datapath: observeDatapath(pins),
    attachments,
    hasTcx: hasTcx ?? !hasFilters(attachments),
  };
}

/**
 * What was observed before, with these ports as they are now: their links, VLANs and attachments, and their policies. Throws
 * SnoopyError `netlink_failed` or `map_failed`.
 */
export function observePorts(
  netlink: NetlinkSocket,
  runtime: Runtime,
  pins: Pins,
  before: Observed,
  devices: readonly IfIndex[],
): Observed {
  const links = replaced(before.links, devices, lookUpLinks(netlink, devices).map(byIfIndex));
  const attachments = observeAttachments(netlink, pins, {
    qdiscs: lookUpQdiscs(netlink, devices),
    linked: devices,
    searched: [],
    wantsIngress: runtime.attach === 'auto' && !before.hasTcx,
  });
  const policies = pins.tables.ports?.entriesOf(devices) ?? [];
  const ports = replaced(before.datapath.ports, devices, policies);
  const aware = devices.filter((device) => isInVlanAware(links, links.get(device)));
  return {
    ...before,
    links,
    portVlans: replaced(before.portVlans, devices, lookUpPortVlans(netlink, aware).map(byIfIndex)),
    datapath: { ...before.datapath, ports },
    attachments: replaced(before.attachments, devices, attachments),
  };
}

function byIfIndex<Item extends { readonly ifIndex: IfIndex }>(item: Item): [IfIndex, Item] {
  return [item.ifIndex, item];
}

/** A map with these entries in place of those of the devices. */
function replaced<Value>(
  before: ReadonlyMap<IfIndex, Value>,
  devices: readonly IfIndex[],
  entries: Iterable<readonly [IfIndex, Value]>,
): Map<IfIndex, Value> {
  const after = new Map(before);
  for (const device of devices) after.delete(device);
  for (const [device, value] of entries) after.set(device, value);
  return after;
}

/** The VLANs of all bridges and ports; none where no bridge filters VLANs. */
function observePortVlans(
  netlink: NetlinkSocket,
  links: ReadonlyMap<IfIndex, Link>,
): Map<IfIndex, PortVlans> {
  const isAware = [...links.values()].some(({ bridge }) => bridge?.vlanFiltering);
  return new Map(isAware ? dumpPortVlans(netlink).map(byIfIndex) : []);
}

/** True for a bridge that filters VLANs, and for a port of one. */
function isInVlanAware(links: ReadonlyMap<IfIndex, Link>, link: Link | undefined): boolean {
  const upper = link?.master === undefined ? undefined : links.get(link.master);
  return link?.bridge?.vlanFiltering === true || upper?.bridge?.vlanFiltering === true;
}

/** Whether earlier runs attached filters: what a plan assumes that may not query the kernel. */
function hasFilters(attachments: ReadonlyMap<IfIndex, Attachment>): boolean {
  return [...attachments.values()].some(({ filterProgramId }) => filterProgramId !== null);
}

/** The program and what its maps have, without the hosts. Throws SnoopyError `map_failed`. */
export function observeDatapath({ tables, program, loadReason }: Pins): ObservedDatapath {
  return {
    loadReason,
    programId: program?.id ?? null,
    ports: new Map(tables.ports?.entries()),
    prefixes: tables.prefixes?.values() ?? [],
    statics: tables.statics?.values() ?? [],
  };
}

/** True when the pin of a link that was observed is gone, and its program with it: nothing is notified of that. */
export function lacksLinks(
  { directory }: Pick<Pins, 'directory'>,
  { attachments }: Pick<Observed, 'attachments'>,
): boolean {
  const pinned = new Set(tcxDevices(directory));
  return [...attachments].some(([device, { tcxProgramId }]) => tcxProgramId !== null && !pinned.has(device));
}

/** Where to look for attachments. */
interface Attachable {
  readonly qdiscs: readonly Qdisc[];
  /** Devices that may have a pinned TCX link. */
  readonly linked: readonly IfIndex[];
  /** Devices that may have strays. */
  readonly searched: readonly IfIndex[];
  readonly wantsIngress: boolean;
}

/** Every device with a clsact or ingress qdisc, and every one with our pinned TCX link. */
function observeAttachments(
  netlink: NetlinkSocket,
  pins: Pins,
  { qdiscs: all, linked, searched, wantsIngress }: Attachable,
): Map<IfIndex, Attachment> {
  const qdiscs = all.flatMap(({ ifIndex, kind, sharesIngress }) =>
    kind === 'clsact' || kind === 'ingress' ? [{ ifIndex, kind, sharesIngress } as const] : [],
  );
  // Ours is in no block that devices share.
  const asked = qdiscs.filter(({ sharesIngress }) => !sharesIngress);
  const answers = netlink.batch(asked.map(({ ifIndex }) => getFilter(filterPlace(ifIndex))));
  const filters = new Map(mapPairs(asked, answers, ({ ifIndex }, answer) => [ifIndex, filterOf(answer)]));
  const attachments = new Map<IfIndex, Attachment>();
  for (const { ifIndex, kind } of qdiscs) {
    const program = filters.get(ifIndex)?.bpf;
    const isOwned = recordsOwner(program?.name ?? '');
    attachments.set(ifIndex, {
      qdisc: kind,
      ownsQdisc: isOwned,
      isReplaceable: wantsIngress && kind === 'clsact' && isOwned && countFilters(netlink, ifIndex) === 1,
      filterProgramId: program !== undefined && isOurFilter(program.name) ? program.id : null,
      tcxProgramId: null,
      strays: [],
    });
  }
  const links = tcxLinks(pins.directory, linked);
  for (const [device, tcxProgramId] of links) {
    attachments.set(device, { ...(attachments.get(device) ?? NOT_ATTACHED), tcxProgramId });
  }
  for (const { ifIndex, programId } of findStrays(searched, links)) {
    const attachment = attachments.get(ifIndex) ?? NOT_ATTACHED;
    attachments.set(ifIndex, { ...attachment, strays: [...attachment.strays, programId] });
  }
  return attachments;
}

/**
 * What to read of the FDBs. `known`: where the bridges forward the MACs of hosts and neighbors, which costs nothing for
 * others. `whole`: all of it, for what looks for hosts that are not known; the kernel goes through it once for each port.
 */
export type ForwardingScope = 'known' | 'whole';

/** Reads bindings first, then the neighbors and the FDB: the bridge forwards a seen host by then. */
export function observeHosts(
  netlink: NetlinkSocket,
  pins: Pins,
  topology: Topology,
  observed: Observed,
  now: () => number,
  scope: ForwardingScope,
): ObservedHosts {
  const { state, probes, seen, hints } = pins.tables;
  const found = {
    portStates: new Map(state?.entries()),
    bindings: readBindings(pins),
    probes: byId(probes?.values() ?? []),
    seenHints: seen?.values() ?? [],
    hints: hints?.values() ?? [],
    nowMs: now(),
    neighbors: [...dumpNeighbors(netlink, AF_INET), ...dumpNeighbors(netlink, AF_INET6)],
  };
  return {
    ...found,
    deviceNames: new Map([...observed.links.values()].map((link) => [link.ifIndex, link.name])),
    forwarding: observeForwarding(
      netlink,
      topology,
      scope === 'known' ? knownMacs(topology, found) : undefined,
    ),
  };
}

const SLOTS: readonly number[] = Array.from({ length: SNOOPY_SEEN_SLOTS }, (_, slot) => slot);

/** The hints that the program has taken from messages on these ports. Throws SnoopyError `map_failed`. */
export function observeSeenHints({ tables }: Pins, ports: Iterable<IfIndex>): SeenHint[] {
  const slots = [...ports].flatMap((port) => SLOTS.map((slot) => ({ port, slot })));
  return tables.seen?.valuesOf(slots) ?? [];
}

/** The hosts of some addresses, looked up one by one; `topology` is that of the focus. Throws as `observeHosts` does. */
export function observeFocus(
  netlink: NetlinkSocket,
  pins: Pins,
  topology: Topology,
  focus: Focus,
  now: () => number,
): ObservedHosts {
  const { probes, hints } = pins.tables;
  const keys = [...focus.addresses.values()];
  const bridges = new Map(topology.bridges.map((bridge) => [bridge.ifIndex, bridge]));
  const found = {
    portStates: new Map(),
    bindings: keys.flatMap((key) => readBinding(pins, key) ?? []),
    probes: byId(probes?.valuesOf(keys) ?? []),
    seenHints: focus.seenHints,
    hints: hints?.valuesOf(focus.hints) ?? [],
    nowMs: now(),
    neighbors: lookUpNeighbors(
      netlink,
      keys.flatMap(({ bridge, vlan, ip }) => {
        const device = bridges.get(bridge)?.domains.get(vlan)?.device;
        return device === undefined ? [] : [{ ifIndex: device, ip }];
      }),
    ),
  };
  return {
    ...found,
    deviceNames: new Map(),
    forwarding: observeForwarding(netlink, topology, knownMacs(topology, found)),
  };
}

function byId<Key extends BindingKey>(entries: readonly Key[]): Map<string, Key> {
  return new Map(entries.map((entry) => [bindingId(entry), entry]));
}

/** Where the bridges forward these MACs; without `macs` all of the FDBs. */
function observeForwarding(
  netlink: NetlinkSocket,
  { bridges }: Topology,
  macs: ReturnType<typeof knownMacs> | undefined,
): Map<IfIndex, ForwardingTable> {
  return new Map(
    bridges.map(({ ifIndex }) => [
      ifIndex,
      forwardingOf(netlink, ifIndex, macs && (macs.get(ifIndex) ?? [])),
    ]),
  );
}

/** Empty for a bridge that is deleted meanwhile; the next observation does not have it. */
function forwardingOf(
  netlink: NetlinkSocket,
  bridge: IfIndex,
  macs: Iterable<ForwardingKey> | undefined,
): ForwardingTable {
  try {
    return macs === undefined ? readForwarding(netlink, bridge) : lookUpForwarding(netlink, bridge, macs);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENODEV') return new ForwardingTable();
    throw thrown;
  }
}

/** The last message about each address that was rejected. */
export function observeRejections(pins: Pins): Rejection[] {
  return pins.tables.rejected?.values() ?? [];
}

/** Counters since the program was first loaded. */
export function observeCounters(pins: Pins): Counters & { readonly ringDropped: number } {
  const value = (name: CounterName): number => pins.tables.counters?.sum(name) ?? 0;
  return {
    sightings: value('sightings'),
    ignored: value('ignored'),
    hints: value('hints'),
    created: value('created'),
    moved: value('moved'),
    duplicates: value('duplicates'),
    ringDropped: observeDropped(pins),
    rejected: Object.fromEntries(COUNTERS.slice(FIRST_REASON).map((name) => [name, value(name)])),
  };
}

/** Number of records that a full ring has cost since the program was first loaded. */
export function observeDropped({ tables }: Pins): number {
  return tables.counters?.sum('ring_dropped') ?? 0;
}

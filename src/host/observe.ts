// The kernel -> Observed. Reads only.

import { AF_INET, AF_INET6, type IfIndex } from '../base/address.ts';
import { SnoopyError } from '../base/errors.ts';
import type { Runtime } from '../core/desired.ts';
import type { Attachment, Observed, ObservedDatapath, ObservedHosts } from '../core/observed.ts';
import type { Counters } from '../core/report.ts';
import type { Topology } from '../core/topology.ts';
import { filterPlace, isOurFilter, saysOwner, tcxLinks } from '../datapath/attachment.ts';
import { readBindings } from '../datapath/carry.ts';
import type { MapName, Pins } from '../datapath/pins.ts';
import {
  COUNTERS,
  type CounterName,
  decodeBindings,
  decodeIfIndex,
  decodePortPolicy,
  decodePortState,
  decodePrefixRule,
  decodeProbes,
  decodeRejections,
  decodeStaticRule,
  FIRST_REASON,
  type PortState,
  type Rejection,
  SIZE,
} from '../datapath/records.ts';
import { type MapEntries, mapEntries, perCpuArray } from '../ffi/map.ts';
import { dumpAddresses } from '../netlink/address.ts';
import { readForwarding } from '../netlink/fdb.ts';
import { ForwardingTable } from '../netlink/forwarding-table.ts';
import { dumpLinks } from '../netlink/link.ts';
import { dumpNeighbors } from '../netlink/neighbor.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { dumpQdiscs, filterOf, getFilter } from '../netlink/tc.ts';
import { dumpPortVlans } from '../netlink/vlan.ts';
import { isBpffs } from './pin-directory.ts';

/** Interfaces, pins and attachments. */
export function observe(netlink: NetlinkSocket, runtime: Runtime, pins: Pins): Observed {
  const links = new Map(dumpLinks(netlink).map((link) => [link.ifIndex, link]));
  const aware = [...links.values()].some((link) => link.bridge?.vlanFiltering);
  const portVlans = aware ? dumpPortVlans(netlink) : [];
  return {
    links,
    portVlans: new Map(portVlans.map((vlans) => [vlans.ifIndex, vlans])),
    addresses: dumpAddresses(netlink),
    bpffsMounted: isBpffs(runtime.bpffs),
    datapath: observeDatapath(pins),
    attachments: observeAttachments(netlink, pins),
  };
}

function observeDatapath(pins: Pins): ObservedDatapath {
  const ports = entriesOf(pins, 'ports');
  const prefixes = entriesOf(pins, 'prefixes');
  const statics = entriesOf(pins, 'statics');
  return {
    loadReason: pins.loadReason,
    programId: pins.program?.id ?? null,
    ports: new Map(
      indices(ports).map((i) => [
        decodeIfIndex(ports.keys, i * SIZE.ifIndex),
        decodePortPolicy(ports.values, i * SIZE.port),
      ]),
    ),
    prefixes: readable(indices(prefixes), (i) =>
      decodePrefixRule(prefixes.keys, i * SIZE.prefixKey, prefixes.values[i]),
    ),
    statics: readable(indices(statics), (i) => decodeStaticRule(statics.keys, i * SIZE.staticKey)),
  };
}

const NOTHING: MapEntries = { keys: new Uint8Array(0), values: new Uint8Array(0), count: 0 };

function entriesOf(pins: Pins, name: MapName): MapEntries {
  const map = pins.maps.get(name);
  return map === undefined ? NOTHING : mapEntries(map.fd, map.info);
}

/**
 * What can be read of the entries. One of no family that there is was written by neither the program nor a run; the
 * program never looks it up, and it is no reason to leave all others alone.
 */
function readable<T>(entries: readonly number[], read: (entry: number) => T): T[] {
  return entries.flatMap((entry) => {
    try {
      return [read(entry)];
    } catch (thrown) {
      if (thrown instanceof SnoopyError && thrown.code === 'malformed') return [];
      throw thrown;
    }
  });
}

/** All entries at once, or, where one cannot be read, all others. */
function readAll<T>(
  entries: MapEntries,
  read: (keys: Uint8Array, values: Uint8Array, count: number) => Iterable<T>,
): T[] {
  const { keys, values, count } = entries;
  const [whole] = readable([0], () => read(keys, values, count));
  if (whole !== undefined) return [...whole];
  const keySize = keys.length / count;
  const valueSize = values.length / count;
  return readable(indices(entries), (i) => [
    ...read(
      keys.subarray(i * keySize, (i + 1) * keySize),
      values.subarray(i * valueSize, (i + 1) * valueSize),
      1,
    ),
  ]).flat();
}

function indices({ count }: MapEntries): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Every device with a clsact (or ingress) qdisc, and every one with a pinned TCX link of ours. */
function observeAttachments(netlink: NetlinkSocket, pins: Pins): Map<IfIndex, Attachment> {
  const devices = dumpQdiscs(netlink)
    .filter((qdisc) => qdisc.kind === 'clsact' || qdisc.kind === 'ingress')
    .map((qdisc) => qdisc.ifIndex);
  const filters = netlink.batch(devices.map((device) => getFilter(filterPlace(device)))).map(filterOf);
  const attachments = new Map<IfIndex, Attachment>();
  for (const [i, device] of devices.entries()) {
    const program = filters[i]?.bpf;
    attachments.set(device, {
      hasClsact: true,
      ownsClsact: saysOwner(program?.name ?? ''),
      filterProgramId: program !== undefined && isOurFilter(program.name) ? program.id : null,
      tcxProgramId: null,
    });
  }
  for (const [device, tcxProgramId] of tcxLinks(pins.directory)) {
    const attachment = attachments.get(device) ?? {
      hasClsact: false,
      ownsClsact: false,
      filterProgramId: null,
    };
    attachments.set(device, { ...attachment, tcxProgramId });
  }
  return attachments;
}

/** Bindings first, then the FDB and the neighbors: a host that was seen is forwarded by then. */
export function observeHosts(
  netlink: NetlinkSocket,
  pins: Pins,
  topology: Topology,
  observed: Observed,
  now: () => number,
): ObservedHosts {
  const states = entriesOf(pins, 'state');
  const portStates = new Map<IfIndex, PortState>(
    indices(states).map((i) => [
      decodeIfIndex(states.keys, i * SIZE.ifIndex),
      decodePortState(states.values, i * SIZE.portState),
    ]),
  );
  const bindings = readAll(readBindings(pins), decodeBindings);
  const probes = entriesOf(pins, 'probes');
  const forwarding = new Map(
    topology.bridges.map(({ ifIndex }) => [ifIndex, observeForwarding(netlink, ifIndex)]),
  );
  const nowMs = now();
  const neighbors = [...dumpNeighbors(netlink, AF_INET), ...dumpNeighbors(netlink, AF_INET6)];
  const deviceNames = new Map([...observed.links.values()].map((link) => [link.ifIndex, link.name]));
  return {
    nowMs,
    bindings,
    probes: new Map(readAll(probes, decodeProbes)),
    portStates,
    deviceNames,
    forwarding,
    neighbors,
  };
}

/** Nothing for a bridge that is deleted while we look: the next observation knows of it. */
function observeForwarding(netlink: NetlinkSocket, bridge: IfIndex): ForwardingTable {
  try {
    return readForwarding(netlink, bridge);
  } catch (thrown) {
    if (thrown instanceof SnoopyError && thrown.errno === 'ENODEV') return new ForwardingTable();
    throw thrown;
  }
}

/** The last message about each address that was not believed. */
export function observeRejections(pins: Pins): Rejection[] {
  return readAll(entriesOf(pins, 'rejected'), decodeRejections);
}

/** Counters since the program was first loaded. */
export function observeCounters(pins: Pins): Counters & { readonly ringDropped: number } {
  const map = pins.maps.get('counters');
  const sums = map === undefined ? [] : perCpuArray(map.fd, COUNTERS.length);
  const value = (name: CounterName): number => sums[COUNTERS.indexOf(name)] ?? 0;
  return {
    sightings: value('sightings'),
    ignored: value('ignored'),
    created: value('created'),
    moved: value('moved'),
    duplicates: value('duplicates'),
    ringDropped: value('ring_dropped'),
    rejected: Object.fromEntries(COUNTERS.slice(FIRST_REASON).map((name) => [name, value(name)])),
  };
}

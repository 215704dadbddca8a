// Facts about the host that doctor needs in addition to those that a run reads. Reads only.

import { readFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import type { IfIndex } from '../base/address.ts';
import { type Problem, problemOf } from '../base/errors.ts';
import type { DeviceFacts, GcThresholds, HostFacts, Rival } from '../core/doctor/check.ts';
import { NOT_ATTACHED, type Observed } from '../core/observed.ts';
import type { Topology } from '../core/topology.ts';
import { ingressPrograms, isOurFilter } from '../datapath/attachment.ts';
import { loaderVersion, tryLoad } from '../datapath/load.ts';
import type { Link } from '../netlink/link.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { dumpFilters } from '../netlink/tc.ts';
import { dumpVlanOptions, type VlanOptions } from '../netlink/vlan-options.ts';
import { directoryExists, isSeenByProcessOne, lastTime, sharesMounts } from './pin-directory.ts';
import { LOADING, missingCapabilities } from './privileges.ts';
import type { Session } from './session.ts';

/** `wallClock` reads milliseconds since the epoch. */
export function inspectHost(session: Session, wallClock: () => number): HostFacts {
  const { runtime, pins } = session;
  const succeeded = lastTime(pins.directory, 'succeeded');
  return {
    kernel: release(),
    libbpf: loaderVersion(),
    loadFailure: pins.loadReason === null ? null : whyNotLoaded(session),
    missingCapabilities: missingCapabilities(['CAP_NET_RAW', ...(pins.loadReason === null ? [] : LOADING)]),
    bpffsShared: isSeenByProcessOne(runtime.bpffs),
    sharesMounts: sharesMounts(),
    hasMountPoint: directoryExists(runtime.bpffs),
    lastSuccessAgeMs: succeeded === null ? null : wallClock() - succeeded,
    gcThresholds: readGcThresholds(),
  };
}

/** What names this node and its kernel, and when a run last succeeded, in milliseconds since the epoch; null: not known. */
export function inspectNode({ pins }: Session): {
  readonly name: string;
  readonly kernel: string;
  readonly succeededMs: number | null;
} {
  return { name: hostname(), kernel: release(), succeededMs: lastTime(pins.directory, 'succeeded') };
}

/** Why a trial load fails; null when it succeeds. Only loading shows whether a kernel accepts the program. */
function whyNotLoaded({ object, expected }: Session): Problem | null {
  try {
    tryLoad(object(), expected);
    return null;
  } catch (thrown) {
    return problemOf(thrown, 'snoopy');
  }
}

/** They exist only in the initial network namespace. */
function readGcThresholds(): HostFacts['gcThresholds'] {
  const read = (family: string): GcThresholds | null => {
    const [first, second, third] = [1, 2, 3].map((n) =>
      readNumber(`/proc/sys/net/${family}/neigh/default/gc_thresh${n}`),
    );
    if (first === undefined || second === undefined || third === undefined) return null;
    return [first, second, third];
  };
  const ipv4 = read('ipv4');
  const ipv6 = read('ipv6');
  return ipv4 === null || ipv6 === null ? null : { ipv4, ipv6 };
}

/** Bridges and neighbor devices. */
export function inspectDevices(topology: Topology, observed: Observed): Map<IfIndex, DeviceFacts> {
  const devices = topology.bridges.flatMap((bridge) => [
    bridge.ifIndex,
    ...[...bridge.domains.values()].map(({ device }) => device),
  ]);
  const links = [...new Set(devices)].flatMap((device) => observed.links.get(device) ?? []);
  return new Map(
    links.map((link) => [
      link.ifIndex,
      {
        disableIpv6: readNumber(`/proc/sys/net/ipv6/conf/${link.name}/disable_ipv6`) === 1,
        macPinned: isMacPinned(link),
      },
    ]),
  );
}

/** net_device.addr_assign_type of include/linux/netdevice.h: set explicitly. */
const NET_ADDR_SET = 3;

/** Null when /sys belongs to another network namespace, which has other devices. */
function isMacPinned({ name, ifIndex, mac }: Link): boolean | null {
  const directory = `/sys/class/net/${name}`;
  if (readNumber(`${directory}/ifindex`) !== ifIndex || readText(`${directory}/address`) !== mac) return null;
  const type = readNumber(`${directory}/addr_assign_type`);
  return type === undefined ? null : type === NET_ADDR_SET;
}

/** Tunnel ports on which each VLAN has its own setting for suppression. */
export function inspectVlanOptions(
  netlink: NetlinkSocket,
  topology: Topology,
  { links }: Observed,
): Map<IfIndex, readonly VlanOptions[]> {
  const ports = topology.bridges
    .flatMap(({ tunnelPorts }) => [...tunnelPorts])
    .filter((port) => links.get(port)?.bridgePort?.neighVlanSuppress);
  return new Map(ports.map((port) => [port, dumpVlanOptions(netlink, port)]));
}

/** What sees a frame of a local port before our program does: TCX programs, and filters of a lower pref. */
export function inspectRivals(
  netlink: NetlinkSocket,
  topology: Topology,
  observed: Observed,
): Map<IfIndex, readonly Rival[]> {
  const ports = topology.bridges.flatMap((bridge) => bridge.ports.map(({ ifIndex }) => ifIndex));
  return new Map(
    ports.map((port) => {
      const { tcxProgramId: own, strays } = observed.attachments.get(port) ?? NOT_ATTACHED;
      const programs = ingressPrograms(port).filter((id) => !strays.includes(id));
      const ahead = own === null ? programs : programs.slice(0, Math.max(0, programs.indexOf(own)));
      const tcx = ahead.map((id): Rival => ({ kind: 'tcx', name: `TCX program ${id}` }));
      // TCX runs before every filter.
      const filters = own === null ? filtersAhead(netlink, port, observed) : [];
      return [port, [...tcx, ...filters]];
    }),
  );
}

function filtersAhead(netlink: NetlinkSocket, port: IfIndex, observed: Observed): Rival[] {
  if ((observed.attachments.get(port)?.qdisc ?? null) === null) return [];
  const filters = dumpFilters(netlink, port, 'ingress').filter(({ chain }) => chain === 0);
  const own = filters.findIndex(({ bpf }) => bpf !== undefined && isOurFilter(bpf.name));
  return filters
    .slice(0, Math.max(0, own))
    .map(({ kind, pref }) => ({ kind: 'filter', name: `filter ${kind} pref ${pref}` }));
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function readNumber(path: string): number | undefined {
  const text = readText(path);
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

// The filter of `status`. Pure.

import { contains, formatPrefix, type Mac, type Prefix } from '../base/address.ts';
import { matchesGlob } from './glob.ts';
import type { Decision } from './neighbors/decide.ts';
import type { BridgeReport, PortReport } from './report.ts';

/** A host matches when, in each list that is not empty, one element matches it. */
export interface HostFilter {
  /** Names of configured bridges. */
  readonly bridges: readonly string[];
  /** Shell globs over names of ports. */
  readonly ports: readonly string[];
  readonly ips: readonly Prefix[];
  readonly macs: readonly Mac[];
}

export const EVERYTHING: HostFilter = { bridges: [], ports: [], ips: [], macs: [] };

/** The bridges and ports of a status. */
export interface Selection {
  readonly bridges: readonly BridgeReport[];
  readonly ports: readonly PortReport[];
}

/** True for a host that matches the filter. */
export function matchesHost(filter: HostFilter, { bridge, port, ip, mac }: Decision): boolean {
  return (
    isIn(filter.bridges, (name) => name === bridge) &&
    isIn(filter.ports, (glob) => port !== null && matchesGlob(port, glob)) &&
    isIn(filter.ips, (prefix) => contains(prefix, ip)) &&
    isIn(filter.macs, (wanted) => wanted === mac)
  );
}

/**
 * The ports and bridges that match. A filter by address or MAC leaves only ports with a matching host. A bridge matches
 * when one of its ports or hosts does. `hosts` are the matching hosts.
 */
export function select(filter: HostFilter, all: Selection, hosts: readonly Decision[]): Selection {
  const { ports: globs, ips, macs } = filter;
  const filtersHosts = ips.length > 0 || macs.length > 0;
  if (!filtersHosts && globs.length === 0) return all;
  const busy = new Set(hosts.map(({ bridge, port }) => `${bridge} ${port}`));
  const ports = all.ports.filter(
    ({ bridge, name }) =>
      isIn(globs, (glob) => matchesGlob(name, glob)) && (!filtersHosts || busy.has(`${bridge} ${name}`)),
  );
  const names = new Set(ports.map(({ name }) => name));
  const found = new Set([...ports, ...hosts].map(({ bridge }) => bridge));
  const bridges = all.bridges
    .filter(({ name }) => found.has(name))
    .map((bridge) => ({ ...bridge, ports: bridge.ports.filter((name) => names.has(name)) }));
  return { bridges, ports };
}

/** The filter as command line options; empty for no filter. */
export function formatFilter({ bridges, ports, ips, macs }: HostFilter): string {
  const words = [
    ...bridges.map((name) => `--bridge ${name}`),
    ...ports.map((glob) => `--port ${glob}`),
    ...ips.map((prefix) => `--ip ${isHost(prefix) ? prefix.ip : formatPrefix(prefix)}`),
    ...macs.map((mac) => `--mac ${mac}`),
  ];
  return words.join(' ');
}

function isHost({ ip, length }: Prefix): boolean {
  return length === (ip.includes(':') ? 128 : 32);
}

/** True when the list is empty or one of its items passes. */
function isIn<T>(list: readonly T[], does: (item: T) => boolean): boolean {
  return list.length === 0 || list.some(does);
}

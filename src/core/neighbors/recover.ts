// Bindings that differ from the pinned ones: recovered from the neighbor table, or unfrozen by the operator. Pure.

import type { IpAddress } from '../../base/address.ts';
import type { Binding } from '../../datapath/records/binding.ts';
import { HostIndex } from '../host-index.ts';
import { isOurs, isRouter } from '../neighbor-entry.ts';
import type { ObservedHosts } from '../observed.ts';
import type { Topology } from '../topology.ts';
import type { Warning } from '../warning.ts';

/**
 * Bindings for our own neighbors, for a run that finds nothing pinned. A host whose MAC a local port forwards is still
 * here, and is treated as just seen. `protocol` is NDA_PROTOCOL of our own entries.
 */
export function recoverBindings(topology: Topology, hosts: ObservedHosts, protocol: number): Binding[] {
  const index = new HostIndex(hosts);
  return topology.bridges.flatMap((bridge) => {
    const forwarding = index.forwardingOf(bridge);
    const vlans = new Map([...bridge.domains.values()].map((domain) => [domain.device, domain.vlan]));
    return hosts.neighbors.flatMap((entry): Binding[] => {
      const vlan = vlans.get(entry.ifIndex);
      if (!isOurs(entry, protocol) || entry.mac === undefined || vlan === undefined) return [];
      const location = forwarding.locate(vlan, entry.mac);
      if (location.kind !== 'local') return [];
      return [
        {
          bridge: bridge.ifIndex,
          vlan,
          ip: entry.ip,
          mac: entry.mac,
          router: isRouter(entry),
          port: location.port.ifIndex,
          firstSeenMs: hosts.nowMs,
          lastSeenMs: hosts.nowMs,
          ...NO_MOVES,
        },
      ];
    });
  });
}

const NO_MOVES = { moves: 0, windowMs: 0, frozenUntilMs: 0, owner: null } as const;

/** The result of unfreezing addresses. */
export interface Unfrozen {
  /** The hosts, with these addresses not frozen. */
  readonly hosts: ObservedHosts;
  /** The bindings to write. */
  readonly rewritten: readonly Binding[];
  readonly warnings: readonly Warning[];
}

/** Ends the freeze of addresses as duplicates (RFC 9161, section 3.7). */
export function unfreeze(hosts: ObservedHosts, ips: readonly IpAddress[]): Unfrozen {
  const rewritten: Binding[] = [];
  const bindings = hosts.bindings.map((binding) => {
    if (binding.frozenUntilMs <= hosts.nowMs || !ips.includes(binding.ip)) return binding;
    const unfrozen: Binding = { ...binding, ...NO_MOVES };
    rewritten.push(unfrozen);
    return unfrozen;
  });
  const warnings = ips
    .filter((ip) => !rewritten.some((binding) => binding.ip === ip))
    .map((ip): Warning => ({ kind: 'not-frozen', ip }));
  return { hosts: { ...hosts, bindings }, rewritten, warnings };
}

// The observed hosts, indexed by the keys that decisions look up. Pure.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { ensure, groupBy } from '../base/group.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import type { ProbeState } from '../datapath/records/probe.ts';
import type { Activity, ForwardingTable } from '../netlink/forwarding-table.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import type { ObservedHosts } from './observed.ts';
import type { Bridge, Port } from './topology.ts';

/** Where a bridge forwards a MAC now. */
export type Location =
  | { readonly kind: 'local'; readonly port: Port }
  /**
   * A local port of an Ethernet segment, through which the host has sent nothing for the ageing time of the bridge: zebra
   * keeps the MAC there because another node of the segment has the host, or had it last (EVPN multihoming).
   */
  | { readonly kind: 'inactive'; readonly port: Port }
  | { readonly kind: 'tunnel' }
  /** A local port that is not learned from. */
  | { readonly kind: 'other'; readonly port: IfIndex }
  | { readonly kind: 'nowhere' };

const TUNNEL: Location = { kind: 'tunnel' };
const NOWHERE: Location = { kind: 'nowhere' };

/** Where one bridge forwards each MAC. */
export interface Forwarding {
  /** A bridge without VLAN filtering forwards by MAC alone, whatever tag the frame has. */
  locate(vlan: number, mac: Mac): Location;
  /** True for the MAC of an Ethernet segment: its host may send, and answer, through another node. */
  isMultihomed(vlan: number, mac: Mac): boolean;
}

/** The bindings, the forwarding and the neighbors of an observation. */
export class HostIndex {
  readonly #hosts: ObservedHosts;
  readonly #bindings: ReadonlyMap<IfIndex, readonly Binding[]>;
  /** Made when it is first used: most passes look up no single address. */
  #byAddress: ReadonlyMap<IpAddress, readonly Binding[]> | undefined;
  readonly #forwarding = new Map<Bridge, Forwarding>();
  /** By device, then by address: one key made of both would be a new string at every lookup. */
  readonly #neighbors = new Map<IfIndex, Map<IpAddress, Neighbor>>();

  constructor(hosts: ObservedHosts) {
    this.#hosts = hosts;
    this.#bindings = groupBy(hosts.bindings, (binding) => binding.bridge);
    for (const neighbor of hosts.neighbors) {
      const table = this.#neighbors.get(neighbor.ifIndex);
      if (table === undefined) this.#neighbors.set(neighbor.ifIndex, new Map([[neighbor.ip, neighbor]]));
      else table.set(neighbor.ip, neighbor);
    }
  }

  bindingsOf(bridge: IfIndex): readonly Binding[] {
    return this.#bindings.get(bridge) ?? [];
  }

  /** The binding of an address. */
  bindingOf({ bridge, vlan, ip }: BindingKey): Binding | undefined {
    this.#byAddress ??= groupBy(this.#hosts.bindings, (binding) => binding.ip);
    return this.#byAddress.get(ip)?.find((binding) => binding.bridge === bridge && binding.vlan === vlan);
  }

  forwardingOf(bridge: Bridge): Forwarding {
    return ensure(this.#forwarding, bridge, () =>
      forwardingOf(bridge, this.#hosts.forwarding.get(bridge.ifIndex)),
    );
  }

  neighborOf(device: IfIndex, ip: IpAddress): Neighbor | undefined {
    return this.#neighbors.get(device)?.get(ip);
  }

  /** The probes of a silent host. */
  probesOf(binding: BindingKey): ProbeState | undefined {
    const { probes } = this.#hosts;
    return probes.size === 0 ? undefined : probes.get(bindingId(binding));
  }
}

function forwardingOf(bridge: Bridge, table: ForwardingTable | undefined): Forwarding {
  const places = new Map<IfIndex, Location>();
  const activityOf = (vlan: number, mac: Mac): Activity | undefined =>
    table?.activityOf(bridge.vlanAware ? vlan : 0, mac);
  return {
    locate: (vlan, mac) => {
      const port = table?.portOf(bridge.vlanAware ? vlan : 0, mac);
      if (port === undefined) return NOWHERE;
      const place = ensure(places, port, () => locationOf(bridge, port));
      const isInactive = place.kind === 'local' && activityOf(vlan, mac) === 'inactive';
      return isInactive ? { kind: 'inactive', port: place.port } : place;
    },
    isMultihomed: (vlan, mac) => (activityOf(vlan, mac) ?? 'untracked') !== 'untracked',
  };
}

function locationOf({ tunnelPorts, portsByIndex }: Bridge, ifIndex: IfIndex): Location {
  if (tunnelPorts.has(ifIndex)) return TUNNEL;
  const port = portsByIndex.get(ifIndex);
  return port === undefined ? { kind: 'other', port: ifIndex } : { kind: 'local', port };
}

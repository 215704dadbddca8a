// A candidate: a MAC that may get the neighbor of an address, with all input of the decision about it. Pure.

import { type IfIndex, type IpAddress, type Mac, NO_MAC } from '../../base/address.ts';
import type { Binding } from '../../datapath/records/binding.ts';
import type { BindingKey } from '../../datapath/records/binding-key.ts';
import type { Neighbor } from '../../netlink/neighbor.ts';
import type { StaticEntry } from '../desired.ts';
import type { Forwarding, HostIndex, Location } from '../host-index.ts';
import { type Bridge, type Domain, effectiveVlan, type Port } from '../topology.ts';

/** An address that does not go to another MAC in this run. */
export interface KeptByOwner {
  readonly owner: Mac;
  /**
   * `answers`: it has answered an owner check. `unprobed`: the next pass probes it. `multihomed`: it may have answered
   * through another node of its Ethernet segment, so that its silence here says nothing.
   */
  readonly standing: 'answers' | 'unprobed' | 'multihomed';
  readonly because: string;
}

/** What all decisions about one bridge share. */
export interface Context {
  readonly bridge: Bridge;
  readonly index: HostIndex;
  readonly forwarding: Forwarding;
  readonly nowMs: number;
  /** Interfaces that are in no bridge. */
  readonly freePorts: ReadonlySet<IfIndex>;
  /** NDA_PROTOCOL of our own entries. */
  readonly protocol: number;
  /** By bindingId. */
  readonly kept: ReadonlyMap<string, KeptByOwner>;
}

/** A binding, or a static entry with one of its MACs. */
export interface Candidate extends BindingKey {
  readonly source: 'learned' | 'static';
  readonly mac: Mac;
  readonly router: boolean;
  /** What was learned about the address; undefined for a static entry whose host was never seen. */
  readonly binding: Binding | undefined;
  /** Where it was learned; undefined when that port was removed, and for a static entry, which may be on any port. */
  readonly port: Port | undefined;
  /** Where the bridge forwards its MAC. */
  readonly location: Location;
  /** Undefined when its VLAN has no neighbor device. */
  readonly domain: Domain | undefined;
  /** The entry that the neighbor device has for the address. */
  readonly entry: Neighbor | undefined;
}

/** The candidate of a binding. `port` is the one that it was learned on, if the bridge has it. */
export function learnedCandidate(context: Context, binding: Binding, port: Port | undefined): Candidate {
  const { bridge, index, forwarding } = context;
  const { vlan, ip, mac, router } = binding;
  const domain = bridge.domains.get(vlan);
  return {
    source: 'learned',
    bridge: bridge.ifIndex,
    vlan,
    ip,
    mac,
    router,
    binding,
    port,
    location: forwarding.locate(vlan, mac),
    domain,
    entry: domain && index.neighborOf(domain.device, ip),
  };
}

/** The candidate of a static entry: its MAC is one that a local port forwards, else the one last seen, else the first. */
export function staticCandidate(
  context: Context,
  { ip, vlan: id, macs }: StaticEntry,
  binding?: Binding,
): Candidate {
  const { bridge, index, forwarding } = context;
  const vlan = effectiveVlan(bridge, id);
  const candidates = binding === undefined ? macs : [binding.mac, ...macs];
  const here = candidates.find((mac) => forwarding.locate(vlan, mac).kind === 'local');
  const mac = here ?? candidates[0] ?? NO_MAC;
  const domain = bridge.domains.get(vlan);
  return {
    source: 'static',
    bridge: bridge.ifIndex,
    vlan,
    ip,
    mac,
    router: binding?.router ?? false,
    binding,
    port: undefined,
    location: forwarding.locate(vlan, mac),
    domain,
    entry: domain && index.neighborOf(domain.device, ip),
  };
}

/** The static entries of a bridge by `addressId`. */
export function staticEntries(bridge: Bridge): ReadonlyMap<string, StaticEntry> {
  return new Map(
    bridge.desired.statics.map((entry) => [addressId(effectiveVlan(bridge, entry.vlan), entry.ip), entry]),
  );
}

/** An address of one bridge as a key. */
export function addressId(vlan: number, ip: IpAddress): string {
  return `${vlan} ${ip}`;
}

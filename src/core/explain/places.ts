// The places where an address is known: VLANs of bridges, with everything known about the address there. Pure.

import type { IfIndex, IpAddress, Mac } from '../../base/address.ts';
import type { Binding } from '../../datapath/records/binding.ts';
import { type BindingKey, bindingId } from '../../datapath/records/binding-key.ts';
import type { Hint } from '../../datapath/records/hint.ts';
import type { Rejection } from '../../datapath/records/rejection.ts';
import type { Neighbor } from '../../netlink/neighbor.ts';
import type { Configuration, Desired } from '../desired.ts';
import { type FrrAnswer, type FrrNeighbor, vnisByDevice } from '../frr.ts';
import type { Decision } from '../neighbors/decide.ts';
import type { HostPlan } from '../neighbors/plan.ts';
import type { Observed, ObservedHosts } from '../observed.ts';
import { type Bridge, type Domain, effectiveVlan, type Topology } from '../topology.ts';

/** The input of the stories. */
export interface Facts {
  readonly ip: IpAddress;
  readonly configuration: Configuration;
  readonly desired: Desired;
  readonly topology: Topology;
  readonly observed: Observed;
  readonly hosts: ObservedHosts;
  readonly plan: HostPlan;
  readonly rejections: readonly Rejection[];
  /** How FRR is set up. Its neighbors are read only where a bridge may be part of an Ethernet segment. */
  readonly frr: FrrAnswer;
}

/** A VLAN of a bridge where something is known about the address. */
export interface Place {
  readonly bridgeIndex: IfIndex;
  readonly vlan: number;
  /** Undefined for a bridge that is not in the configuration. */
  readonly bridge: Bridge | undefined;
  readonly domain: Domain | undefined;
  readonly decision: Decision | undefined;
  readonly binding: Binding | undefined;
  readonly refused: Rejection | undefined;
  /** What suggested last that a host with this address is here. */
  readonly hint: Hint | undefined;
  readonly neighbor: Neighbor | undefined;
  /** zebra's entry, if this node advertises the address for another node of its Ethernet segment. */
  readonly proxied: FrrNeighbor | undefined;
  /** The MAC that has the address; if none has it, the one that claimed it last. */
  readonly mac: Mac | null;
  /** The VNIs that zebra has for the domain: several where a bridge has several VXLAN ports. */
  readonly vnis: readonly number[];
}

type PlaceKey = Pick<BindingKey, 'bridge' | 'vlan'>;

/** All records about the address, on any bridge. */
interface Traces {
  readonly bindings: readonly Binding[];
  readonly rejections: readonly Rejection[];
  readonly neighbors: readonly Neighbor[];
  readonly hints: readonly Hint[];
  /** The VNIs that zebra has for each device. */
  readonly vnisOf: ReadonlyMap<string | null, readonly number[]>;
}

/** The places of the address, ordered by bridge and VLAN; with `only`, those on bridges of the topology. */
export function findPlaces(facts: Facts, only: boolean): Place[] {
  const { ip, topology, hosts } = facts;
  const isMeant = (one: { readonly ip: IpAddress }): boolean => one.ip === ip;
  const traces: Traces = {
    bindings: hosts.bindings.filter(isMeant),
    rejections: facts.rejections.filter(isMeant),
    neighbors: hosts.neighbors.filter(isMeant),
    // The last one first.
    hints: [...hosts.seenHints, ...hosts.hints].filter(isMeant).sort((a, b) => b.seenMs - a.seenMs),
    vnisOf: facts.frr.kind === 'answered' ? vnisByDevice(facts.frr.frr) : new Map(),
  };
  const order = new Map(topology.bridges.map(({ ifIndex }, i) => [ifIndex, i]));
  const rank = (bridge: IfIndex): number => order.get(bridge) ?? order.size;
  const { bindings, rejections, hints } = traces;
  const keys = [...bindings, ...rejections, ...hints, ...keysOf(facts, traces)]
    .filter(({ bridge }) => !only || order.has(bridge))
    .map(({ bridge, vlan }) => [bindingId({ bridge, vlan, ip }), { bridge, vlan }] as const);
  return [...new Map(keys).values()]
    .sort((a, b) => rank(a.bridge) - rank(b.bridge) || a.vlan - b.vlan)
    .map((key) => placeOf(key, facts, traces));
}

/** Places where the address is static, in the table of a neighbor device, or advertised for another node. */
function keysOf(facts: Facts, traces: Traces): PlaceKey[] {
  const { ip, topology } = facts;
  const devices = new Set(traces.neighbors.map(({ ifIndex }) => ifIndex));
  return topology.bridges.flatMap((bridge) => {
    const statics = bridge.desired.statics.filter((entry) => entry.ip === ip);
    const domains = [...bridge.domains.values()].filter(
      (domain) =>
        domain.reserved.has(ip) ||
        devices.has(domain.device) ||
        proxiedIn(facts, traces, domain) !== undefined,
    );
    return [
      ...statics.map(({ vlan }) => ({ bridge: bridge.ifIndex, vlan: effectiveVlan(bridge, vlan) })),
      ...domains.map(({ vlan }) => ({ bridge: bridge.ifIndex, vlan })),
    ];
  });
}

/** zebra's entry for the address in a domain, if this node advertises it for another one. */
function proxiedIn({ ip, frr }: Facts, { vnisOf }: Traces, { deviceName }: Domain): FrrNeighbor | undefined {
  if (frr.kind !== 'answered') return undefined;
  const entries = (vnisOf.get(deviceName) ?? []).map((vni) => frr.frr.neighbors.get(vni)?.get(ip));
  return entries.find((entry) => entry?.isProxy);
}

function placeOf(key: PlaceKey, facts: Facts, traces: Traces): Place {
  const { ip, topology, plan } = facts;
  const { vlan } = key;
  const isHere = (one: PlaceKey): boolean => one.bridge === key.bridge && one.vlan === vlan;
  const bridge = topology.bridges.find(({ ifIndex }) => ifIndex === key.bridge);
  const domain = bridge?.domains.get(vlan);
  const decision = plan.decisions.find(
    (one) => one.ip === ip && one.vlan === vlan && one.bridge === bridge?.desired.name,
  );
  const binding = traces.bindings.find(isHere);
  const refused = traces.rejections.find(isHere);
  const hint = traces.hints.find(isHere);
  const neighbor = traces.neighbors.find(({ ifIndex }) => ifIndex === domain?.device);
  const proxied = domain && proxiedIn(facts, traces, domain);
  return {
    bridgeIndex: key.bridge,
    vlan,
    bridge,
    domain,
    decision,
    binding,
    refused,
    hint,
    neighbor,
    proxied,
    mac:
      decision?.mac ??
      binding?.mac ??
      neighbor?.mac ??
      proxied?.mac ??
      hint?.mac ??
      refused?.claimed ??
      refused?.source ??
      null,
    vnis: (domain && traces.vnisOf.get(domain.deviceName)) ?? [],
  };
}

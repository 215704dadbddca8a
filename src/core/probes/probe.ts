// A probe: its sender, and its port. All probes of a run are made here. Pure.

import {
  AF_INET,
  AF_INET6,
  familyOf,
  type IfIndex,
  type IpAddress,
  isLinkLocal,
  linkLocalOf,
  type Mac,
} from '../../base/address.ts';
import type { ProbeMessage } from '../../datapath/frames.ts';
import { type Bridge, type Domain, leavesTagged, ownAddressFor, type Port } from '../topology.ts';

/** A unicast ARP request or Neighbor Solicitation about one address to one MAC, out of one port. */
export interface Probe {
  readonly port: Port;
  readonly message: ProbeMessage;
}

/** Time that a host has for an answer, before its silence counts. */
export const ANSWER_MS = 1000;

/** The sender of a probe. Its address is null for 0.0.0.0: an ARP Probe (RFC 5227, section 2.1.1). */
export interface ProbeSource {
  readonly mac: Mac;
  readonly ip: IpAddress | null;
}

/**
 * The sender of a probe for an address; null where none may be sent. Never an address of another device, such as the
 * underlay's, which the kernel's own resolver would take. With `own`, only an address of the subnet. An IPv6 probe needs
 * an address, and a link-local one reaches every host of the link: a solicitation from the unspecified address is
 * Duplicate Address Detection, and would make the host give up its address.
 */
export function probeSource(bridge: Bridge, vlan: number, ip: IpAddress): ProbeSource | null {
  const domain = bridge.domains.get(vlan);
  if (domain?.mac === undefined) return null;
  const { learn, probe } = bridge.desired;
  if (probe.enabled === 'never') return null;
  const family = familyOf(ip);
  // A bridge that does not learn from answers would take each for silence.
  if (!learn.includes(family === AF_INET ? 'arp-reply' : 'na')) return null;
  const own = ownAddressFor(domain, ip);
  if (probe.enabled === 'own' && own === undefined) return null;
  const { mac } = domain;
  if (probe.source !== 'auto' && familyOf(probe.source) === family) return { mac, ip: probe.source };
  if (own !== undefined) return { mac, ip: own };
  return { mac, ip: family === AF_INET ? null : linkLocalSource(domain, mac) };
}

/** The link-local address of a device, or the one that its MAC gives, which a probe may use although it is not assigned. */
function linkLocalSource({ addresses }: Domain, mac: Mac): IpAddress {
  const assigned = addresses.find(({ ip }) => familyOf(ip) === AF_INET6 && isLinkLocal(ip));
  return assigned?.ip ?? linkLocalOf(mac);
}

/** The probe of `target` out of one port. */
export function probeOut(
  bridge: Bridge,
  port: Port,
  vlan: number,
  source: ProbeSource,
  target: { readonly mac: Mac; readonly ip: IpAddress },
): Probe {
  return {
    port,
    message: {
      sourceMac: source.mac,
      sourceIp: source.ip,
      targetMac: target.mac,
      targetIp: target.ip,
      tag: leavesTagged(bridge, port, vlan) ? vlan : null,
    },
  };
}

/** The probes in turns of the ports: the one with the earliest time of each port, then the second of each, and so on. */
export function shareByPort<T extends Probe>(probes: readonly T[], timeOf: (probe: T) => number): T[] {
  const turns = new Map<IfIndex, number>();
  return [...probes]
    .sort((a, b) => timeOf(a) - timeOf(b))
    .map((probe) => {
      const turn = turns.get(probe.port.ifIndex) ?? 0;
      turns.set(probe.port.ifIndex, turn + 1);
      return { probe, turn };
    })
    .sort((a, b) => a.turn - b.turn)
    .map(({ probe }) => probe);
}

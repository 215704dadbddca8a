// Where an unknown address would be learned, and what to do so that it is learned. Pure.

import type { IfIndex, IpAddress } from '../../base/address.ts';
import { isHostAddress, whyNotLearnable } from '../learnable.ts';
import { hasProgram } from '../observed.ts';
import { type Bridge, excludedPorts, takesVlan } from '../topology.ts';
import type { Facts } from './places.ts';
import type { Lookout } from './report.ts';
import { NEXT, NO_HOST_ADDRESS, UNLEARNED } from './wording.ts';

/** One for each VLAN that has a neighbor device. */
export function findLookouts(facts: Facts): Lookout[] {
  return facts.topology.bridges.flatMap((bridge) => lookoutsOf(bridge, facts));
}

function lookoutsOf(bridge: Bridge, { ip, observed, hosts }: Facts): Lookout[] {
  const known = new Set(hosts.bindings.filter((one) => one.bridge === bridge.ifIndex).map(({ mac }) => mac));
  const excluded = excludedPorts(bridge, observed).map(({ name }) => name);
  const names = new Map(bridge.ports.map(({ ifIndex, name }) => [ifIndex, name]));
  return [...bridge.domains.values()].map(({ vlan }): Lookout => {
    const ports = bridge.ports.filter((port) => takesVlan(bridge, port, vlan));
    const isAttached = ({ ifIndex }: { readonly ifIndex: IfIndex }): boolean => hasProgram(observed, ifIndex);
    return {
      bridge: bridge.desired.name,
      vlan,
      ports: ports.filter(isAttached).map(({ name }) => name),
      deaf: ports.filter((port) => !isAttached(port)).map(({ name }) => name),
      excluded,
      because: isHostAddress(ip)
        ? (whyNotLearnable(bridge, { ip, vlan }) ?? whyIgnored(bridge, ip))
        : NO_HOST_ADDRESS,
      silent: [...(hosts.forwarding.get(bridge.ifIndex) ?? [])].flatMap((entry) => {
        const port = names.get(entry.port);
        const isIn = !bridge.vlanAware || entry.vlan === vlan;
        return isIn && port !== undefined && !known.has(entry.mac) ? [{ mac: entry.mac, port }] : [];
      }),
    };
  });
}

/** Why the bridge ignores all messages of this family; null when it does not. */
function whyIgnored({ desired: { learn } }: Bridge, ip: IpAddress): string | null {
  const kinds = ip.includes(':') ? ['na', 'ns'] : ['arp-request', 'arp-reply'];
  return learn.some((kind) => kinds.includes(kind)) ? null : UNLEARNED({ kinds });
}

/** What to do so that the address is learned. */
export function whatNext(lookouts: readonly Lookout[], ip: IpAddress): string {
  if (lookouts.length === 0) return NEXT.noBridge();
  if (lookouts.every(({ because }) => because !== null)) return NEXT.unfit();
  const isSeen = lookouts.some(({ because, ports }) => because === null && ports.length > 0);
  return isSeen ? NEXT.send({ ip }) : NEXT.attach({ ip });
}

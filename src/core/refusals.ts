// Why the program does not believe a message, in words, and what mends it.

import { familyOf } from '../base/address.ts';
import type { Rejection } from '../datapath/records.ts';
import { allowedPrefixes, whyNotLearnable } from './learnable.ts';
import type { Bridge } from './topology.ts';

/** What was wrong with a message, and what mends it. */
export interface Refusal {
  readonly because: string;
  readonly remedy: string;
}

/** Where a message came in: names for the remedy. */
export interface Entrance {
  /** Undefined: no bridge of the configuration. */
  readonly bridge: Bridge | undefined;
  readonly bridgeName: string;
  readonly port: string;
}

const AGAIN = 'let the host speak again: it would be learned now';

/** The reason of a rejection in words. */
export function describeRefusal(rejection: Rejection, entrance: Entrance): Refusal {
  const { reason, ip, vlan, source, claimed } = rejection;
  const { port } = entrance;
  const look = `see what it sends: tcpdump -eni ${port} ether src ${source}`;
  const malformed = (because: string): Refusal => ({ because, remedy: look });
  switch (reason) {
    case 'ignored':
      return {
        because: `"learn" does not take this kind of message, only ${entrance.bridge?.desired.learn.join(', ') ?? 'others'}`,
        remedy: 'let the host send another kind, or add this one to "learn"',
      };
    case 'vlan':
      return {
        because: `VLAN ${vlan} is none that ${port} is in, or the frame has two tags, or an 802.1ad one`,
        remedy: `bridge vlan show dev ${port}; the host must send in a VLAN of its port`,
      };
    case 'truncated':
      return malformed('it is shorter than its headers say');
    case 'arp_header':
      return malformed('its ARP header is none of IPv4 on Ethernet');
    case 'spoofed':
      return {
        because: `its sender is ${source}, and it speaks for ${claimed ?? 'another MAC'}`,
        remedy: `the host must speak for itself; behind a proxy it is given under "static"`,
      };
    case 'mac':
      return malformed('it names a MAC that no host has: zero, or a group address');
    case 'ip':
      return malformed('it names an address that no host has');
    case 'link_local':
      if (isLearnedNow(rejection, entrance)) {
        return { because: 'link-local addresses were not learned here then', remedy: AGAIN };
      }
      return {
        because: 'link-local addresses are not learned here',
        remedy: 'set "link_local: true" if they shall be',
      };
    case 'fragment':
      return malformed('it is fragmented, which Neighbor Discovery never is (RFC 6980)');
    case 'hop_limit':
      return malformed('its hop limit is not 255: it has come over a router, or is forged');
    case 'checksum':
      return malformed('its ICMPv6 checksum is wrong');
    case 'nd_header':
      return malformed('its code, length or flags are none of Neighbor Discovery (RFC 4861, section 7.1)');
    case 'nd_option':
      return malformed('it names no MAC, or more than one, or its options are malformed');
    case 'override':
      return {
        because: 'its override flag is not set: an anycast address, or a proxy, displaces nobody',
        remedy: 'give the address under "static" if it belongs to one host here',
      };
    case 'subnet':
      if (isLearnedNow(rejection, entrance)) {
        return { because: `it was not in what ${entrance.bridgeName} learned then`, remedy: AGAIN };
      }
      return {
        because: `it is not in what ${entrance.bridgeName} learns: ${describeSubnets(rejection, entrance)}`,
        remedy: 'correct the address of the host, or add its prefix to "subnets"',
      };
    case 'static':
      return {
        because: 'the address is provisioned for another MAC',
        remedy: `if ${claimed ?? source} shall have ${ip}, add it to "static"`,
      };
    case 'frozen':
      return {
        because: 'the address is frozen as a duplicate',
        remedy: `find the other host; then: snoopy reconcile --unfreeze ${ip}`,
      };
    case 'port_limit':
      return {
        because: `${port} had all the hosts that it may have`,
        remedy: 'snoopy status; raise limits.bindings_per_port if they belong there',
      };
    case 'rate_limit':
      return {
        because: `new hosts came too fast on ${port}`,
        remedy: 'let it speak again, or raise limits.new_bindings_per_second',
      };
    case 'table_full':
      return { because: 'the table of bindings was full', remedy: 'raise runtime.max_bindings' };
    default:
      return reason satisfies never;
  }
}

/** True where the configuration, or the node's addresses, are not what they were when the message came. */
function isLearnedNow({ ip, vlan }: Rejection, { bridge }: Entrance): boolean {
  return bridge !== undefined && whyNotLearnable(bridge, { ip, vlan }) === null;
}

/** The prefixes from which hosts of this family are believed, as text. */
function describeSubnets({ ip, vlan }: Rejection, { bridge }: Entrance): string {
  if (bridge === undefined) return 'nothing, for it is not configured';
  const domain = bridge.domains.get(vlan);
  if (domain?.reserved.has(ip)) return "it is the node's own address, or a broadcast address";
  const allowed = allowedPrefixes(bridge.desired, domain, familyOf(ip));
  return allowed === 'any' ? 'any' : allowed.map((prefix) => `${prefix.ip}/${prefix.length}`).join(', ');
}

// The words of `explain` for each reason why a message is rejected.

import { type IpAddress, isVirtualRouter, type Mac } from '../../base/address.ts';
import type { RejectionReason } from '../../datapath/records/counters.ts';
import type { LearnKind } from '../desired.ts';
import { addStatic, type StaticPlace, staticEntry, underStatic } from './static-wording.ts';

/** What was wrong with a message, and the fix: keys of the report. */
export interface RejectionWords {
  readonly because: string;
  readonly remedy: string;
}

interface Message extends StaticPlace {
  readonly ip: IpAddress;
  readonly vlan: number;
  readonly source: Mac;
  readonly claimed: Mac | null;
  readonly port: string;
  /** The kinds of messages that the bridge learns from; null when it is not configured. */
  readonly learn: readonly LearnKind[] | null;
  /** The addresses that it learns. */
  readonly learns: string;
}

type Row = (message: Message) => RejectionWords;

function malformed(because: string): Row {
  return ({ port, source }) => ({
    because,
    remedy: `see what it sends: tcpdump -eni ${port} ether src ${source}`,
  });
}

/** CARP answers for the MAC of its virtual router, and sends from its own. */
function ofVirtualRouter({
  ip,
  vlan,
  source,
  claimed,
  ...place
}: Pick<Message, 'ip' | 'vlan' | 'source' | 'bridge' | 'isNamed'> & {
  readonly claimed: Mac;
}): RejectionWords {
  return {
    because: `a virtual router sends it from ${source}, and it claims the address for ${claimed}, as CARP does`,
    remedy: addStatic(place, staticEntry({ ip, vlan, mac: claimed })),
  };
}

const NOT_ITS_MAC = malformed(
  'its link-layer address option is missing or repeated: it does not name its MAC',
);
const MALFORMED_OPTIONS = malformed('its options are malformed');

/** The messages that may be learned from, by their names in "learn". */
const MESSAGES: Readonly<Record<LearnKind, string>> = {
  'arp-request': 'an ARP request',
  'arp-reply': 'an ARP reply',
  na: 'a Neighbor Advertisement',
  ns: 'a Neighbor Solicitation',
};

/** The messages about addresses of this family. */
function kindsOf(ip: IpAddress): readonly LearnKind[] {
  return ip.includes(':') ? ['na', 'ns'] : ['arp-request', 'arp-reply'];
}

export const REJECTIONS: Readonly<Record<RejectionReason, Row>> = {
  ignored: ({ ip, learn }) => {
    const kinds = kindsOf(ip).filter((kind) => !learn?.includes(kind));
    return {
      because: `it is ${kinds.map((kind) => MESSAGES[kind]).join(' or ')}, and "learn" takes only ${learn?.join(', ') ?? 'others'}`,
      remedy: `let the host send another kind, or add ${kinds.join(' or ')} to "learn"`,
    };
  },
  vlan: ({ vlan, port }) => ({
    because: `VLAN ${vlan} is not a VLAN of ${port}, or the frame has two tags or an 802.1ad tag`,
    remedy: `bridge vlan show dev ${port}; the host must send in a VLAN of its port`,
  }),
  truncated: malformed('it is shorter than the length in its headers'),
  arp_header: malformed('its ARP header is not for IPv4 on Ethernet'),
  spoofed: ({ ip, vlan, source, claimed, bridge, isNamed }) =>
    claimed !== null && isVirtualRouter(claimed)
      ? ofVirtualRouter({ ip, vlan, source, claimed, bridge, isNamed })
      : {
          because: `its Ethernet source is ${source}, and it claims the address for ${claimed ?? 'another MAC'}`,
          remedy: `the host must send it itself; for a host behind a proxy, add the address ${underStatic({ bridge, isNamed })}`,
        },
  mac: malformed('no host can have the MAC that it names: zero, or a group address'),
  ip: malformed('no host can have the address that it names'),
  link_local: () => ({
    because: 'link-local addresses are not learned here',
    remedy: 'set "link_local: true" if they should be',
  }),
  fragment: malformed('it is fragmented, which RFC 6980 forbids for Neighbor Discovery'),
  hop_limit: malformed('its hop limit is not 255: it came through a router, or is forged'),
  checksum: malformed('its ICMPv6 checksum is wrong'),
  nd_header: malformed('its code, length or flags break RFC 4861, section 7.1'),
  // Where the option is missing, the Ethernet source stands for the MAC.
  nd_option: (message) => (message.claimed === message.source ? NOT_ITS_MAC : MALFORMED_OPTIONS)(message),
  override: (place) => ({
    because: 'its override flag is not set: an anycast address or a proxy, which replaces no other host',
    remedy: `add the address ${underStatic(place)}, if it belongs to one host here`,
  }),
  subnet: ({ bridge, learns }) => ({
    because: `${bridge} does not learn this address; it learns ${learns}`,
    remedy: 'correct the address of the host, or add its prefix to "subnets"',
  }),
  static: ({ ip, source, claimed }) => ({
    because: 'the address is static with another MAC',
    remedy: `if ${claimed ?? source} should have ${ip}, add it to "static"`,
  }),
  frozen: ({ ip }) => ({
    because: 'the address is frozen as a duplicate',
    remedy: `find the other host; then: snoopy reconcile --unfreeze ${ip}`,
  }),
  port_limit: ({ port }) => ({
    because: `${port} was at its limit of addresses`,
    remedy: 'snoopy status; raise limits.bindings_per_port if its hosts belong there',
  }),
  rate_limit: ({ port }) => ({
    because: `new addresses came too fast on ${port}`,
    remedy: 'let it send again, or raise limits.new_bindings_per_second',
  }),
  table_full: () => ({ because: 'the table of bindings was full', remedy: 'raise runtime.max_bindings' }),
};

const AGAIN = 'let the host send again: it is learned now';

/** For rules that have changed since. */
export const LEARNED_NOW: Readonly<Record<'subnet' | 'link_local', Row>> = {
  subnet: ({ bridge }) => ({ because: `${bridge} did not learn this address then`, remedy: AGAIN }),
  link_local: () => ({ because: 'link-local addresses were not learned here then', remedy: AGAIN }),
};

/** What a bridge learns, when that is not a list of prefixes. */
export const LEARNS = {
  nothing: () => 'nothing, because it is not configured',
  notReserved: () => "no address of the node's own, and no broadcast address",
  everything: () => 'any address',
};

// Which addresses may be learned: the rules of the program's trie, and the same check in user space. Pure.

import {
  AF_INET,
  contains,
  encodeIp,
  type Family,
  familyOf,
  type IpAddress,
  isLinkLocal,
  type Prefix,
} from '../base/address.ts';
import type { BindingKey } from '../datapath/records/binding-key.ts';
import type { PrefixRule } from '../datapath/records/prefix-rule.ts';
import type { DesiredBridge } from './desired.ts';
import type { Bridge, Domain } from './topology.ts';

const FAMILY_PREFIXES: readonly Prefix[] = [
  { ip: '0.0.0.0' as IpAddress, length: 0 },
  { ip: '::' as IpAddress, length: 0 },
];

/** RFC 3927 and RFC 4291, section 2.5.6. They belong to no subnet, so no list of subnets has them. */
function linkLocalPrefix(family: Family): Prefix {
  return family === AF_INET
    ? { ip: '169.254.0.0' as IpAddress, length: 16 }
    : { ip: 'fe80::' as IpAddress, length: 10 };
}

function fullLength(ip: IpAddress): number {
  return familyOf(ip) === AF_INET ? 32 : 128;
}

/**
 * True for an address that a host can have; the program has the same check (scope_of_ipv4 and scope_of_ipv6 in
 * bpf/snoopy.bpf.c). Not 0.0.0.0/8, loopback, multicast, 240.0.0.0/4; nor ff00::/8, ::/96, or IPv4-mapped addresses.
 */
export function isHostAddress(ip: IpAddress): boolean {
  const bytes = encodeIp(ip);
  const first = bytes[0] ?? 0;
  if (familyOf(ip) === AF_INET) return first !== 0 && first !== 127 && first < 224;
  const isReserved = bytes.subarray(0, 8).every((byte) => byte === 0);
  const middle = bytes.subarray(8, 12).join('.');
  return first !== 0xff && !(isReserved && (middle === '0.0.0.0' || middle === '0.0.255.255'));
}

/**
 * The prefixes of a family whose addresses may be learned in one domain. `subnets: auto` means the connected prefixes
 * of the neighbor device, or any address when it has none. A host address (/32, /128) and a link-local address do not
 * count: they do not show which subnet the hosts are in.
 */
export function allowedPrefixes(
  desired: DesiredBridge,
  domain: Domain | undefined,
  family: Family,
): 'any' | readonly Prefix[] {
  if (desired.subnets === 'any') return 'any';
  if (desired.subnets !== 'auto') return desired.subnets.filter((prefix) => familyOf(prefix.ip) === family);
  const prefixes = (domain?.addresses ?? []).map((address) => address.connected);
  const connected = prefixes.filter(
    (prefix) =>
      familyOf(prefix.ip) === family && prefix.length < fullLength(prefix.ip) && !isLinkLocal(prefix.ip),
  );
  return connected.length === 0 ? 'any' : connected;
}

/** What may be learned on a bridge, as rules of the trie: any address, except in families with a list of prefixes. */
export function prefixRules(bridge: Bridge): PrefixRule[] {
  const rules: PrefixRule[] = [{ bridge: bridge.ifIndex, vlan: 0, prefix: null, allow: true }];
  for (const domain of bridge.domains.values()) {
    const rule = (prefix: Prefix, allow: boolean): PrefixRule => ({
      bridge: bridge.ifIndex,
      vlan: domain.vlan,
      prefix,
      allow,
    });
    for (const everything of FAMILY_PREFIXES) {
      const allowed = allowedPrefixes(bridge.desired, domain, familyOf(everything.ip));
      if (allowed === 'any') continue;
      rules.push(rule(everything, false), ...allowed.map((prefix) => rule(prefix, true)));
      if (bridge.desired.linkLocal) rules.push(rule(linkLocalPrefix(familyOf(everything.ip)), true));
    }
    for (const ip of domain.reserved) rules.push(rule({ ip, length: fullLength(ip) }, false));
  }
  return rules;
}

/** Why an address may not be learned; null when it may. */
export type LearnableCheck = (key: Pick<BindingKey, 'ip' | 'vlan'>) => string | null;

/** Repeats the program's subnet check for the addresses of one bridge, as its configuration may have changed. */
export function learnableOn(bridge: Bridge): LearnableCheck {
  const { desired, domains } = bridge;
  const allowed = new Map<number, 'any' | readonly Prefix[]>();
  return ({ ip, vlan }) => {
    const domain = domains.get(vlan);
    if (domain?.reserved.has(ip)) return "the node's own address, or one that no single host can have";
    if (isLinkLocal(ip)) return desired.linkLocal ? null : 'link-local';
    const family = familyOf(ip);
    const id = (vlan << 8) | family;
    let prefixes = allowed.get(id);
    if (prefixes === undefined) {
      prefixes = allowedPrefixes(desired, domain, family);
      allowed.set(id, prefixes);
    }
    return prefixes === 'any' || prefixes.some((prefix) => contains(prefix, ip))
      ? null
      : 'not in its subnets';
  };
}

/** Why one address may not be learned on a bridge; null when it may. */
export function whyNotLearnable(bridge: Bridge, key: Pick<BindingKey, 'ip' | 'vlan'>): string | null {
  return learnableOn(bridge)(key);
}

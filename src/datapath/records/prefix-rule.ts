// struct snoopy_prefix_key, map "prefixes": which addresses may be learned.

import type { IfIndex, Prefix } from '../../base/address.ts';
import { readU8, writeU8 } from '../../base/bytes.ts';
import { getIfIndex, getU32, setU32 } from '../../base/field.ts';
import { PREFIX_KEY } from '../../generated/layouts.ts';
import { getKey, setKey } from './binding-key.ts';
import type { KeyCodec, ValueCodec } from './codec.ts';

/** What a rule applies to: a whole bridge (`prefix` is null), or a prefix in one VLAN of it. */
export interface PrefixRuleKey {
  readonly bridge: IfIndex;
  readonly vlan: number;
  readonly prefix: Prefix | null;
}

/** An entry of the map. */
export interface PrefixRule extends PrefixRuleKey {
  readonly allow: boolean;
}

/** Bits of a key that come before the address: the bridge; bridge, VLAN and family. */
const BRIDGE_BITS = 32;
const DOMAIN_BITS = 64;

export const prefixKeyCodec: KeyCodec<PrefixRuleKey> = {
  decode(bytes, at) {
    const bits = getU32(bytes, at, PREFIX_KEY.prefixlen);
    if (bits === BRIDGE_BITS) {
      return { bridge: getIfIndex(bytes, at, PREFIX_KEY.bridge), vlan: 0, prefix: null };
    }
    const { bridge, vlan, ip } = getKey(bytes, at, PREFIX_KEY, 'prefixes');
    return { bridge, vlan, prefix: { ip, length: bits - DOMAIN_BITS } };
  },
  encode({ bridge, vlan, prefix }, bytes, at) {
    if (prefix === null) {
      setU32(bytes, at, PREFIX_KEY.prefixlen, BRIDGE_BITS);
      setU32(bytes, at, PREFIX_KEY.bridge, bridge);
    } else {
      setU32(bytes, at, PREFIX_KEY.prefixlen, DOMAIN_BITS + prefix.length);
      setKey(bytes, at, PREFIX_KEY, { bridge, vlan, ip: prefix.ip });
    }
  },
};

/** The value is 1 for a prefix that is allowed, 0 for one that is denied. */
export const prefixRuleCodec: ValueCodec<PrefixRule> = {
  decode: (values, at, keys, keyAt) => ({
    ...prefixKeyCodec.decode(keys, keyAt),
    allow: readU8(values, at) === 1,
  }),
  encode: ({ allow }, bytes, at) => writeU8(bytes, at, allow ? 1 : 0),
};

// struct snoopy_static_key, map "statics": provisioned addresses.

import { type Mac, NO_MAC } from '../../base/address.ts';
import { writeU8 } from '../../base/bytes.ts';
import { getMac, setMac } from '../../base/field.ts';
import { STATIC_KEY } from '../../generated/layouts.ts';
import { type BindingKey, getKey, setKey } from './binding-key.ts';
import type { KeyCodec, ValueCodec } from './codec.ts';

/** A provisioned address (`mac` is null), or a MAC that may have it. */
export interface StaticRule extends BindingKey {
  readonly mac: Mac | null;
}

export const staticKeyCodec: KeyCodec<StaticRule> = {
  decode(bytes, at) {
    const { bridge, vlan, ip } = getKey(bytes, at, STATIC_KEY, 'statics');
    const mac = getMac(bytes, at, STATIC_KEY.mac);
    return { bridge, vlan, ip, mac: mac === NO_MAC ? null : mac };
  },
  encode(rule, bytes, at) {
    setKey(bytes, at, STATIC_KEY, rule);
    if (rule.mac !== null) setMac(bytes, at, STATIC_KEY.mac, rule.mac);
  },
};

/** The key has everything; the value is 1. */
export const staticRuleCodec: ValueCodec<StaticRule> = {
  decode: (_values, _at, keys, keyAt) => staticKeyCodec.decode(keys, keyAt),
  encode: (_rule, bytes, at) => writeU8(bytes, at, 1),
};

// struct snoopy_hint, map "hints": the memory of hosts that are elsewhere or gone.

import type { Mac } from '../../base/address.ts';
import { getMac, getU8, setMac, setU8 } from '../../base/field.ts';
import { HINT, HINT_KEY } from '../../generated/layouts.ts';
import { type BindingKey, bindingId, getKey, setKey } from './binding-key.ts';
import type { KeyCodec, ValueCodec } from './codec.ts';
import { decodeHintKind, encodeHintKind, type HintKind } from './hint-kind.ts';
import { getMs, setMs } from './time.ts';

/** An address, and the MAC that may have it. */
export interface HintKey extends BindingKey {
  readonly mac: Mac;
}

/** A key as text, for maps and sets. */
export function hintId(hint: HintKey): string {
  return `${bindingId(hint)} ${hint.mac}`;
}

/** An entry of the map. Times are milliseconds of CLOCK_MONOTONIC. */
export interface Hint extends HintKey {
  readonly kind: HintKind;
  /** Probes sent for it, at most 255. */
  readonly probes: number;
  /** When the hint was last given. */
  readonly seenMs: number;
  /** Of the last probe, before the first one of the arrival of the MAC on a port here; 0: neither. */
  readonly probedMs: number;
}

export const hintKeyCodec: KeyCodec<HintKey> = {
  decode(bytes, at) {
    const { bridge, vlan, ip } = getKey(bytes, at, HINT_KEY, 'hints');
    return { bridge, vlan, ip, mac: getMac(bytes, at, HINT_KEY.mac) };
  },
  encode(key, bytes, at) {
    setKey(bytes, at, HINT_KEY, key);
    setMac(bytes, at, HINT_KEY.mac, key.mac);
  },
};

export const hintCodec: ValueCodec<Hint> = {
  decode(values, at, keys, keyAt) {
    const { bridge, vlan, ip, mac } = hintKeyCodec.decode(keys, keyAt);
    return {
      bridge,
      vlan,
      ip,
      mac,
      kind: decodeHintKind(getU8(values, at, HINT.kind)),
      probes: getU8(values, at, HINT.probes),
      seenMs: getMs(values, at, HINT.seenNs),
      probedMs: getMs(values, at, HINT.probedNs),
    };
  },
  encode(hint, bytes, at) {
    setU8(bytes, at, HINT.kind, encodeHintKind(hint.kind));
    setU8(bytes, at, HINT.probes, Math.min(hint.probes, 255));
    setMs(bytes, at, HINT.seenNs, hint.seenMs);
    setMs(bytes, at, HINT.probedNs, hint.probedMs);
  },
};

// struct snoopy_seen_hint, map "seen": the hints that the program has seen, for a run to take.

import type { IfIndex } from '../../base/address.ts';
import { getIfIndex, getMac, getU8, getU32, setMac, setU8, setU32 } from '../../base/field.ts';
import { BINDING_KEY, SEEN_HINT, SEEN_HINT_KEY } from '../../generated/layouts.ts';
import { getKey, setKey } from './binding-key.ts';
import type { KeyCodec, ValueCodec } from './codec.ts';
import type { Hint } from './hint.ts';
import { decodeSeenHintKind, encodeHintKind, type SeenHintKind } from './hint-kind.ts';
import { getMs, setMs } from './time.ts';

/** A slot of a port: a newer hint takes the place of an older one of that port. */
export interface SeenHintKey {
  readonly port: IfIndex;
  readonly slot: number;
}

/** An entry of the map: a hint of a message, whose Ethernet source is `mac`. */
export interface SeenHint extends SeenHintKey, Hint {
  readonly kind: SeenHintKind;
}

export const seenHintKeyCodec: KeyCodec<SeenHintKey> = {
  decode: (bytes, at) => ({
    port: getIfIndex(bytes, at, SEEN_HINT_KEY.port),
    slot: getU32(bytes, at, SEEN_HINT_KEY.slot),
  }),
  encode({ port, slot }, bytes, at) {
    setU32(bytes, at, SEEN_HINT_KEY.port, port);
    setU32(bytes, at, SEEN_HINT_KEY.slot, slot);
  },
};

export const seenHintCodec: ValueCodec<SeenHint> = {
  decode(values, at, keys, keyAt) {
    const { port, slot } = seenHintKeyCodec.decode(keys, keyAt);
    const { bridge, vlan, ip } = getKey(values, at + SEEN_HINT.key, BINDING_KEY, 'seen');
    const kind = decodeSeenHintKind(getU8(values, at, SEEN_HINT.kind), 'seen');
    return {
      port,
      slot,
      bridge,
      vlan,
      ip,
      mac: getMac(values, at, SEEN_HINT.mac),
      kind,
      probes: getU8(values, at, SEEN_HINT.probes),
      seenMs: getMs(values, at, SEEN_HINT.timeNs),
      probedMs: getMs(values, at, SEEN_HINT.probedNs),
    };
  },
  encode(hint, bytes, at) {
    setKey(bytes, at + SEEN_HINT.key, BINDING_KEY, hint);
    setMac(bytes, at, SEEN_HINT.mac, hint.mac);
    setU8(bytes, at, SEEN_HINT.kind, encodeHintKind(hint.kind));
    setU8(bytes, at, SEEN_HINT.probes, Math.min(hint.probes, 255));
    setMs(bytes, at, SEEN_HINT.timeNs, hint.seenMs);
    setMs(bytes, at, SEEN_HINT.probedNs, hint.probedMs);
  },
};

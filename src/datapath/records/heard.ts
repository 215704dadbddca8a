// struct snoopy_heard, map "heard": the hints that the program has seen, for a run to take.

import type { IfIndex } from '../../base/address.ts';
import { getIfIndex, getMac, getU8, getU32, setMac, setU8, setU32 } from '../../base/field.ts';
import { BINDING_KEY, HEARD, HEARD_KEY } from '../../generated/layouts.ts';
import { getKey, setKey } from './binding-key.ts';
import type { KeyCodec, ValueCodec } from './codec.ts';
import type { Hint } from './hint.ts';
import { decodeHeardKind, encodeHintKind, type HeardKind } from './hint-kind.ts';
import { getMs, setMs } from './time.ts';

/** A slot of a port: a newer hint takes the place of an older one of that port. */
export interface HeardKey {
  readonly port: IfIndex;
  readonly slot: number;
}

/** An entry of the map: a hint of a message, whose Ethernet source is `mac`. */
export interface Heard extends HeardKey, Hint {
  readonly kind: HeardKind;
}

export const heardKeyCodec: KeyCodec<HeardKey> = {
  decode: (bytes, at) => ({
    port: getIfIndex(bytes, at, HEARD_KEY.port),
    slot: getU32(bytes, at, HEARD_KEY.slot),
  }),
  encode({ port, slot }, bytes, at) {
    setU32(bytes, at, HEARD_KEY.port, port);
    setU32(bytes, at, HEARD_KEY.slot, slot);
  },
};

export const heardCodec: ValueCodec<Heard> = {
  decode(values, at, keys, keyAt) {
    const { port, slot } = heardKeyCodec.decode(keys, keyAt);
    const { bridge, vlan, ip } = getKey(values, at + HEARD.key, BINDING_KEY, 'heard');
    const kind = decodeHeardKind(getU8(values, at, HEARD.kind), 'heard');
    return {
      port,
      slot,
      bridge,
      vlan,
      ip,
      mac: getMac(values, at, HEARD.mac),
      kind,
      probes: getU8(values, at, HEARD.probes),
      heardMs: getMs(values, at, HEARD.timeNs),
      probedMs: getMs(values, at, HEARD.probedNs),
    };
  },
  encode(heard, bytes, at) {
    setKey(bytes, at + HEARD.key, BINDING_KEY, heard);
    setMac(bytes, at, HEARD.mac, heard.mac);
    setU8(bytes, at, HEARD.kind, encodeHintKind(heard.kind));
    setU8(bytes, at, HEARD.probes, Math.min(heard.probes, 255));
    setMs(bytes, at, HEARD.timeNs, heard.heardMs);
    setMs(bytes, at, HEARD.probedNs, heard.probedMs);
  },
};

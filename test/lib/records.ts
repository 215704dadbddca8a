// Single keys and values of maps as bytes of their own.
import type { KeyCodec, ValueCodec, ValueDecoder } from '../../src/datapath/records/codec.ts';

/** A codec with the size of the bytes that it fills. */
export type Sized<Codec> = readonly [codec: Codec, size: number];

export function keyBytes<Key>([codec, size]: Sized<KeyCodec<Key>>, key: Key): Uint8Array {
  const bytes = new Uint8Array(size);
  codec.encode(key, bytes, 0);
  return bytes;
}

export function valueBytes<Value>([codec, size]: Sized<ValueCodec<Value>>, value: Value): Uint8Array {
  const bytes = new Uint8Array(size);
  codec.encode(value, bytes, 0);
  return bytes;
}

/** The entry at the start of `keys` and `values`. */
export function decodeEntry<Value>(
  [decoder]: Sized<ValueDecoder<Value>>,
  keys: Uint8Array,
  values: Uint8Array,
): Value {
  return decoder.decode(values, 0, keys, 0);
}

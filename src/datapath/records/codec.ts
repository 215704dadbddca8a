// How a map's keys and values are read and written: one shape for every record of bpf/snoopy.h.

/** A key as bytes and back. `decode` throws SnoopyError `malformed`. */
export interface KeyCodec<Key> {
  decode(bytes: Uint8Array, at: number): Key;
  encode(key: Key, bytes: Uint8Array, at: number): void;
}

/**
 * A value out of bytes. The bytes of its key come with it, as many values hold what their key says. Throws
 * SnoopyError `malformed` for bytes that are cut short, and for what neither the program nor a run writes.
 */
export interface ValueDecoder<Value> {
  decode(values: Uint8Array, at: number, keys: Uint8Array, keyAt: number): Value;
}

/** `encode` fills bytes that are zero. */
export interface ValueCodec<Value> extends ValueDecoder<Value> {
  encode(value: Value, bytes: Uint8Array, at: number): void;
}

// How a map's keys and values are read and written: one shape for every record of bpf/snoopy.h.

/** A key as bytes and back. `decode` throws SnoopyError `malformed`. */
export interface KeyCodec<Key> {
  decode(bytes: Uint8Array, at: number): Key;
  encode(key: Key, bytes: Uint8Array, at: number): void;
}

/**
 * Decodes a value. It gets the bytes of the key too, as many records include the fields of their key. Throws
 * SnoopyError `malformed` for bytes that are cut short, and for values that neither the program nor a run writes.
 */
export interface ValueDecoder<Value> {
  decode(values: Uint8Array, at: number, keys: Uint8Array, keyAt: number): Value;
}

/** `encode` writes into zeroed bytes. */
export interface ValueCodec<Value> extends ValueDecoder<Value> {
  encode(value: Value, bytes: Uint8Array, at: number): void;
}

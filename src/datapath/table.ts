// A kernel map as a table of records. Only migrate.ts handles entries as bytes besides.

import { errnoOf, SnoopyError } from '../base/errors.ts';
import { type MapInfo, mapInfo } from '../ffi/info.ts';
import {
  BPF_ANY,
  BPF_EXIST,
  BPF_NOEXIST,
  type MapEntries,
  mapDelete,
  mapEntries,
  mapLookup,
  mapUpdate,
  mapUpdateAll,
} from '../ffi/map.ts';
import type { KeyCodec, ValueCodec, ValueDecoder } from './records/codec.ts';

/** A map in the kernel. Its holder closes the descriptor. */
export interface OpenMap {
  readonly fd: number;
  readonly info: MapInfo;
}

/** The map that is open as `fd`. Throws SnoopyError `pin_unusable`. */
export function openMap(fd: number): OpenMap {
  return { fd, info: mapInfo(fd) };
}

/** Which entries a write applies to: any, only new ones, or only existing ones. */
type WriteMode = 'any' | 'new' | 'existing';

/** The flag of bpf_map_update_elem, and the errno when the mode does not allow the write. */
const WRITE_MODES = {
  any: { flags: BPF_ANY, refusal: undefined },
  new: { flags: BPF_NOEXIST, refusal: 'EEXIST' },
  existing: { flags: BPF_EXIST, refusal: 'ENOENT' },
} as const;

/**
 * A map with keys and values of one kind. `valueSize` is that of this version; a map of bindings or of the layout
 * record may be of another version. All methods throw SnoopyError `map_failed`, whose `errno` is E2BIG when the map is
 * full.
 */
export class Table<Key, Value> {
  readonly map: OpenMap;
  readonly #key: KeyCodec<Key>;
  readonly #value: ValueCodec<Value>;
  readonly #valueSize: number;
  readonly #entry: ValueDecoder<[Key, Value]> = {
    decode: (values, at, keys, keyAt) => [
      this.#key.decode(keys, keyAt),
      this.#value.decode(values, at, keys, keyAt),
    ],
  };

  constructor(map: OpenMap, key: KeyCodec<Key>, value: ValueCodec<Value>, valueSize: number) {
    this.map = map;
    this.#key = key;
    this.#value = value;
    this.#valueSize = valueSize;
  }

  /** Undefined when the key is not in the map. Throws SnoopyError `malformed` for a value that cannot be decoded. */
  get(key: Key): Value | undefined {
    const { fd, info } = this.map;
    const keyBytes = this.#encodeKey(key);
    const value = mapLookup(fd, keyBytes, info.valueSize);
    if (value === undefined) return undefined;
    return this.#value.decode(fit(value, 1, info.valueSize, this.#valueSize), 0, keyBytes, 0);
  }

  /** All values, read in batches. Malformed ones are left out. */
  values(): Value[] {
    return decodeAll(readEntries(this.map, this.#valueSize), this.#value);
  }

  /** All keys with their values, likewise. */
  entries(): [Key, Value][] {
    return decodeAll(readEntries(this.map, this.#valueSize), this.#entry);
  }

  /** These keys that are in the map, with their values. Malformed ones are left out. */
  entriesOf(keys: Iterable<Key>): [Key, Value][] {
    return [...keys].flatMap((key) => {
      const { fd, info } = this.map;
      const bytes = this.#encodeKey(key);
      const value = mapLookup(fd, bytes, info.valueSize);
      if (value === undefined) return [];
      const values = fit(value, 1, info.valueSize, this.#valueSize);
      return decodeAll({ keys: bytes, values, count: 1 }, this.#entry);
    });
  }

  /** The values of these keys, likewise. */
  valuesOf(keys: Iterable<Key>): Value[] {
    return this.entriesOf(keys).map(([, value]) => value);
  }

  /** Writes an entry; false when it exists already (`new`) or does not exist (`existing`). */
  set(key: Key, value: Value, mode: WriteMode = 'any'): boolean {
    const { fd, info } = this.map;
    const { flags, refusal } = WRITE_MODES[mode];
    const bytes = new Uint8Array(info.valueSize);
    this.#value.encode(value, bytes, 0);
    try {
      mapUpdate(fd, this.#encodeKey(key), bytes, flags);
      return true;
    } catch (thrown) {
      if (refusal !== undefined && errnoOf(thrown) === refusal) return false;
      throw thrown;
    }
  }

  /** Writes entries in batches. */
  setAll(entries: readonly (readonly [Key, Value])[]): void {
    const { fd, info } = this.map;
    const keys = new Uint8Array(entries.length * info.keySize);
    const values = new Uint8Array(entries.length * info.valueSize);
    for (const [i, [key, value]] of entries.entries()) {
      this.#key.encode(key, keys, i * info.keySize);
      this.#value.encode(value, values, i * info.valueSize);
    }
    mapUpdateAll(fd, info, { keys, values, count: entries.length });
  }

  /** False when the key was not in the map. */
  delete(key: Key): boolean {
    return mapDelete(this.map.fd, this.#encodeKey(key));
  }

  #encodeKey(key: Key): Uint8Array {
    const bytes = new Uint8Array(this.map.info.keySize);
    this.#key.encode(key, bytes, 0);
    return bytes;
  }
}

/**
 * All entries of a map, with values of `valueSize` bytes. Values of another version are cut short or padded with
 * zeroes: new fields are at the end, and zero in them means "not known".
 */
export function readEntries({ fd, info }: OpenMap, valueSize: number): MapEntries {
  const { keys, values, count } = mapEntries(fd, info);
  return { keys, values: fit(values, count, info.valueSize, valueSize), count };
}

function fit(values: Uint8Array, count: number, from: number, to: number): Uint8Array {
  if (from === to) return values;
  const result = new Uint8Array(count * to);
  const size = Math.min(from, to);
  for (let i = 0; i < count; i++) result.set(values.subarray(i * from, i * from + size), i * to);
  return result;
}

/**
 * Decodes adjacent entries. A malformed one is left out: neither the program nor a run wrote it, and the other entries
 * are still good.
 */
export function decodeAll<Value>(entries: MapEntries, { decode }: ValueDecoder<Value>): Value[] {
  const { keys, values, count } = entries;
  const [keySize, valueSize] = count === 0 ? [0, 0] : [keys.length / count, values.length / count];
  const decoded: Value[] = [];
  for (let i = 0; i < count; i++) {
    try {
      decoded.push(decode(values, i * valueSize, keys, i * keySize));
    } catch (thrown) {
      if (!(thrown instanceof SnoopyError && thrown.code === 'malformed')) throw thrown;
    }
  }
  return decoded;
}

// Map entries as bytes, one by one and in batches. src/datapath/table.ts turns them into records.

import { readU64AsNumber, writeU32, writeU64 } from '../base/bytes.ts';
import type { SnoopyError } from '../base/errors.ts';
import { type MapInfo, mapInfo } from './info.ts';
import { bpfError, isUnsupported, libbpf } from './libbpf.ts';
import { E2BIG, ENOENT, ENOSPC } from './libc.ts';

// Flags of bpf_map_update_elem.
export const BPF_ANY = 0;
export const BPF_NOEXIST = 1;
export const BPF_EXIST = 2;

/** The error of a map operation, with the map's name, and with its size when it is full. */
function mapError(fd: number, operation: string, result: number): SnoopyError {
  let info: Pick<MapInfo, 'name' | 'maxEntries'>;
  try {
    info = mapInfo(fd);
  } catch {
    info = { name: `descriptor ${fd}`, maxEntries: 0 };
  }
  const { name: object, maxEntries } = info;
  // A full hash map returns E2BIG, a full trie ENOSPC.
  const isFull = (result === -E2BIG || result === -ENOSPC) && maxEntries > 0;
  const context = { operation: `${operation} map "${object}"`, object, code: 'map_failed' } as const;
  if (!isFull) return bpfError(context, result);
  const fix = 'configure fewer ports, subnets or static entries, or raise runtime.max_bindings';
  return bpfError({ ...context, fix }, result, `the map is full: ${maxEntries} entries`);
}

/** The value of `key`; undefined when there is none. Throws SnoopyError `map_failed`. Not for per-CPU maps. */
export function mapLookup(fd: number, key: Uint8Array, valueSize: number): Uint8Array | undefined {
  const value = new Uint8Array(valueSize);
  const result = libbpf.mapLookupElem(fd, key, value);
  if (result === -ENOENT) return undefined;
  if (result < 0) throw mapError(fd, 'read from', result);
  return value;
}

/** bpf_map_update_elem. Throws SnoopyError `map_failed`, whose `errno` is EEXIST, ENOENT, E2BIG or another. */
export function mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number = BPF_ANY): void {
  const result = libbpf.mapUpdateElem(fd, key, value, flags);
  if (result < 0) throw mapError(fd, 'write to', result);
}

/** Deletes an entry; false when there was none. Throws SnoopyError `map_failed`. */
export function mapDelete(fd: number, key: Uint8Array): boolean {
  const result = libbpf.mapDeleteElem(fd, key);
  if (result < 0 && result !== -ENOENT) throw mapError(fd, 'delete from', result);
  return result >= 0;
}

/** Entries side by side: key `i` begins at `i * keySize` of `keys`, its value at `i * valueSize` of `values`. */
export interface MapEntries {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
}

/** Room of the first batch: most maps of most nodes have fewer entries. */
const FIRST_BATCH = 512;
/** Room of the second batch: untouched memory costs nothing, but is counted as used. */
const SECOND_BATCH = 65_536;

/** The buffer that mapEntries fills and enlarges. */
class EntryBuffer {
  keys: Uint8Array;
  values: Uint8Array;
  count = 0;
  capacity: number;
  readonly #info: MapInfo;

  constructor(info: MapInfo, capacity: number) {
    this.#info = info;
    this.capacity = capacity;
    this.keys = new Uint8Array(capacity * info.keySize);
    this.values = new Uint8Array(capacity * info.valueSize);
  }

  /** Grows to the room for all entries of the map, or for very many; after that to twice its size. */
  grow(): void {
    const most = Math.min(this.#info.maxEntries, SECOND_BATCH);
    const larger = new EntryBuffer(this.#info, Math.max(most, this.capacity * 2));
    larger.keys.set(this.keys);
    larger.values.set(this.values);
    this.capacity = larger.capacity;
    this.keys = larger.keys;
    this.values = larger.values;
  }

  /** The free part, for the next entries. */
  rest(): { keys: Uint8Array; values: Uint8Array; capacity: number } {
    return {
      keys: this.keys.subarray(this.count * this.#info.keySize),
      values: this.values.subarray(this.count * this.#info.valueSize),
      capacity: this.capacity - this.count,
    };
  }

  entries(): MapEntries {
    return {
      keys: this.keys.subarray(0, this.count * this.#info.keySize),
      values: this.values.subarray(0, this.count * this.#info.valueSize),
      count: this.count,
    };
  }
}

/**
 * The whole map, read in batches, or one by one when the kernel has no batches for its type. While the program writes,
 * an entry may be missed or appear twice. Throws SnoopyError `map_failed`. Not for per-CPU maps.
 */
export function mapEntries(fd: number, info: MapInfo): MapEntries {
  const buffer = new EntryBuffer(info, Math.max(1, Math.min(info.maxEntries, FIRST_BATCH)));
  // The kernel's position: a u32 for hash maps, a key for the others.
  const position = new Uint8Array(Math.max(4, info.keySize));
  const next = new Uint8Array(position.length);
  let isFirst = true;
  for (;;) {
    if (buffer.count === buffer.capacity) buffer.grow();
    const rest = buffer.rest();
    const count = new Uint32Array([rest.capacity]);
    const result = libbpf.mapLookupBatch(
      fd,
      isFirst ? null : position,
      next,
      rest.keys,
      rest.values,
      count,
      null,
    );
    if (result >= 0 || result === -ENOENT) {
      buffer.count += count[0] ?? 0;
      if (result === -ENOENT) return buffer.entries();
      position.set(next);
      isFirst = false;
    } else if (result === -ENOSPC) {
      // The next bucket has more entries than the buffer has room for.
      buffer.grow();
    } else if (isFirst && isUnsupported(result)) {
      return entriesOneByOne(fd, info, buffer);
    } else {
      throw mapError(fd, 'read all of', result);
    }
  }
}

function entriesOneByOne(fd: number, info: MapInfo, buffer: EntryBuffer): MapEntries {
  let key: Uint8Array | null = null;
  // When the current key is deleted, the kernel starts again at the first one. The bound ends such a loop.
  for (let step = 0; step < info.maxEntries * 2 + 16; step++) {
    const next = new Uint8Array(info.keySize);
    const result = libbpf.mapGetNextKey(fd, key, next);
    if (result === -ENOENT) return buffer.entries();
    if (result < 0) throw mapError(fd, 'walk through', result);
    const value = mapLookup(fd, next, info.valueSize);
    if (value !== undefined) {
      if (buffer.count === buffer.capacity) buffer.grow();
      buffer.keys.set(next, buffer.count * info.keySize);
      buffer.values.set(value, buffer.count * info.valueSize);
      buffer.count++;
    }
    key = next;
  }
  return buffer.entries();
}

/** Writes entries, in batches if the kernel supports them. Throws SnoopyError `map_failed`. */
export function mapUpdateAll(fd: number, info: MapInfo, entries: MapEntries, flags: number = BPF_ANY): void {
  if (entries.count === 0) return;
  // struct bpf_map_batch_opts: size_t sz, u64 elem_flags, u64 flags.
  const options = new Uint8Array(24);
  writeU64(options, 0, 24n);
  writeU64(options, 8, BigInt(flags));
  const count = new Uint32Array([entries.count]);
  const result = libbpf.mapUpdateBatch(fd, entries.keys, entries.values, count, options);
  if (result >= 0) return;
  if (!isUnsupported(result)) throw mapError(fd, 'write to', result);
  for (let i = 0; i < entries.count; i++) {
    const key = entries.keys.subarray(i * info.keySize, (i + 1) * info.keySize);
    mapUpdate(fd, key, entries.values.subarray(i * info.valueSize, (i + 1) * info.valueSize), flags);
  }
}

/** Number of CPUs for which a per-CPU map has a value. */
function possibleCpus(): number {
  const count = libbpf.numPossibleCpus();
  if (count < 0) throw bpfError({ operation: 'count the possible CPUs', object: 'cpu' }, count);
  return count;
}

/** The sum over all CPUs of an entry of a per-CPU array of u64. Throws SnoopyError `map_failed`. */
export function perCpuSum(fd: number, entry: number): number {
  const cpus = possibleCpus();
  const values = new Uint8Array(cpus * 8);
  const key = new Uint8Array(4);
  writeU32(key, 0, entry);
  const result = libbpf.mapLookupElem(fd, key, values);
  if (result < 0) throw mapError(fd, 'read from', result);
  let sum = 0;
  for (let cpu = 0; cpu < cpus; cpu++) sum += readU64AsNumber(values, cpu * 8);
  return sum;
}

// The ring of changes: read over mapped memory, committed by the caller. linux/Documentation/bpf/ringbuf.rst.

import { SnoopyError } from '../base/errors.ts';
import { type Mapping, mmap, PROT_READ, PROT_WRITE, pageSize } from '../ffi/libc.ts';
import { CHANGE_BYTES, type Change, decodeChange, isInMap } from './records/change.ts';

/** BPF_RINGBUF_BUSY_BIT: the program has not finished the record yet. */
const BUSY_BIT = 0x8000_0000;
/** BPF_RINGBUF_DISCARD_BIT: the program discarded the record. */
const DISCARD_BIT = 0x4000_0000;
/** BPF_RINGBUF_HDR_SZ: length and flags, page offset. */
const HEADER_BYTES = 8;
/** Bytes of the ring for one record. All have the same size, so every position is a multiple of it. */
const STRIDE = HEADER_BYTES + Math.ceil(CHANGE_BYTES / 8) * 8;

/** Records read from the ring. Nothing is consumed before `commit`. */
export interface Drained {
  readonly changes: readonly Change[];
  /** Number of records read, including those that `changes` leaves out. */
  readonly records: number;
  /** True when the positions or a record were invalid; everything up to the producer position is skipped. */
  readonly damaged: boolean;
}

export const NOTHING_DRAINED: Drained = { changes: [], records: 0, damaged: false };

export interface Ring {
  /** Forgets what was read and not committed: it is read again. */
  rewind(): void;
  /** Number of records that were not read yet. */
  pending(): number;
  /**
   * All finished records that were not read before. `moves` leaves out those of new bindings and of hints: their maps
   * have them, and there may be tens of thousands after provisioning.
   */
  read(what: 'all' | 'moves'): Drained;
  /** Consumes all records read so far, so that the program can use their room. */
  commit(): void;
  close(): void;
}

/**
 * Maps a pinned BPF_MAP_TYPE_RINGBUF of `size` bytes. The consumer position is in the map: the next process continues
 * where the last one committed. Close it before the descriptor. Throws SnoopyError `map_failed`.
 */
export function openRing(fd: number, size: number): Ring {
  const page = pageSize();
  const context = { operation: 'map the ring of changes', object: 'changes', code: 'map_failed' } as const;
  const consumer = mmap(fd, page, PROT_READ | PROT_WRITE, 0, context);
  let producer: Mapping;
  try {
    // The data pages are mapped twice in a row, so that a record that wraps is contiguous.
    producer = mmap(fd, page + 2 * size, PROT_READ, page, context);
  } catch (thrown) {
    consumer.unmap();
    throw thrown;
  }
  const consumerPosition = new BigInt64Array(consumer.buffer, 0, 1);
  const producerPosition = new BigInt64Array(producer.buffer, 0, 1);
  const headers = new Int32Array(producer.buffer, page, (2 * size) / 4);
  const committed = (): number => Number(Atomics.load(consumerPosition, 0));
  let position = committed();

  const end = (): number => Number(Atomics.load(producerPosition, 0));
  const read = (what: 'all' | 'moves'): Drained => {
    const stop = end();
    const changes: Change[] = [];
    let records = 0;
    const passOver = (): Drained => {
      position = stop;
      return { changes, records, damaged: true };
    };
    if (position < 0 || position % STRIDE !== 0 || position > stop || stop - position > size) {
      return passOver();
    }
    while (position < stop) {
      const offset = position % size;
      const header = Atomics.load(headers, offset / 4) >>> 0;
      // The length of a busy record is checked too: an invalid one that only looks busy would block the ring for ever.
      const length = header & ~(BUSY_BIT | DISCARD_BIT);
      if (length !== CHANGE_BYTES || position + STRIDE > stop) return passOver();
      if ((header & BUSY_BIT) !== 0) break;
      if ((header & DISCARD_BIT) === 0) {
        const at = page + offset + HEADER_BYTES;
        try {
          const isWanted = what === 'all' || !isInMap(producer.bytes, at);
          if (isWanted) changes.push(decodeChange(producer.bytes, at));
          records++;
        } catch (thrown) {
          if (!(thrown instanceof SnoopyError && thrown.code === 'malformed')) throw thrown;
          return passOver();
        }
      }
      position += STRIDE;
    }
    return { changes, records, damaged: false };
  };
  return {
    rewind: () => {
      position = committed();
    },
    pending: () => (end() - position) / STRIDE,
    read,
    commit: () => {
      if (committed() !== position) Atomics.store(consumerPosition, 0, BigInt(position));
    },
    close: () => {
      producer.unmap();
      consumer.unmap();
    },
  };
}

// Many datagrams in one call: recvmmsg(2).

import { readU32, writeU64 } from '../base/bytes.ts';
import { koffi } from './koffi.ts';
import { type Refusal, receiveMany } from './libc.ts';

/** The most datagrams of one call, and the size of one. Untouched memory of the slots costs nothing. */
const SLOTS = 32;
const SLOT_SIZE = 128 * 1024;
/** struct iovec: void *iov_base, size_t iov_len. */
const IOVEC_SIZE = 16;
/**
 * struct mmsghdr: struct msghdr {void *msg_name; socklen_t msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
 * void *msg_control; size_t msg_controllen; int msg_flags}, then unsigned int msg_len. As on all 64-bit Linux.
 */
const MMSGHDR = { iov: 16, iovlen: 24, length: 56, size: 64 } as const;

/** Datagrams that arrived together, until the next call. `truncated`: one was longer than the room for it. */
export type Delivery =
  | { readonly kind: 'datagrams'; readonly datagrams: readonly Uint8Array[] }
  | { readonly kind: 'truncated'; readonly length: number; readonly room: number }
  | Refusal;

/** Memory for the datagrams of one call. */
export class Inbox {
  readonly #slots = new Uint8Array(SLOTS * SLOT_SIZE);
  readonly #vectors = new Uint8Array(SLOTS * IOVEC_SIZE);
  readonly #headers = new Uint8Array(SLOTS * MMSGHDR.size);

  constructor() {
    const { address } = koffi();
    const slots = address(this.#slots);
    const vectors = address(this.#vectors);
    for (let i = 0; i < SLOTS; i++) {
      writeU64(this.#vectors, i * IOVEC_SIZE, slots + BigInt(i * SLOT_SIZE));
      writeU64(this.#vectors, i * IOVEC_SIZE + 8, BigInt(SLOT_SIZE));
      writeU64(this.#headers, i * MMSGHDR.size + MMSGHDR.iov, vectors + BigInt(i * IOVEC_SIZE));
      writeU64(this.#headers, i * MMSGHDR.size + MMSGHDR.iovlen, 1n);
    }
  }

  /** All waiting datagrams, as far as there is room. Does not wait. */
  receive(fd: number): Delivery {
    const count = receiveMany(fd, this.#headers, SLOTS);
    if (typeof count !== 'number') return count;
    const datagrams: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const length = readU32(this.#headers, i * MMSGHDR.size + MMSGHDR.length);
      if (length > SLOT_SIZE) return { kind: 'truncated', length, room: SLOT_SIZE };
      datagrams.push(this.#slots.subarray(i * SLOT_SIZE, i * SLOT_SIZE + length));
    }
    return { kind: 'datagrams', datagrams };
  }
}

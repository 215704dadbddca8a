// struct nlmsghdr and struct rtattr (linux/netlink.h, linux/rtnetlink.h): bytes to messages and back.

import {
  addressLength,
  decodeIp,
  decodeMac,
  type Family,
  type IpAddress,
  type Mac,
} from '../base/address.ts';
import {
  readBe16,
  readText,
  readU8,
  readU16,
  readU32,
  requireBytes,
  writeBe16,
  writeU8,
  writeU16,
  writeU32,
} from '../base/bytes.ts';
import { malformed, type SnoopyError } from '../base/errors.ts';

// nlmsghdr.nlmsg_type
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
// nlmsghdr.nlmsg_flags
export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
/** The kernel answers some requests only with this. */
export const NLM_F_ECHO = 0x08;
export const NLM_F_DUMP_INTR = 0x10;
// For requests that read.
export const NLM_F_DUMP = 0x300;
// For requests that write.
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
// For acknowledgements.
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

/** sizeof(struct nlmsghdr): u32 length, u16 type, u16 flags, u32 sequence, u32 port ID. */
export const NLMSG_HDRLEN = 16;
/** sizeof(struct rtattr): u16 length, u16 type. */
export const RTA_HDRLEN = 4;
const NLA_F_NESTED = 0x8000;
/** Without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const NLA_TYPE_MASK = 0x3fff;

/** NLMSG_ALIGN and RTA_ALIGN. */
export function align(length: number): number {
  return (length + 3) & ~3;
}

/** One message: what follows the header is `payload`, a view into the datagram. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** nlmsg_pid: port ID of the socket whose request caused it. */
  readonly portId: number;
  readonly payload: Uint8Array;
}

/** A request before it has a sequence number. The socket adds NLM_F_REQUEST and NLM_F_ACK. */
export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** True for a request whose answer has messages besides the acknowledgement. */
  readonly answered?: boolean;
}

function malformedMessage(cause: string): SnoopyError {
  return malformed('netlink', 'decode a netlink message', cause);
}

/** All messages of a datagram. Throws `malformed` when one is cut short. */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at < datagram.length; ) {
    if (datagram.length - at < NLMSG_HDRLEN)
      throw malformedMessage(`${datagram.length - at} bytes are no header`);
    const length = readU32(datagram, at);
    if (length < NLMSG_HDRLEN || length > datagram.length - at) {
      throw malformedMessage(`its length is ${length}, ${datagram.length - at} bytes are left`);
    }
    messages.push({
      type: readU16(datagram, at + 4),
      flags: readU16(datagram, at + 6),
      sequence: readU32(datagram, at + 8),
      portId: readU32(datagram, at + 12),
      payload: datagram.subarray(at + NLMSG_HDRLEN, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** Writes `request` with its header at `offset`; returns the aligned offset after it. */
export function encodeMessage(
  request: Request,
  flags: number,
  sequence: number,
  bytes: Uint8Array,
  offset: number,
): number {
  const length = NLMSG_HDRLEN + request.payload.length;
  const end = offset + align(length);
  requireBytes(bytes, offset, end - offset);
  writeU32(bytes, offset, length);
  writeU16(bytes, offset + 4, request.type);
  writeU16(bytes, offset + 6, request.flags | flags);
  writeU32(bytes, offset + 8, sequence);
  writeU32(bytes, offset + 12, 0);
  bytes.set(request.payload, offset + NLMSG_HDRLEN);
  for (let at = offset + length; at < end; at++) bytes[at] = 0;
  return end;
}

/** Sets flags of the message whose header is at `offset`. */
export function addFlags(bytes: Uint8Array, offset: number, flags: number): void {
  writeU16(bytes, offset + 6, readU16(bytes, offset + 6) | flags);
}

/** One attribute; `type` without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
export interface Attribute {
  readonly type: number;
  readonly payload: Uint8Array;
}

/**
 * The offset of each type of attribute in a message, or -1, like the table of the kernel's nla_parse(). A reader of
 * tens of thousands of messages lends one index to the `Attributes` of each in turn; it is valid until it is lent
 * again.
 */
export class AttributeIndex {
  readonly starts: Int32Array;

  /** For types up to `last`; higher ones are not found. */
  constructor(last: number) {
    this.starts = new Int32Array(last + 1);
  }
}

/**
 * The attributes of a message or of a nest, including unknown ones. The last one of a type counts, as in the kernel.
 * Without an index each lookup scans the bytes, which is fine for one or two lookups.
 */
export class Attributes implements Iterable<Attribute> {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #end: number;
  readonly #starts: Int32Array | undefined;

  /** The attributes from `offset` to `end`. Throws `malformed` when one is cut short. */
  constructor(bytes: Uint8Array, offset: number, end: number = bytes.length, index?: AttributeIndex) {
    requireBytes(bytes, 0, offset);
    requireBytes(bytes, offset, end - offset);
    this.#bytes = bytes;
    this.#start = offset;
    this.#end = end;
    const starts = index?.starts.fill(-1);
    this.#starts = starts;
    for (let at = offset; at < end; ) {
      if (end - at < RTA_HDRLEN) throw malformedMessage(`${end - at} bytes are no attribute`);
      const length = readU16(bytes, at);
      if (length < RTA_HDRLEN || length > end - at) {
        throw malformedMessage(`an attribute's length is ${length}, ${end - at} bytes are left`);
      }
      // Writing beyond the end of a typed array has no effect.
      if (starts !== undefined) starts[readU16(bytes, at + 2) & NLA_TYPE_MASK] = at;
      at += align(length);
    }
  }

  /** Where the last attribute of a type begins; -1 when there is none. */
  #find(type: number): number {
    if (this.#starts !== undefined) return this.#starts[type] ?? -1;
    const bytes = this.#bytes;
    let found = -1;
    for (let at = this.#start; at < this.#end; at += align(readU16(bytes, at))) {
      if ((readU16(bytes, at + 2) & NLA_TYPE_MASK) === type) found = at;
    }
    return found;
  }

  /** Length of the payload of the attribute that begins at `at`. */
  #lengthAt(at: number): number {
    return readU16(this.#bytes, at) - RTA_HDRLEN;
  }

  /** Start of a payload of at least `size` bytes; -1 when there is no such attribute. */
  #payload(type: number, size: number): number {
    const at = this.#find(type);
    if (at < 0) return -1;
    const length = this.#lengthAt(at);
    if (length < size) throw malformedMessage(`attribute ${type} has ${length} bytes, ${size} are needed`);
    return at + RTA_HDRLEN;
  }

  has(type: number): boolean {
    return this.#find(type) >= 0;
  }

  // These readers throw `malformed` when the attribute is shorter than the value.

  u8(type: number): number | undefined {
    const start = this.#payload(type, 1);
    return start < 0 ? undefined : readU8(this.#bytes, start);
  }

  u16(type: number): number | undefined {
    const start = this.#payload(type, 2);
    return start < 0 ? undefined : readU16(this.#bytes, start);
  }

  /** u16 in network order. */
  be16(type: number): number | undefined {
    const start = this.#payload(type, 2);
    return start < 0 ? undefined : readBe16(this.#bytes, start);
  }

  /** `offset` is within the payload, for a structure of several fields. */
  u32(type: number, offset = 0): number | undefined {
    const start = this.#payload(type, offset + 4);
    return start < 0 ? undefined : readU32(this.#bytes, start + offset);
  }

  /** A link-layer address; also undefined when it is not an Ethernet address. */
  mac(type: number): Mac | undefined {
    const at = this.#find(type);
    return at < 0 || this.#lengthAt(at) !== 6 ? undefined : decodeMac(this.#bytes, at + RTA_HDRLEN);
  }

  /** An IP address of `family`. Throws `malformed` for another length. */
  ip(type: number, family: Family): IpAddress | undefined {
    const at = this.#find(type);
    if (at < 0) return undefined;
    const length = this.#lengthAt(at);
    if (length !== addressLength(family)) throw malformedMessage(`an IP address has ${length} bytes`);
    return decodeIp(this.#bytes, at + RTA_HDRLEN, family);
  }

  /** Text up to the first NUL. */
  text(type: number): string | undefined {
    const at = this.#find(type);
    return at < 0 ? undefined : readText(this.#bytes, at + RTA_HDRLEN, this.#lengthAt(at));
  }

  bytes(type: number): Uint8Array | undefined {
    const at = this.#find(type);
    return at < 0 ? undefined : this.#payloadAt(at);
  }

  #payloadAt(at: number): Uint8Array {
    return this.#bytes.subarray(at + RTA_HDRLEN, at + RTA_HDRLEN + this.#lengthAt(at));
  }

  nested(type: number): Attributes | undefined {
    const at = this.#find(type);
    if (at < 0) return undefined;
    return new Attributes(this.#bytes, at + RTA_HDRLEN, at + RTA_HDRLEN + this.#lengthAt(at));
  }

  *[Symbol.iterator](): Iterator<Attribute> {
    for (let at = this.#start; at < this.#end; at += align(readU16(this.#bytes, at))) {
      yield { type: readU16(this.#bytes, at + 2) & NLA_TYPE_MASK, payload: this.#payloadAt(at) };
    }
  }
}

/**
 * Payloads are views of slabs: ten thousand requests need ten thousand views, but not as many buffers for the garbage
 * collector to move. A slab is used only once, so its bytes are zero.
 */
const SLAB_SIZE = 64 * 1024;
let slab = new Uint8Array(0);
let slabUsed = 0;

function allocate(size: number): Uint8Array {
  if (size > SLAB_SIZE / 8) return new Uint8Array(size);
  if (slabUsed + size > slab.length) {
    slab = new Uint8Array(SLAB_SIZE);
    slabUsed = 0;
  }
  const bytes = slab.subarray(slabUsed, slabUsed + size);
  slabUsed += size;
  return bytes;
}

/** struct rtattr of an attribute with a payload of `length` bytes. */
export function writeAttributeHeader(bytes: Uint8Array, offset: number, type: number, length: number): void {
  writeU16(bytes, offset, RTA_HDRLEN + length);
  writeU16(bytes, offset + 2, type);
}

/** Writes a payload: the message's own structure, then attributes. */
export class PayloadWriter {
  #bytes: Uint8Array;
  #length = 0;

  /** `size` is the length of the payload, or an estimate. */
  constructor(size: number) {
    this.#bytes = allocate(size);
  }

  /** Makes room for `length` bytes, zero-padded to a multiple of four; returns its offset. */
  #reserve(length: number): number {
    const at = this.#length;
    this.#length += align(length);
    if (this.#length > this.#bytes.length) {
      const grown = allocate(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    return at;
  }

  /** Makes zeroed room for the message's structure, at the start of the returned bytes. Fill it before adding more. */
  structure(size: number): Uint8Array {
    this.#reserve(size);
    return this.#bytes;
  }

  /** Makes room for an attribute's payload; returns its offset in `bytes`. */
  #attribute(type: number, length: number): number {
    const at = this.#reserve(RTA_HDRLEN + length);
    writeAttributeHeader(this.#bytes, at, type, length);
    return at + RTA_HDRLEN;
  }

  u8(type: number, value: number): void {
    const at = this.#attribute(type, 1);
    writeU8(this.#bytes, at, value);
  }

  u16(type: number, value: number): void {
    const at = this.#attribute(type, 2);
    writeU16(this.#bytes, at, value);
  }

  /** u16 in network order. */
  be16(type: number, value: number): void {
    const at = this.#attribute(type, 2);
    writeBe16(this.#bytes, at, value);
  }

  u32(type: number, value: number): void {
    const at = this.#attribute(type, 4);
    writeU32(this.#bytes, at, value);
  }

  /** ASCII text with a final NUL. */
  text(type: number, value: string): void {
    const at = this.#attribute(type, value.length + 1);
    for (let i = 0; i < value.length; i++) this.#bytes[at + i] = value.charCodeAt(i);
  }

  /** An attribute of `length` bytes, written by `write` at the given offset. */
  fill(type: number, length: number, write: (bytes: Uint8Array, offset: number) => void): void {
    const at = this.#attribute(type, length);
    write(this.#bytes, at);
  }

  /** The attributes that `write` adds, as one nest. */
  nest(type: number, write: () => void): void {
    const start = this.#attribute(type | NLA_F_NESTED, 0) - RTA_HDRLEN;
    write();
    writeU16(this.#bytes, start, this.#length - start);
  }

  finish(): Uint8Array {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length);
  }
}

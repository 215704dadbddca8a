// A descriptor of a NETLINK_ROUTE socket: opens and binds it, and reads datagrams.

import { closeSync } from 'node:fs';
import { readU32, writeU16 } from '../base/bytes.ts';
import { SnoopyError } from '../base/errors.ts';
import type { Inbox } from '../ffi/inbox.ts';
import {
  bind,
  getSocketOption,
  getsockname,
  poll,
  type Refusal,
  receive,
  setSocketOption,
  socket,
} from '../ffi/libc.ts';
import { decodeMessages, type Message } from './message.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
export const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** Size of the kernel's receive buffer. */
const RECEIVE_BUFFER = 4 * 1024 * 1024;
/** The kernel builds dumps in datagrams of 32 KiB at most; a single object can be larger (a device with many VFs). */
export const DATAGRAM_SIZE = 256 * 1024;

/** A bound socket; its port ID comes from the kernel. Options that an old kernel lacks are skipped. */
export function openDescriptor(): { fd: number; portId: number } {
  const fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  try {
    setSocketOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    setSocketOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    setSocketOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    if (!setSocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)) {
      setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    }
    // struct sockaddr_nl: u16 family, u16 padding, u32 port ID, u32 groups.
    const address = new Uint8Array(12);
    writeU16(address, 0, AF_NETLINK);
    bind(fd, address);
    getsockname(fd, address);
    return { fd, portId: readU32(address, 4) };
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

/** Bytes of the kernel's receive buffer: twice the requested size, as the kernel includes its own overhead. */
export function receiveBufferSize(fd: number): number {
  return getSocketOption(fd, SOL_SOCKET, SO_RCVBUF);
}

/** The messages of what was received; `empty` after a wait without an answer. */
export type Received =
  | { readonly kind: 'messages'; readonly messages: readonly Message[] }
  | { readonly kind: 'empty' }
  /** Messages were lost. If they were notifications, read everything again. */
  | { readonly kind: 'overrun' };

/** Receives one datagram, waiting no longer than `timeoutMs`. The messages' payloads are in `buffer`. */
export function receiveMessages(fd: number, buffer: Uint8Array, timeoutMs: number): Received {
  return receiving(fd, timeoutMs, () => {
    const receipt = receive(fd, buffer);
    if (receipt.kind === 'truncated') throw tooLong(receipt.length, buffer.length);
    if (receipt.kind !== 'datagram') return receipt;
    return { kind: 'messages', messages: decodeMessages(buffer.subarray(0, receipt.length)) };
  });
}

/** The same for all datagrams that are waiting, up to the room of the inbox, which has the payloads until its next use. */
export function receiveAll(fd: number, inbox: Inbox, timeoutMs: number): Received {
  return receiving(fd, timeoutMs, () => {
    const delivery = inbox.receive(fd);
    if (delivery.kind === 'truncated') throw tooLong(delivery.length, delivery.room);
    if (delivery.kind !== 'datagrams') return delivery;
    return { kind: 'messages', messages: delivery.datagrams.flatMap(decodeMessages) };
  });
}

function receiving(fd: number, timeoutMs: number, look: () => Received | Refusal): Received {
  for (;;) {
    const received = look();
    if (received.kind === 'interrupted') continue;
    if (received.kind !== 'empty' || timeoutMs === 0) return received;
    if (poll([fd], timeoutMs).kind === 'timeout') return received;
  }
}

function tooLong(length: number, room: number): SnoopyError {
  return new SnoopyError({
    code: 'netlink_failed',
    object: 'netlink',
    operation: `receive a netlink message of ${length} bytes`,
    cause: `the buffer has ${room} bytes`,
    fix: 'please report it',
  });
}

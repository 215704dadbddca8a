// Typed wrappers for the few libc calls that node:fs lacks.

import { constants } from 'node:os';
import { readU16, writeU16, writeU32 } from '../base/bytes.ts';
import { type ErrorCode, fixFor, SnoopyError } from '../base/errors.ts';
import { bindLazily, isLoaded, koffi } from './koffi.ts';

/** The purpose of a call: what its error has besides the errno. */
export interface CallContext {
  /** Such as `attach to port "tap100i0"`. */
  readonly operation: string;
  /** What it is about: an interface, a file, a pin. */
  readonly object: string;
  /** Default: `syscall_failed`. EPERM and EACCES always become `not_permitted`. */
  readonly code?: ErrorCode;
  /** What the caller may lack, such as `CAP_NET_ADMIN`; default `CAP_SYS_ADMIN`. */
  readonly capability?: string;
  /** The fix, for errors other than a lack of permission. */
  readonly fix?: string;
}

export const EPERM = constants.errno.EPERM;
export const E2BIG = constants.errno.E2BIG;
export const ENOENT = constants.errno.ENOENT;
const EINTR = constants.errno.EINTR;
export const EAGAIN = constants.errno.EAGAIN;
export const EACCES = constants.errno.EACCES;
export const EEXIST = constants.errno.EEXIST;
export const ENODEV = constants.errno.ENODEV;
const ENXIO = constants.errno.ENXIO;
const ENETDOWN = constants.errno.ENETDOWN;
export const EINVAL = constants.errno.EINVAL;
export const EROFS = constants.errno.EROFS;
export const ENOSPC = constants.errno.ENOSPC;
export const ENOBUFS = constants.errno.ENOBUFS;
export const EOPNOTSUPP = constants.errno.EOPNOTSUPP;
/** The kernel's own "not supported" (linux/errno.h), which sometimes leaks to user space. */
export const ENOTSUPP = 524;

let names: ReadonlyMap<number, string> | undefined;

/** Name of an errno such as `EEXIST`; `errno 999` for an unknown one. */
export function errnoName(errno: number): string {
  if (names === undefined) {
    const found = new Map<number, string>([[ENOTSUPP, 'ENOTSUPP']]);
    for (const [name, value] of Object.entries(constants.errno)) {
      // EAGAIN equals EWOULDBLOCK, and EOPNOTSUPP equals ENOTSUP: use the kernel's spelling.
      if (name !== 'EWOULDBLOCK' && name !== 'ENOTSUP') found.set(value, name);
    }
    names = found;
  }
  return names.get(errno) ?? `errno ${errno}`;
}

/** The error of a failed call. `detail` is the message of the kernel or of a library, if any. */
export function systemError(context: CallContext, errno: number, detail?: string): SnoopyError {
  const name = errnoName(errno);
  const isForbidden = errno === EPERM || errno === EACCES;
  return new SnoopyError({
    code: isForbidden ? 'not_permitted' : (context.code ?? 'syscall_failed'),
    object: context.object,
    operation: context.operation,
    cause: detail === undefined || detail === '' ? name : `${name} (${detail})`,
    fix: isForbidden
      ? `run as root or with ${context.capability ?? 'CAP_SYS_ADMIN'}`
      : (context.fix ?? fixFor(name)),
    errno: name,
  });
}

interface Libc {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Uint8Array, length: number) => number;
  readonly getsockname: (fd: number, address: Uint8Array, length: Uint32Array) => number;
  readonly setsockopt: (fd: number, level: number, name: number, value: Int32Array, length: number) => number;
  readonly getsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Int32Array,
    length: Uint32Array,
  ) => number;
  readonly send: (fd: number, bytes: Uint8Array, length: number, flags: number) => number;
  readonly sendto: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number;
  readonly recv: (fd: number, bytes: Uint8Array, length: number, flags: number) => number;
  readonly recvmmsg: (fd: number, headers: Uint8Array, count: number, flags: number, timeout: null) => number;
  readonly poll: (fds: Uint8Array, count: number, timeout: number) => number;
  readonly mmap: (
    address: null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => bigint;
  readonly munmap: (address: bigint, length: number) => number;
  readonly flock: (fd: number, operation: number) => number;
  readonly mount: (source: string, target: string, type: string, flags: number, data: string) => number;
  readonly ioctl: (fd: number, request: number, argument: Uint8Array) => number;
  readonly getpagesize: () => number;
  readonly exit: (status: number) => void;
}

// No library name: the C library that Node itself uses.
const libc = bindLazily<Libc>(() => koffi().load(null), {
  socket: ['socket', 'int', ['int', 'int', 'int']],
  bind: ['bind', 'int', ['int', 'void *', 'uint32_t']],
  getsockname: ['getsockname', 'int', ['int', 'void *', 'void *']],
  setsockopt: ['setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint32_t']],
  getsockopt: ['getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']],
  send: ['send', 'intptr_t', ['int', 'void *', 'size_t', 'int']],
  sendto: ['sendto', 'intptr_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint32_t']],
  recv: ['recv', 'intptr_t', ['int', 'void *', 'size_t', 'int']],
  recvmmsg: ['recvmmsg', 'int', ['int', 'void *', 'unsigned int', 'int', 'void *']],
  poll: ['poll', 'int', ['void *', 'unsigned long', 'int']],
  mmap: ['mmap', 'void *', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']],
  munmap: ['munmap', 'int', ['void *', 'size_t']],
  flock: ['flock', 'int', ['int', 'int']],
  mount: ['mount', 'int', ['const char *', 'const char *', 'const char *', 'unsigned long', 'const char *']],
  ioctl: ['ioctl', 'int', ['int', 'unsigned long', 'void *']],
  getpagesize: ['getpagesize', 'int', []],
  exit: ['_exit', 'void', ['int']],
});

/** errno of the last call; must be read at once. */
function lastErrno(): number {
  return koffi().errno();
}

const SOCK_CLOEXEC = 0o2000000;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

/** socket(2); SOCK_CLOEXEC is added. Close it with closeSync of node:fs. */
export function socket(domain: number, type: number, protocol: number, context?: CallContext): number {
  const fd = libc.socket(domain, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) {
    throw systemError(
      context ?? { operation: 'open a socket', object: `socket family ${domain}` },
      lastErrno(),
    );
  }
  return fd;
}

/** bind(2) */
export function bind(fd: number, address: Uint8Array): void {
  if (libc.bind(fd, address, address.length) < 0) {
    throw systemError({ operation: 'bind a socket', object: `descriptor ${fd}` }, lastErrno());
  }
}

/** getsockname(2): fills `address`. */
export function getsockname(fd: number, address: Uint8Array): void {
  if (libc.getsockname(fd, address, new Uint32Array([address.length])) < 0) {
    throw systemError({ operation: 'read the address of a socket', object: `descriptor ${fd}` }, lastErrno());
  }
}

/** setsockopt(2) with an int; false when the kernel refuses it (unknown option, not permitted). */
export function setSocketOption(fd: number, level: number, option: number, value: number): boolean {
  return libc.setsockopt(fd, level, option, new Int32Array([value]), 4) === 0;
}

/** getsockopt(2) of an int. */
export function getSocketOption(fd: number, level: number, option: number): number {
  const value = new Int32Array(1);
  if (libc.getsockopt(fd, level, option, value, new Uint32Array([4])) < 0) {
    throw systemError({ operation: `read socket option ${option}`, object: `descriptor ${fd}` }, lastErrno());
  }
  return value[0] ?? 0;
}

/** send(2) of the first `length` bytes; all of them or an error. */
export function send(fd: number, bytes: Uint8Array, length: number): void {
  if (length > bytes.length) throw new RangeError(`${length} bytes to send, ${bytes.length} given`);
  for (;;) {
    if (libc.send(fd, bytes, length, 0) >= 0) return;
    const errno = lastErrno();
    if (errno !== EINTR) {
      throw systemError({ operation: `send ${length} bytes`, object: `descriptor ${fd}` }, errno);
    }
  }
}

/**
 * The outcome of sending a datagram. `absent`: the interface was removed or is down. `refused`: any other error, mostly
 * a full queue.
 */
export type Sending = 'sent' | 'absent' | 'refused';

const ABSENT: readonly number[] = [ENXIO, ENODEV, ENETDOWN];

const AF_PACKET = 17;
const SOCK_RAW = 3;

/** A socket that sends whole frames and receives none (its protocol is 0). */
export function packetSocket(context: CallContext): number {
  return socket(AF_PACKET, SOCK_RAW, 0, context);
}

/** Sends a whole frame out of an interface, without waiting. */
export function sendFrame(fd: number, frame: Uint8Array, ifIndex: number): Sending {
  // struct sockaddr_ll (linux/if_packet.h): u16 family, u16 protocol, s32 ifindex; the rest does not matter here.
  const address = new Uint8Array(20);
  writeU16(address, 0, AF_PACKET);
  writeU32(address, 4, ifIndex);
  return sendTo(fd, frame, address);
}

/** sendto(2) of a whole datagram, without waiting. */
export function sendTo(fd: number, bytes: Uint8Array, address: Uint8Array): Sending {
  const sent = libc.sendto(fd, bytes, bytes.length, MSG_DONTWAIT, address, address.length);
  if (sent === bytes.length) return 'sent';
  return sent < 0 && ABSENT.includes(lastErrno()) ? 'absent' : 'refused';
}

/** Why nothing was received. */
export type Refusal =
  | { readonly kind: 'empty' }
  | { readonly kind: 'interrupted' }
  /** ENOBUFS: the kernel dropped datagrams because the receive buffer was full. */
  | { readonly kind: 'overrun' };

/** The outcome of recv(2). `truncated`: the datagram was longer than the buffer, and its end is lost. */
export type Receipt =
  | { readonly kind: 'datagram'; readonly length: number }
  | { readonly kind: 'truncated'; readonly length: number }
  | Refusal;

/** recv(2) of one datagram into `buffer`, without waiting. */
export function receive(fd: number, buffer: Uint8Array): Receipt {
  const length = libc.recv(fd, buffer, buffer.length, MSG_TRUNC | MSG_DONTWAIT);
  if (length >= 0) return { kind: length > buffer.length ? 'truncated' : 'datagram', length };
  return refusal(fd);
}

/**
 * recvmmsg(2) without waiting: the number of datagrams, whose lengths are their own, also of those that are cut. `headers` are
 * `count` of struct mmsghdr; see inbox.ts.
 */
export function receiveMany(fd: number, headers: Uint8Array, count: number): number | Refusal {
  const received = libc.recvmmsg(fd, headers, count, MSG_DONTWAIT | MSG_TRUNC, null);
  return received >= 0 ? received : refusal(fd);
}

function refusal(fd: number): Refusal {
  const errno = lastErrno();
  if (errno === EAGAIN) return { kind: 'empty' };
  if (errno === EINTR) return { kind: 'interrupted' };
  if (errno === ENOBUFS) return { kind: 'overrun' };
  throw systemError({ operation: 'receive from a socket', object: `descriptor ${fd}` }, errno);
}

const POLLIN = 1;
/** struct pollfd: int fd, short events, short revents. */
const POLLFD_SIZE = 8;

export type PollOutcome =
  | { readonly kind: 'ready'; readonly ready: readonly number[] }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'interrupted' };

/** poll(2) for input. A descriptor with POLLERR or POLLHUP counts as ready. -1 waits without a limit. */
export function poll(fds: readonly number[], timeoutMs: number): PollOutcome {
  const entries = new Uint8Array(fds.length * POLLFD_SIZE);
  for (const [index, fd] of fds.entries()) {
    writeU32(entries, index * POLLFD_SIZE, fd);
    writeU16(entries, index * POLLFD_SIZE + 4, POLLIN);
  }
  // A C int; a longer wait times out early, after 24 days.
  const count = libc.poll(entries, fds.length, Math.min(timeoutMs, 2 ** 31 - 1));
  if (count === 0) return { kind: 'timeout' };
  if (count < 0) {
    const errno = lastErrno();
    if (errno === EINTR) return { kind: 'interrupted' };
    throw systemError({ operation: 'poll', object: `descriptors ${fds.join(', ')}` }, errno);
  }
  return { kind: 'ready', ready: fds.filter((_, index) => readU16(entries, index * POLLFD_SIZE + 6) !== 0) };
}

export const PROT_READ = 1;
export const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FAILED = 2n ** 64n - 1n;

/** Memory shared with the kernel. After `unmap()` (idempotent) nothing may touch `bytes` or `buffer`. */
export interface Mapping {
  readonly bytes: Uint8Array;
  readonly buffer: ArrayBuffer;
  unmap(): void;
}

/** mmap(2), MAP_SHARED. `offset` in bytes, a multiple of the page size. */
export function mmap(
  fd: number,
  length: number,
  protection: number,
  offset: number,
  context: CallContext,
): Mapping {
  const address = libc.mmap(null, length, protection, MAP_SHARED, fd, offset);
  if (address === MAP_FAILED) throw systemError(context, lastErrno());
  const buffer = koffi().view(address, length);
  let isMapped = true;
  return {
    bytes: new Uint8Array(buffer),
    buffer,
    unmap() {
      if (isMapped) libc.munmap(address, length);
      isMapped = false;
    },
  };
}

export type LockMode = 'exclusive' | 'shared' | 'unlock';

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

function lockOperation(mode: LockMode): number {
  switch (mode) {
    case 'exclusive':
      return LOCK_EX | LOCK_NB;
    case 'shared':
      return LOCK_SH | LOCK_NB;
    case 'unlock':
      return LOCK_UN;
    default:
      return mode satisfies never;
  }
}

/**
 * flock(2) without waiting; false when another process holds the lock. It ends with the last copy of the descriptor.
 */
export function flock(fd: number, mode: LockMode, context: CallContext): boolean {
  for (;;) {
    if (libc.flock(fd, lockOperation(mode)) === 0) return true;
    const errno = lastErrno();
    if (errno === EAGAIN) return false;
    if (errno !== EINTR) throw systemError(context, errno);
  }
}

/** mount(2) */
export function mount(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
  context: CallContext,
): void {
  if (libc.mount(source, target, type, flags, data) < 0) throw systemError(context, lastErrno());
}

const TIOCGWINSZ = 0x5413;

/** Size of the terminal open as `fd` in characters; undefined when it is not a terminal or has no size. */
export function windowSize(fd: number): { readonly columns: number; readonly rows: number } | undefined {
  // struct winsize: u16 rows, columns, and the same in pixels.
  const size = new Uint8Array(8);
  if (libc.ioctl(fd, TIOCGWINSZ, size) < 0) return undefined;
  const [rows, columns] = [readU16(size, 0), readU16(size, 2)];
  return rows === 0 || columns === 0 ? undefined : { columns, rows };
}

/** Size of a page of memory in bytes. */
export function pageSize(): number {
  return libc.getpagesize();
}

/** Sleeps without spinning, and without the event loop. */
export function sleep(durationMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, durationMs);
}

/**
 * _exit(2), if koffi is loaded; otherwise it returns. All output must be written before. A normal exit of Node first
 * frees the heap and stops its threads, and that of koffi then waits until stdout is on the disk (fsync).
 */
export function exitAtOnce(status: number): void {
  if (isLoaded()) libc.exit(status);
}

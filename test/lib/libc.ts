// The few calls of the C library that tests make themselves: namespaces and raw frames without a process for each.
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const setnsCall = libc.func('int setns(int fd, int nstype)');
const socketCall = libc.func('int socket(int domain, int type, int protocol)');
const bindCall = libc.func('int bind(int fd, const uint8_t *address, uint32_t length)');
const sendCall = libc.func('int64_t send(int fd, const uint8_t *bytes, size_t length, int flags)');
const indexCall = libc.func('unsigned int if_nametoindex(const char *name)');

const CLONE_NEWNET = 0x4000_0000;
const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2_000_000;
/** sizeof(struct sockaddr_ll): u16 family, u16 protocol, i32 ifindex, and fields that are zero for a sender. */
const SOCKADDR_LL_SIZE = 20;

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`Cannot ${what}: errno ${koffi.errno()}`);
  return result;
}

function enter(path: string): void {
  const fd = openSync(path, 'r');
  try {
    check(setnsCall(fd, CLONE_NEWNET) as number, `enter ${path}`);
  } finally {
    closeSync(fd);
  }
}

/** Moves this process to a network namespace; the returned function moves it back. */
export function moveTo(netnsPath: string): () => void {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    enter(netnsPath);
  } catch (error) {
    closeSync(home);
    throw error;
  }
  return () => {
    try {
      check(setnsCall(home, CLONE_NEWNET) as number, 'return to the network namespace of before');
    } finally {
      closeSync(home);
    }
  };
}

/** Runs `body`, which must not wait for events, in a network namespace. Processes that it starts are in it too. */
export function inNetns<T>(netnsPath: string, body: () => T): T {
  const leave = moveTo(netnsPath);
  try {
    return body();
  } finally {
    leave();
  }
}

/** Sends frames unchanged, in this order, out of a device of the current network namespace (packet(7)). */
export function sendRaw(device: string, frames: readonly Uint8Array[]): void {
  const address = Buffer.alloc(SOCKADDR_LL_SIZE);
  const index = indexCall(device) as number;
  if (index === 0) throw new Error(`There is no device ${device}`);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeInt32LE(index, 4);
  const fd = check(socketCall(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) as number, 'open a packet socket');
  try {
    check(bindCall(fd, address, address.length) as number, `bind to ${device}`);
    for (const frame of frames) check(Number(sendCall(fd, frame, frame.length, 0)), `send from ${device}`);
  } finally {
    closeSync(fd);
  }
}

// Addresses of interfaces: struct ifaddrmsg (linux/if_addr.h).

import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  type IfIndex,
  type IpAddress,
  type Prefix,
  prefixOf,
} from '../base/address.ts';
import { readU8, readU32, writeU8 } from '../base/bytes.ts';
import { Attributes, type Message, PayloadWriter, type Request } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

/** sizeof(struct ifaddrmsg): u8 family, u8 prefixlen, u8 flags, u8 scope, u32 index. */
const IFADDRMSG_SIZE = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;

export interface InterfaceAddress {
  readonly ifIndex: IfIndex;
  /** The interface's own address: IFA_LOCAL, or IFA_ADDRESS without it. */
  readonly ip: IpAddress;
  readonly prefixLength: number;
  /** The connected prefix, that of IFA_ADDRESS: on a point-to-point address it is the peer's. */
  readonly connected: Prefix;
  /** IFA_F_* */
  readonly flags: number;
}

/** undefined for other messages and other families. */
export function decodeAddress(message: Message): InterfaceAddress | undefined {
  if (message.type !== RTM_NEWADDR && message.type !== RTM_DELADDR) return undefined;
  const { payload } = message;
  const family = readU8(payload, 0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = new Attributes(payload, IFADDRMSG_SIZE);
  const peer = attributes.ip(IFA_ADDRESS, family);
  const ip = attributes.ip(IFA_LOCAL, family) ?? peer;
  if (ip === undefined) return undefined;
  const prefixLength = readU8(payload, 1);
  return {
    ifIndex: readU32(payload, 4) as IfIndex,
    ip,
    prefixLength,
    connected: prefixOf(peer ?? ip, prefixLength),
    flags: attributes.u32(IFA_FLAGS) ?? readU8(payload, 2),
  };
}

export function addressDump(): Request {
  const writer = new PayloadWriter(IFADDRMSG_SIZE);
  writeU8(writer.structure(IFADDRMSG_SIZE), 0, AF_UNSPEC);
  return { type: RTM_GETADDR, flags: 0, payload: writer.finish() };
}

/** All addresses of both families. */
export function dumpAddresses(socket: NetlinkSocket): InterfaceAddress[] {
  return socket.dump(addressDump(), 'addresses', decodeAddress);
}

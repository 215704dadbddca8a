// Notifications of NETLINK_ROUTE: all changes in the kernel, made by any program.

import { closeSync } from 'node:fs';
import type { IfIndex } from '../base/address.ts';
import { readI32 } from '../base/bytes.ts';
import { SnoopyError } from '../base/errors.ts';
import { setSocketOption } from '../ffi/libc.ts';
import { DATAGRAM_SIZE, openDescriptor, type Received, receiveMessages, SOL_NETLINK } from './descriptor.ts';
import type { Message } from './message.ts';

const NETLINK_ADD_MEMBERSHIP = 1;

// enum rtnetlink_groups
export const RTNLGRP_LINK = 1;
export const RTNLGRP_NEIGH = 3;
export const RTNLGRP_TC = 4;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV6_IFADDR = 9;

/**
 * The device of a notification about a link, an address, a qdisc or a filter: struct ifinfomsg, ifaddrmsg and tcmsg have its
 * number at the same place. Undefined for a filter of a block that devices share (TCM_IFINDEX_MAGIC_BLOCK).
 */
export function deviceOf({ payload }: Message): IfIndex | undefined {
  const ifIndex = readI32(payload, 4);
  return ifIndex > 0 ? (ifIndex as IfIndex) : undefined;
}

/** A socket that receives the notifications of groups; poll `fd`, then receive until `empty`. */
export interface Subscription {
  readonly fd: number;
  /** One datagram, without waiting. The payloads are copies. */
  receive(): Received;
  close(): void;
}

/** Joins groups, RTNLGRP_*. Receives every change after it has returned. */
export function subscribe(groups: readonly number[]): Subscription {
  const { fd } = openDescriptor();
  for (const group of groups) {
    if (!setSocketOption(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)) {
      closeSync(fd);
      throw new SnoopyError({
        code: 'netlink_failed',
        object: 'netlink',
        operation: `subscribe to rtnetlink group ${group}`,
        cause: 'the kernel refused it',
        fix: 'run without --listen',
      });
    }
  }
  const buffer = new Uint8Array(DATAGRAM_SIZE);
  let isOpen = true;
  return {
    fd,
    receive() {
      const received = receiveMessages(fd, buffer, 0);
      if (received.kind !== 'messages') return received;
      const messages = received.messages.map((one) => ({ ...one, payload: new Uint8Array(one.payload) }));
      return { kind: 'messages', messages };
    },
    close() {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

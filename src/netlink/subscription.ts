// Notifications of NETLINK_ROUTE: all changes in the kernel, made by any program.

import { closeSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';
import { setSocketOption } from '../ffi/libc.ts';
import { DATAGRAM_SIZE, openDescriptor, type Received, receiveMessages, SOL_NETLINK } from './descriptor.ts';

const NETLINK_ADD_MEMBERSHIP = 1;

// enum rtnetlink_groups
export const RTNLGRP_LINK = 1;
export const RTNLGRP_NEIGH = 3;
export const RTNLGRP_TC = 4;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV6_IFADDR = 9;

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

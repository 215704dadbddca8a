// Waiting for something to do: the ring's descriptor and rtnetlink notifications, without spinning.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { type PollOutcome, poll } from '../ffi/libc.ts';
import { RTM_DELADDR, RTM_NEWADDR } from '../netlink/address.ts';
import { decodeFdbEntry } from '../netlink/fdb.ts';
import { RTM_DELLINK, RTM_NEWLINK } from '../netlink/link.ts';
import type { Message } from '../netlink/message.ts';
import { decodeNeighbor, RTM_DELNEIGH, RTM_NEWNEIGH } from '../netlink/neighbor.ts';
import {
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  RTNLGRP_TC,
  type Subscription,
  subscribe,
} from '../netlink/subscription.ts';
import { RTM_DELQDISC, RTM_DELTFILTER } from '../netlink/tc.ts';

/** What the last pass knows, to find the few notifications that matter. */
export interface Interest {
  /** MACs of all bindings. */
  readonly macs: ReadonlySet<Mac>;
  /** Addresses of all bindings and static entries. */
  readonly ips: ReadonlySet<IpAddress>;
  readonly devices: ReadonlySet<IfIndex>;
}

export interface Watch {
  /**
   * Waits until there is something to do (true) or the time is over (false). `ring` is the descriptor of the
   * pinned ring; `interest` filters the notifications of rtnetlink.
   */
  wait(ring: number | undefined, interest: Interest, deadlineMs: number): boolean;
  close(): void;
}

/** Subscribes at once, so that nothing is missed between the first observation and the first wait. */
export function openWatch(ownPortId: number, now: () => number): Watch {
  const groups = [RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];
  const subscription = subscribe(groups);
  return {
    wait: (ring, interest, deadlineMs) => {
      const fds = ring === undefined ? [subscription.fd] : [ring, subscription.fd];
      for (;;) {
        const leftMs = deadlineMs - now();
        if (leftMs <= 0) return false;
        const outcome = poll(fds, Math.ceil(leftMs));
        if (outcome.kind !== 'ready') continue;
        const isNotified =
          isReady(outcome, subscription.fd) && drainMatters(subscription, interest, ownPortId);
        if (isNotified || (ring !== undefined && isReady(outcome, ring))) return true;
      }
    },
    close: () => subscription.close(),
  };
}

function isReady(outcome: PollOutcome, fd: number): boolean {
  return outcome.kind === 'ready' && outcome.ready.includes(fd);
}

/** Receives all waiting notifications; true when one of them matters. The size of the buffer bounds the work. */
function drainMatters(subscription: Subscription, interest: Interest, ownPortId: number): boolean {
  let isNotified = false;
  for (;;) {
    const received = subscription.receive();
    switch (received.kind) {
      case 'empty':
        return isNotified;
      case 'overrun':
        isNotified = true;
        break;
      case 'messages':
        isNotified ||= received.messages.some((message) => matters(message, interest, ownPortId));
        break;
      default:
        return received satisfies never;
    }
  }
}

/** True when a run may have something to do after a notification. Echoes of our own requests do not count. */
export function matters(message: Message, interest: Interest, ownPortId: number): boolean {
  if (message.portId === ownPortId) return false;
  switch (message.type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return neighborMatters(message, interest);
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_DELQDISC:
    case RTM_DELTFILTER:
      return true;
    default:
      // Addresses matter, as they define the subnets. New qdiscs and filters do not.
      return message.type === RTM_NEWADDR || message.type === RTM_DELADDR;
  }
}

function neighborMatters(message: Message, interest: Interest): boolean {
  const entry = decodeFdbEntry(message);
  if (entry !== undefined) return interest.macs.has(entry.mac);
  const neighbor = decodeNeighbor(message);
  return neighbor !== undefined && interest.devices.has(neighbor.ifIndex) && interest.ips.has(neighbor.ip);
}

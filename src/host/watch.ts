// Waiting for something to do: the ring's descriptor and rtnetlink notifications, without spinning.

import type { IfIndex, IpAddress, Mac } from '../base/address.ts';
import { isRemote, isValid } from '../core/neighbor-entry.ts';
import { type PollOutcome, poll } from '../ffi/libc.ts';
import { RTM_DELADDR, RTM_NEWADDR } from '../netlink/address.ts';
import { decodeFdbEntry } from '../netlink/fdb.ts';
import { RTM_DELLINK, RTM_NEWLINK } from '../netlink/link.ts';
import type { Message } from '../netlink/message.ts';
import { decodeNeighbor, type Neighbor, RTM_DELNEIGH, RTM_NEWNEIGH } from '../netlink/neighbor.ts';
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
  /** Addresses of which earlier passes knew a MAC elsewhere. */
  readonly remembered: ReadonlySet<IpAddress>;
  readonly devices: ReadonlySet<IfIndex>;
  /** The neighbor that the last pass found and left as it was; undefined when there is none. */
  entryOf(device: IfIndex, ip: IpAddress): Neighbor | undefined;
  /** MACs of the memory of hints, which matter when they are on a port of `ports`. */
  readonly hinted: ReadonlySet<Mac>;
  readonly ports: ReadonlySet<IfIndex>;
}

export interface Watch {
  /**
   * Waits until there is something to do (true) or the time is over (false). `ring` is the descriptor of the
   * pinned ring; `interest` filters the notifications of rtnetlink.
   */
  wait(ring: number | undefined, interest: Interest, deadlineMs: number): boolean;
  close(): void;
}

/** How long an event that only adds to what is remembered may wait, so that many of them cost one pass. */
const SOON_MS = 1000;

/** Subscribes at once, so that nothing is missed between the first observation and the first wait. */
export function openWatch(ownPortId: number, now: () => number): Watch {
  const groups = [RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];
  const subscription = subscribe(groups);
  let soonMs = Number.POSITIVE_INFINITY;
  return {
    wait: (ring, interest, deadlineMs) => {
      const fds = ring === undefined ? [subscription.fd] : [ring, subscription.fd];
      for (;;) {
        const nowMs = now();
        if (nowMs >= soonMs) {
          soonMs = Number.POSITIVE_INFINITY;
          return true;
        }
        const leftMs = Math.min(deadlineMs, soonMs) - nowMs;
        if (leftMs <= 0) return false;
        const outcome = poll(fds, Math.ceil(leftMs));
        if (outcome.kind !== 'ready') continue;
        const urgency = isReady(outcome, subscription.fd)
          ? drain(subscription, interest, ownPortId)
          : 'never';
        if (urgency === 'now' || (ring !== undefined && isReady(outcome, ring))) {
          soonMs = Number.POSITIVE_INFINITY;
          return true;
        }
        if (urgency === 'soon') soonMs = Math.min(soonMs, nowMs + SOON_MS);
      }
    },
    close: () => subscription.close(),
  };
}

function isReady(outcome: PollOutcome, fd: number): boolean {
  return outcome.kind === 'ready' && outcome.ready.includes(fd);
}

/** Receives all waiting notifications, and returns the highest urgency. The size of the buffer bounds the work. */
function drain(subscription: Subscription, interest: Interest, ownPortId: number): Urgency {
  let highest: Urgency = 'never';
  for (;;) {
    const received = subscription.receive();
    switch (received.kind) {
      case 'empty':
        return highest;
      case 'overrun':
        highest = 'now';
        break;
      case 'messages':
        for (const message of received.messages) {
          if (highest === 'now') break;
          const urgency = urgencyOf(message, interest, ownPortId);
          if (urgency !== 'never') highest = urgency;
        }
        break;
      default:
        return received satisfies never;
    }
  }
}

/** When a pass is due after a notification. */
export type Urgency = 'now' | 'soon' | 'never';

/** How urgent a notification is. Echoes of our own requests are not. */
export function urgencyOf(message: Message, interest: Interest, ownPortId: number): Urgency {
  if (message.portId === ownPortId) return 'never';
  switch (message.type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return urgencyOfNeighbor(message, interest);
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_DELQDISC:
    case RTM_DELTFILTER:
      return 'now';
    default:
      // Addresses matter, as they define the subnets. New qdiscs and filters do not.
      return message.type === RTM_NEWADDR || message.type === RTM_DELADDR ? 'now' : 'never';
  }
}

function urgencyOfNeighbor(message: Message, interest: Interest): Urgency {
  const entry = decodeFdbEntry(message);
  if (entry !== undefined) {
    const isHint = interest.ports.has(entry.ifIndex) && interest.hinted.has(entry.mac);
    return isHint || interest.macs.has(entry.mac) ? 'now' : 'never';
  }
  const neighbor = decodeNeighbor(message);
  if (neighbor === undefined || !interest.devices.has(neighbor.ifIndex)) return 'never';
  const known = interest.entryOf(neighbor.ifIndex, neighbor.ip);
  if (interest.ips.has(neighbor.ip)) {
    const isNew = message.type === RTM_DELNEIGH || known === undefined || !isUnchanged(known, neighbor);
    return isNew ? 'now' : 'never';
  }
  if (message.type === RTM_DELNEIGH || !isRemote(neighbor)) return 'never';
  // A host of another node: announced when its MAC is not the one that was known, and remembered.
  if (known !== undefined) return known.mac === neighbor.mac ? 'never' : 'now';
  return interest.remembered.has(neighbor.ip) ? 'now' : 'soon';
}

/** True for an entry of which only the state is another, as the kernel sets it when the node talks to the host. */
function isUnchanged(known: Neighbor, now: Neighbor): boolean {
  return (
    isValid(now) && now.mac === known.mac && now.protocol === known.protocol && now.flags === known.flags
  );
}

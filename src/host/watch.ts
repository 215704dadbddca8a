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

/** What can have changed: hosts alone, or also links, addresses and attachments. */
export type Changed = 'nothing' | 'hosts' | 'machine';

export interface Watch {
  /**
   * Waits until there is something to do, and returns what can have changed; `nothing` when the time is over. Looks once even
   * when it is over already. `ring` is the descriptor of the pinned ring; `interest` filters the notifications of rtnetlink.
   */
  wait(ring: number | undefined, interest: Interest, deadlineMs: number): Changed;
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
        // However late it is: a pass that trusts what an earlier one has seen must know of every notification.
        const outcome = poll(fds, Math.max(0, Math.ceil(Math.min(deadlineMs, soonMs) - now())));
        const meaning = isReady(outcome, subscription.fd)
          ? drain(subscription, interest, ownPortId)
          : 'nothing';
        const hasRecords = ring !== undefined && isReady(outcome, ring);
        const nowMs = now();
        if (meaning === 'soon') soonMs = Math.min(soonMs, nowMs + SOON_MS);
        if (meaning === 'machine' || meaning === 'hosts' || hasRecords || nowMs >= soonMs) {
          soonMs = Number.POSITIVE_INFINITY;
          return meaning === 'machine' ? 'machine' : 'hosts';
        }
        if (nowMs >= deadlineMs) return 'nothing';
      }
    },
    close: () => subscription.close(),
  };
}

function isReady(outcome: PollOutcome, fd: number): boolean {
  return outcome.kind === 'ready' && outcome.ready.includes(fd);
}

/** Receives all waiting notifications, and returns what they mean together. The size of the buffer bounds the work. */
function drain(subscription: Subscription, interest: Interest, ownPortId: number): Meaning {
  let highest: Meaning = 'nothing';
  for (;;) {
    const received = subscription.receive();
    switch (received.kind) {
      case 'empty':
        return highest;
      case 'overrun':
        highest = 'machine';
        break;
      case 'messages':
        for (const message of received.messages) {
          if (highest === 'machine') break;
          const meaning = meaningOf(message, interest, ownPortId);
          if (MEANINGS.indexOf(meaning) > MEANINGS.indexOf(highest)) highest = meaning;
        }
        break;
      default:
        return received satisfies never;
    }
  }
}

/** What notifications can mean, in ascending order. `soon`: hosts, and a pass may wait for more of them. */
const MEANINGS = ['nothing', 'soon', 'hosts', 'machine'] as const;
export type Meaning = (typeof MEANINGS)[number];

/** What a notification means. Echoes of our own requests mean nothing. */
export function meaningOf(message: Message, interest: Interest, ownPortId: number): Meaning {
  if (message.portId === ownPortId) return 'nothing';
  switch (message.type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return meaningOfNeighbor(message, interest);
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_DELQDISC:
    case RTM_DELTFILTER:
      return 'machine';
    default:
      // Addresses matter, as they define the subnets. New qdiscs and filters do not.
      return message.type === RTM_NEWADDR || message.type === RTM_DELADDR ? 'machine' : 'nothing';
  }
}

function meaningOfNeighbor(message: Message, interest: Interest): Meaning {
  const entry = decodeFdbEntry(message);
  if (entry !== undefined) {
    const isHint = interest.ports.has(entry.ifIndex) && interest.hinted.has(entry.mac);
    return isHint || interest.macs.has(entry.mac) ? 'hosts' : 'nothing';
  }
  const neighbor = decodeNeighbor(message);
  if (neighbor === undefined || !interest.devices.has(neighbor.ifIndex)) return 'nothing';
  const known = interest.entryOf(neighbor.ifIndex, neighbor.ip);
  if (interest.ips.has(neighbor.ip)) {
    const isNew = message.type === RTM_DELNEIGH || known === undefined || !isUnchanged(known, neighbor);
    return isNew ? 'hosts' : 'nothing';
  }
  if (message.type === RTM_DELNEIGH || !isRemote(neighbor)) return 'nothing';
  // A host of another node: announced when its MAC is not the one that was known, and remembered.
  if (known !== undefined) return known.mac === neighbor.mac ? 'nothing' : 'hosts';
  return interest.remembered.has(neighbor.ip) ? 'hosts' : 'soon';
}

/** True for an entry of which only the state is another, as the kernel sets it when the node talks to the host. */
function isUnchanged(known: Neighbor, now: Neighbor): boolean {
  return (
    isValid(now) && now.mac === known.mac && now.protocol === known.protocol && now.flags === known.flags
  );
}

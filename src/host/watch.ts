// Waiting for something to do: the ring's descriptor and rtnetlink notifications, without spinning.

import type { IfIndex } from '../base/address.ts';
import {
  type Extent,
  extentOfLink,
  hasOwnAddresses,
  isMoreThanPort,
  type KnownMachine,
} from '../core/link-change.ts';
import { isRemote, isValid } from '../core/neighbor-entry.ts';
import type { Watchlist } from '../core/watchlist.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import { type PollOutcome, poll } from '../ffi/libc.ts';
import { RTM_DELADDR, RTM_NEWADDR } from '../netlink/address.ts';
import { decodeFdbEntry } from '../netlink/fdb.ts';
import { decodeLink, RTM_DELLINK, RTM_NEWLINK } from '../netlink/link.ts';
import type { Message } from '../netlink/message.ts';
import { decodeNeighbor, type Neighbor, RTM_DELNEIGH, RTM_NEWNEIGH } from '../netlink/neighbor.ts';
import {
  deviceOf,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  RTNLGRP_TC,
  subscribe,
} from '../netlink/subscription.ts';
import { RTM_DELQDISC, RTM_DELTFILTER } from '../netlink/tc.ts';

/** What can have changed since the last pass. */
export interface Changed {
  /**
   * Each includes those before it. `machine`: bridges, VLAN devices, tunnel ports and addresses. `everything`: notifications were
   * lost.
   */
  readonly what: 'nothing' | 'hosts' | 'ports' | 'machine' | 'everything';
  /** The addresses that notifications named. Records of the ring may name others. */
  readonly names: readonly BindingKey[];
  /** The ports that they named: links, attachments or VLANs of theirs have changed. */
  readonly ports: readonly IfIndex[];
}

/** What a run knows of the node, by which it tells what a notification means to it. */
export interface Knowledge {
  readonly watchlist: Watchlist;
  /** Undefined: every change of a link matters. */
  readonly machine: KnownMachine | undefined;
}

export interface Watch {
  /**
   * Waits until there is something to do, and returns what can have changed; `nothing` when the time is over. Looks once even
   * when it is over already. `ring` is the descriptor of the pinned ring; `knowledge` tells which notifications of rtnetlink matter.
   */
  wait(ring: number | undefined, knowledge: Knowledge, deadlineMs: number): Changed;
  close(): void;
}

/** How long an event that only adds to what is remembered may wait, so that many of them cost one pass. */
const SOON_MS = 1000;

export const NOTHING_CHANGED: Changed = { what: 'nothing', names: [], ports: [] };

/** Subscribes at once, so that nothing is missed between the first observation and the first wait. */
export function openWatch(ownPortId: number, now: () => number): Watch {
  const groups = [RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];
  const subscription = subscribe(groups);
  let soonMs = Number.POSITIVE_INFINITY;
  /** By bindingId: what was named since the last return. */
  let named = new Map<string, BindingKey>();
  let ports = new Set<IfIndex>();
  const changed = (what: Changed['what']): Changed => {
    const all = { what, names: [...named.values()], ports: [...ports] };
    soonMs = Number.POSITIVE_INFINITY;
    named = new Map();
    ports = new Set();
    return all;
  };
  /** Receives all waiting notifications, and returns what they mean together. The size of the buffer bounds the work. */
  const drain = (knowledge: Knowledge): Meaning => {
    let highest: Meaning = 'nothing';
    for (;;) {
      const received = subscription.receive();
      switch (received.kind) {
        case 'empty':
          return highest;
        case 'overrun':
          highest = 'everything';
          break;
        case 'messages':
          for (const message of received.messages) {
            if (highest === 'everything') break;
            const { meaning, names = [], port } = meaningOf(message, knowledge, ownPortId);
            for (const key of names) named.set(bindingId(key), key);
            if (port !== undefined) ports.add(port);
            if (MEANINGS.indexOf(meaning) > MEANINGS.indexOf(highest)) highest = meaning;
          }
          break;
        default:
          return received satisfies never;
      }
    }
  };
  return {
    wait: (ring, knowledge, deadlineMs) => {
      const fds = ring === undefined ? [subscription.fd] : [ring, subscription.fd];
      for (;;) {
        // However late it is: a pass that trusts what an earlier one has seen must know of every notification.
        const outcome = poll(fds, Math.max(0, Math.ceil(Math.min(deadlineMs, soonMs) - now())));
        const meaning = isReady(outcome, subscription.fd) ? drain(knowledge) : 'nothing';
        const hasRecords = ring !== undefined && isReady(outcome, ring);
        if (meaning === 'ports' || meaning === 'machine' || meaning === 'everything') return changed(meaning);
        const nowMs = now();
        if (meaning === 'soon') soonMs = Math.min(soonMs, nowMs + SOON_MS);
        if (meaning === 'hosts' || hasRecords || nowMs >= soonMs) return changed('hosts');
        if (nowMs >= deadlineMs) return NOTHING_CHANGED;
      }
    },
    close: () => subscription.close(),
  };
}

function isReady(outcome: PollOutcome, fd: number): boolean {
  return outcome.kind === 'ready' && outcome.ready.includes(fd);
}

/** What notifications can mean, in ascending order. `soon`: hosts, and a pass may wait for more of them. */
const MEANINGS = ['nothing', 'soon', 'hosts', 'ports', 'machine', 'everything'] as const;
type Meaning = (typeof MEANINGS)[number];

/** What one notification means, and the addresses or the port that it is about. */
interface Notice {
  readonly meaning: Meaning;
  readonly names?: readonly BindingKey[];
  readonly port?: IfIndex;
}

const NOTHING: Notice = { meaning: 'nothing' };
const MACHINE: Notice = { meaning: 'machine' };

/** What a notification means. Echoes of our own requests mean nothing. */
export function meaningOf(message: Message, { watchlist, machine }: Knowledge, ownPortId: number): Notice {
  if (message.portId === ownPortId) return NOTHING;
  switch (message.type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return meaningOfNeighbor(message, watchlist);
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_DELQDISC:
    case RTM_DELTFILTER:
    // They define the subnets.
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return machine === undefined ? MACHINE : noticeOf(message, machine);
    default:
      // New qdiscs and filters do not matter.
      return NOTHING;
  }
}

/** What a notification about a device means. */
function noticeOf(message: Message, machine: KnownMachine): Notice {
  const device = deviceOf(message);
  // Ours is in no shared block.
  if (device === undefined) return NOTHING;
  const extent = extentOf(message, machine, device);
  switch (extent) {
    case 'nothing':
      return NOTHING;
    case 'port':
      return { meaning: 'ports', port: device };
    case 'machine':
      return MACHINE;
    default:
      return extent satisfies never;
  }
}

function extentOf(message: Message, machine: KnownMachine, device: IfIndex): Extent {
  switch (message.type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return hasOwnAddresses(machine, device) ? 'machine' : 'nothing';
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const link = decodeLink(message);
      // The bridge's view of its port: the VLANs of the port, or that it is one no more.
      if (link === undefined) return isMoreThanPort(machine, device) ? 'machine' : 'port';
      return extentOfLink(machine, device, message.type === RTM_DELLINK ? undefined : link);
    }
    default:
      return isMoreThanPort(machine, device) ? 'machine' : 'port';
  }
}

function meaningOfNeighbor(message: Message, watchlist: Watchlist): Notice {
  const forwarded = decodeFdbEntry(message);
  if (forwarded !== undefined) {
    const names = watchlist.concernedBy(forwarded);
    return names.length === 0 ? NOTHING : { meaning: 'hosts', names };
  }
  const neighbor = decodeNeighbor(message);
  const address = neighbor && watchlist.addressOf(neighbor);
  if (neighbor === undefined || address === undefined) return NOTHING;
  const about = (meaning: Meaning): Notice => ({ meaning, names: [address] });
  const known = watchlist.entryOf(neighbor);
  if (watchlist.isHost(address)) {
    const isNew = message.type === RTM_DELNEIGH || known === undefined || !isUnchanged(known, neighbor);
    return isNew ? about('hosts') : NOTHING;
  }
  const wasRemote = known !== undefined && isRemote(known);
  // A host that its node has lost: remembered as such.
  if (message.type === RTM_DELNEIGH || !isRemote(neighbor)) return wasRemote ? about('soon') : NOTHING;
  // A host of another node: announced when its MAC is not the one that was known, and remembered.
  if (wasRemote) return known.mac === neighbor.mac ? NOTHING : about('hosts');
  return about(watchlist.isRemembered(address) ? 'hosts' : 'soon');
}

/** True for an entry of which only the state is another, as the kernel sets it when the node talks to the host. */
function isUnchanged(known: Neighbor, now: Neighbor): boolean {
  return (
    isValid(now) && now.mac === known.mac && now.protocol === known.protocol && now.flags === known.flags
  );
}

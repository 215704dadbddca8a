// What a pass looks at: all hosts of the node, or in a listening run those addresses that something has named.

import type { IfIndex } from '../base/address.ts';
import { type Focus, narrowTopology } from '../core/focus.ts';
import type { ObservedHosts } from '../core/observed.ts';
import type { Watchlist } from '../core/watchlist.ts';
import type { BindingKey } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import type { SeenHint } from '../datapath/records/seen-hint.ts';
import type { Drained } from '../datapath/ring.ts';
import { observeFocus, observeSeenHints } from '../host/observe.ts';
import type { Session } from '../host/session.ts';
import { type Machine, retrieveHosts } from './retrieve.ts';
import type { Run } from './run.ts';

export interface View {
  /** With the topology as far as the pass decides about it. */
  readonly machine: Machine;
  readonly hosts: ObservedHosts;
  /** Null for all hosts. */
  readonly focus: Focus | null;
  /** Number of hints in the memory that are about other addresses. */
  readonly hintsElsewhere: number;
  /** The same later. The records that were read meanwhile may name further addresses. Throws as it did before. */
  again(drained: Drained): View;
}

/** All hosts of the machine. Throws SnoopyError `netlink_failed` or `map_failed`. */
export function viewAll(
  { session, environment }: Run,
  machine: Machine,
  hosts = retrieveHosts(session, machine, environment.now),
): View {
  const viewOf = (found: ObservedHosts): View => ({
    machine,
    hosts: found,
    focus: null,
    hintsElsewhere: 0,
    again: () => viewOf(retrieveHosts(session, machine, environment.now)),
  });
  return viewOf(hosts);
}

/** The addresses, and those of all hints on the ports where one of them has a hint. */
function focusWithHints(
  { pins }: Session,
  watchlist: Watchlist,
  names: readonly BindingKey[],
  records: readonly Change[],
): Focus {
  const seenHints: SeenHint[] = [];
  const looked = new Set<IfIndex>();
  for (;;) {
    const ports = [...watchlist.hintPorts([...names, ...seenHints], records)].filter(
      (port) => !looked.has(port),
    );
    if (ports.length === 0) return watchlist.focusOn(names, records, seenHints);
    seenHints.push(...observeSeenHints(pins, ports));
    for (const port of ports) looked.add(port);
  }
}

/** What a narrow pass starts from. */
export interface Named {
  readonly watchlist: Watchlist;
  readonly names: readonly BindingKey[];
  /** Ports that have changed; their hosts are among the names. `all`: the pass finds out what has, and which hosts it concerns. */
  readonly ports: readonly IfIndex[] | 'all';
  /** True when zebra is asked whether it has all neighbors. */
  readonly verifies: boolean;
}

/** The addresses that are named, and those of records of the ring. Throws as `viewAll` does. */
export function viewNamed(
  { session, environment }: Run,
  machine: Machine,
  { watchlist, names }: Pick<Named, 'watchlist' | 'names'>,
  records: readonly Change[],
): View {
  const look = (read: readonly Change[]): View => {
    const focus = focusWithHints(session, watchlist, names, read);
    const topology = narrowTopology(machine.topology, focus);
    return {
      machine: { ...machine, topology },
      hosts: observeFocus(session.netlink, session.pins, topology, focus, environment.now),
      focus,
      hintsElsewhere: watchlist.hintsBeside(focus),
      again: ({ changes }) => look([...read, ...changes]),
    };
  };
  return look(records);
}

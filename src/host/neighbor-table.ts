// Writes neighbor changes to the kernel, in batches, and reports each.

import { AF_INET6, familyOf, type Mac } from '../base/address.ts';
import { mapPairs, takeNext } from '../base/pairs.ts';
import type { NeighborState } from '../core/desired.ts';
import type { NeighborChange } from '../core/neighbors/plan.ts';
import { APPLIED, failedBy, type NeighborChangeReport, type Outcome, PLANNED } from '../core/report.ts';
import { describeChange } from '../core/summary.ts';
import {
  changeNeighbors,
  lookUpNeighbors,
  type Neighbor,
  type NeighborRequest,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NTF_ROUTER,
  NUD_NOARP,
  NUD_REACHABLE,
  NUD_STALE,
} from '../netlink/neighbor.ts';
import { type Failure, failureError, type NetlinkSocket, type Result } from '../netlink/socket.ts';

const NUD: Readonly<Record<NeighborState, number>> = {
  noarp: NUD_NOARP,
  stale: NUD_STALE,
  reachable: NUD_REACHABLE,
};

/** The result of sending changes. */
export interface Written {
  /** A report of each change, in their order. */
  readonly reports: readonly NeighborChangeReport[];
  /** The changes that failed. */
  readonly failed: readonly NeighborChange[];
}

/** Reports of changes that `--check` does not write. Here and below, `protocol` is NDA_PROTOCOL of our own entries. */
export function plannedNeighbors(
  changes: readonly NeighborChange[],
  protocol: number,
): NeighborChangeReport[] {
  return changes.map((change) => describeChange(change, PLANNED, protocol));
}

/**
 * Writes the changes in order, many in one datagram. Throws SnoopyError `netlink_failed` when the kernel does not
 * answer.
 */
export function writeNeighbors(
  netlink: NetlinkSocket,
  changes: readonly NeighborChange[],
  protocol: number,
): Written {
  const { sent, results } = send(netlink, changes, protocol);
  const reports = mapPairs(sent, results, (change, result) =>
    describeChange(change, outcomeOf(change, result), protocol),
  );
  return { reports, failed: changes.filter((_, i) => reports[i]?.outcome.kind === 'failed') };
}

/** Writes entries again, unchanged. An entry that the kernel refuses is due again in the next run. */
export function refreshNeighbors(
  netlink: NetlinkSocket,
  entries: readonly NeighborChange[],
  protocol: number,
): void {
  send(netlink, entries, protocol);
}

/**
 * Deletes entries of ours and writes them anew, so that the kernel notifies zebra of each. An entry that has another owner or
 * MAC by now is left alone. Returns the number of those that were written. One that is not is a neighbor that the next run
 * writes.
 */
export function renewNeighbors(netlink: NetlinkSocket, entries: readonly Neighbor[]): number {
  const idOf = ({ ifIndex, ip, mac, protocol, flags }: Neighbor): string =>
    `${ifIndex} ${ip} ${mac} ${protocol} ${flags & NTF_EXT_LEARNED}`;
  const current = new Set(lookUpNeighbors(netlink, entries).map(idOf));
  const requests = entries.flatMap((entry): NeighborRequest[] => {
    if (!current.has(idOf(entry))) return [];
    const { ifIndex, ip, mac, state, flags, extFlags, protocol } = entry;
    if (mac === undefined) return [];
    // The kernel sets the other states itself.
    const written = (state & NUD_NOARP) === 0 ? NUD_STALE : NUD_NOARP;
    return [
      { kind: 'delete', ifIndex, ip },
      { kind: 'create', entry: { ifIndex, ip, mac, state: written, flags, extFlags, protocol } },
    ];
  });
  const results = changeNeighbors(netlink, requests);
  return results.filter(({ ok }, i) => ok && requests[i]?.kind === 'create').length;
}

/** Changes as they were sent last, and one result for each. */
interface Sent {
  readonly sent: readonly NeighborChange[];
  readonly results: readonly Result[];
}

/** Sends the changes. Where the kernel does not know NTF_EXT_EXT_VALIDATED (Linux 6.17), sends plain entries instead. */
function send(netlink: NetlinkSocket, changes: readonly NeighborChange[], protocol: number): Sent {
  const results = changeNeighbors(netlink, requestsOf(changes, protocol));
  const refused: NeighborChange[] = [];
  const firsts = results.values();
  for (const change of changes) if (isRefusedForFlag(change, takeNext(firsts))) refused.push(change);
  if (refused.length === 0) return { sent: changes, results };
  const plain = refused.map(withoutFlag);
  const seconds = changeNeighbors(netlink, requestsOf(plain, protocol)).values();
  const plains = plain.values();
  return {
    sent: mapPairs(changes, results, (change, result) =>
      isRefusedForFlag(change, result) ? takeNext(plains) : change,
    ),
    results: mapPairs(changes, results, (change, result) =>
      isRefusedForFlag(change, result) ? takeNext(seconds) : result,
    ),
  };
}

/** True when the kernel may not know NTF_EXT_EXT_VALIDATED. */
function isRefusedForFlag({ validated }: NeighborChange, result: Result): boolean {
  return !result.ok && result.name === 'EINVAL' && validated;
}

/** Without the flag an entry is NOARP, whatever is wanted: see EntryState. */
function withoutFlag(change: NeighborChange): NeighborChange {
  return { ...change, state: 'noarp', validated: false };
}

function* requestsOf(changes: readonly NeighborChange[], protocol: number): Generator<NeighborRequest> {
  for (const change of changes) yield requestOf(change, protocol);
}

function requestOf(change: NeighborChange, protocol: number): NeighborRequest {
  if (change.kind === 'remove' || change.mac === null) {
    return { kind: 'delete', ifIndex: change.device, ip: change.ip };
  }
  return {
    kind: change.kind === 'add' ? 'create' : 'replace',
    entry: {
      ifIndex: change.device,
      ip: change.ip,
      mac: change.mac satisfies Mac,
      state: NUD[change.state],
      flags: change.router && familyOf(change.ip) === AF_INET6 ? NTF_ROUTER : 0,
      extFlags: change.validated ? NTF_EXT_EXT_VALIDATED : 0,
      protocol,
    },
  };
}

function outcomeOf(change: NeighborChange, result: Result): Outcome {
  if (result.ok) return APPLIED;
  if (change.kind === 'add' && result.name === 'EEXIST') {
    return { kind: 'skipped', because: 'another owner wrote an entry meanwhile; the next run decides' };
  }
  if (change.kind === 'remove' && result.name === 'ENOENT') return APPLIED;
  if (result.name === 'ENODEV') return { kind: 'skipped', because: 'the device is gone' };
  const { problem } = failureError(result, {
    operation: `${change.kind} neighbor ${change.ip} on "${change.deviceName}"`,
    object: change.deviceName,
    code: 'neighbor_failed',
    ...fixOf(change, result),
  });
  return failedBy(problem);
}

function fixOf(change: NeighborChange, { name }: Failure): { fix?: string } {
  const v6 = familyOf(change.ip) === AF_INET6;
  if (name === 'ENOBUFS') {
    return { fix: `raise net.${v6 ? 'ipv6' : 'ipv4'}.neigh.default.gc_thresh3, the neighbor table is full` };
  }
  if (name === 'EINVAL' && v6) {
    return { fix: `check that net.ipv6.conf.${change.deviceName}.disable_ipv6 is 0` };
  }
  return {};
}

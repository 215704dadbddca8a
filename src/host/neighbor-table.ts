// Writes neighbor changes to the kernel, in batches, and reports each.

import { AF_INET6, familyOf, type Mac } from '../base/address.ts';
import { mapPairs, takeNext } from '../base/pairs.ts';
import type { NeighborState } from '../core/desired.ts';
import type { NeighborChange } from '../core/neighbors/plan.ts';
import { APPLIED, failedBy, type NeighborChangeReport, type Outcome, PLANNED } from '../core/report.ts';
import { describeChange } from '../core/summary.ts';
import {
  changeNeighbors,
  type NeighborRequest,
  NTF_EXT_EXT_VALIDATED,
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
  const failed: NeighborChange[] = [];
  const reports = mapPairs(changes, send(netlink, changes, protocol), (change, result) => {
    const outcome = outcomeOf(change, result);
    if (outcome.kind === 'failed') failed.push(change);
    return describeChange(change, outcome, protocol);
  });
  return { reports, failed };
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
 * Returns one result for each change, in their order. NOARP entries are sent with NTF_EXT_EXT_VALIDATED (Linux 6.17),
 * and again without it when the kernel returns EINVAL.
 */
function send(netlink: NetlinkSocket, changes: readonly NeighborChange[], protocol: number): Result[] {
  const results = changeNeighbors(netlink, requestsOf(changes, protocol, NTF_EXT_EXT_VALIDATED));
  const refused: NeighborChange[] = [];
  const firsts = results.values();
  for (const change of changes) if (isRefusedForFlag(change, takeNext(firsts))) refused.push(change);
  const seconds = changeNeighbors(netlink, requestsOf(refused, protocol, 0)).values();
  return mapPairs(changes, results, (change, result) =>
    isRefusedForFlag(change, result) ? takeNext(seconds) : result,
  );
}

/** True when the kernel may not know NTF_EXT_EXT_VALIDATED. */
function isRefusedForFlag(change: NeighborChange, result: Result): boolean {
  return !result.ok && result.name === 'EINVAL' && takesFlag(change);
}

function* requestsOf(
  changes: readonly NeighborChange[],
  protocol: number,
  extFlags: number,
): Generator<NeighborRequest> {
  for (const change of changes) yield requestOf(change, protocol, extFlags);
}

function takesFlag(change: NeighborChange): boolean {
  return change.kind !== 'remove' && change.state === 'noarp';
}

function requestOf(change: NeighborChange, protocol: number, extFlags: number): NeighborRequest {
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
      extFlags: takesFlag(change) ? extFlags : 0,
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

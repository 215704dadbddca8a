// Sends probes out of the host's own port, not by the kernel's resolver, which may use any of the node's addresses.

import { closeSync } from 'node:fs';
import type { IfIndex } from '../base/address.ts';
import { errnoOf } from '../base/errors.ts';
import type { Conflict } from '../core/conflicts.ts';
import type { HostProbe } from '../core/probes.ts';
import { encodeQuestion } from '../datapath/frames.ts';
import type { Pins } from '../datapath/pins.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import type { Drained, Ring } from '../datapath/ring.ts';
import { packetSocket, sendFrame, sleep } from '../ffi/libc.ts';

/**
 * Sends the probes and records them in the map; returns how many were sent. A port that was removed meanwhile is left
 * to the next run. Throws SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function sendProbes(pins: Pins, probes: readonly HostProbe[]): number {
  const table = pins.tables.probes;
  if (probes.length === 0 || table === undefined) return 0;
  const fd = openPacketSocket();
  let sent = 0;
  try {
    for (const { binding, port, question, state } of probes) {
      if (sendFrame(fd, encodeQuestion(question), port.ifIndex) !== 'sent') continue;
      const { bridge, vlan, ip } = binding;
      table.set(binding, { bridge, vlan, ip, ...state });
      sent++;
    }
  } catch (thrown) {
    // The map is full of silent hosts. The others are probed when it has room again.
    if (errnoOf(thrown) !== 'E2BIG') throw thrown;
  } finally {
    closeSync(fd);
  }
  return sent;
}

/** How long an owner has to answer: a VM needs about one millisecond, or a few when its node is busy. */
const CONFIRM_MS = 100;
/** First and longest pause between two reads of the ring. */
const PAUSES_MS = { first: 1, longest: 10 };

export interface Answers {
  /** The conflicts whose probes were sent, on every port that could send one. */
  readonly probed: readonly Conflict[];
  /** The conflicts whose owners answered, and on which port. */
  readonly answered: ReadonlyMap<Conflict, IfIndex>;
  /** Everything that was read from the ring meanwhile. */
  readonly drained: Drained;
}

/**
 * Probes the owners of addresses in conflict, and waits until all have answered or the time is over. For the program an
 * answer is a claim by the owner, and makes a record: even when the other MAC claims the address again at once, or when
 * the answer is one move too many and freezes the address. Throws SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function checkOwners(conflicts: readonly Conflict[], ring: Ring, now: () => number): Answers {
  const probed: Conflict[] = [];
  const answered = new Map<Conflict, IfIndex>();
  const fd = openPacketSocket();
  try {
    for (const conflict of conflicts) {
      const sendings = conflict.probes.map(({ port, question }) =>
        sendFrame(fd, encodeQuestion(question), port.ifIndex),
      );
      // A host behind a full queue was not probed. A host behind a removed or downed port could not answer anyway.
      if (!sendings.includes('refused')) probed.push(conflict);
    }
  } finally {
    closeSync(fd);
  }
  const silent = new Map(conflicts.map((conflict) => [bindingId(conflict), conflict]));
  const changes: Change[] = [];
  let records = 0;
  let damaged = false;
  const deadlineMs = now() + CONFIRM_MS;
  let pauseMs = PAUSES_MS.first;
  for (let leftMs = CONFIRM_MS; silent.size > 0 && leftMs > 0; leftMs = deadlineMs - now()) {
    sleep(Math.min(pauseMs, leftMs));
    pauseMs = Math.min(pauseMs * 2, PAUSES_MS.longest);
    const drained = ring.read('all');
    records += drained.records;
    damaged ||= drained.damaged;
    for (const change of drained.changes) {
      changes.push(change);
      const conflict = silent.get(bindingId(change));
      if (conflict?.owner !== change.mac) continue;
      silent.delete(bindingId(change));
      answered.set(conflict, change.port);
    }
  }
  return { probed, answered, drained: { changes, records, damaged } };
}

function openPacketSocket(): number {
  return packetSocket({
    operation: 'open a packet socket for probes',
    object: 'probes',
    capability: 'CAP_NET_RAW',
    fix: 'set "probe: {enabled: never}"',
  });
}

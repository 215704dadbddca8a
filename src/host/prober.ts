// Questions -> the wire: out of the host's own port, past the kernel's resolver, which would take any address.

import { closeSync } from 'node:fs';
import type { IfIndex } from '../base/address.ts';
import { SnoopyError } from '../base/errors.ts';
import type { Dispute } from '../core/confirm.ts';
import type { Probe } from '../core/probes.ts';
import { encodeQuestion } from '../datapath/frames.ts';
import type { Pins } from '../datapath/pins.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import type { Ring } from '../datapath/ring.ts';
import { sendTo, sleep, socket } from '../ffi/libc.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;

/**
 * Sends the probes and notes them in the map; returns how many went out. A port that went away meanwhile is
 * left to the next run. Throws SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function sendProbes(pins: Pins, probes: readonly Probe[]): number {
  const table = pins.tables.probes;
  if (probes.length === 0 || table === undefined) return 0;
  const fd = openPacketSocket();
  let sent = 0;
  try {
    for (const { binding, port, sourceMac, sourceIp, tag, state } of probes) {
      const frame = encodeQuestion({
        sourceMac,
        sourceIp,
        targetMac: binding.mac,
        targetIp: binding.ip,
        tag,
        named: false,
      });
      if (sendTo(fd, frame, linkAddress(port)) !== 'sent') continue;
      const { bridge, vlan, ip } = binding;
      table.set(binding, { bridge, vlan, ip, ...state });
      sent++;
    }
  } catch (thrown) {
    // The map is full of hosts that are silent: they are asked when there is room again.
    if (!(thrown instanceof SnoopyError && thrown.errno === 'E2BIG')) throw thrown;
  } finally {
    closeSync(fd);
  }
  return sent;
}

/** How long an owner has for an answer: a VM needs one millisecond, or some more when its host is busy. */
const CONFIRM_MS = 100;
/** First and longest pause between two looks at the ring. */
const PAUSES_MS = { first: 1, longest: 10 };

export interface Answers {
  /** Those whose questions went out, as far as there is anybody to take them. */
  readonly asked: readonly Dispute[];
  /** Who answered, and on which port. */
  readonly answered: ReadonlyMap<Dispute, IfIndex>;
  /** All that the ring had meanwhile. */
  readonly changes: readonly Change[];
  readonly records: number;
  readonly damaged: boolean;
}

/**
 * Asks the owners of disputed addresses, and waits until all have answered or the time is over. The program takes an
 * answer for a claim of the owner: a record, even if the other one claims it again at once or it is one too many, and
 * freezes the address. Throws SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function askOwners(disputes: readonly Dispute[], ring: Ring, now: () => number): Answers {
  const asked: Dispute[] = [];
  const answered = new Map<Dispute, IfIndex>();
  const fd = openPacketSocket();
  try {
    for (const dispute of disputes) {
      const sendings = dispute.questions.map(({ port, question }) =>
        sendTo(fd, encodeQuestion(question), linkAddress(port.ifIndex)),
      );
      // Whoever is behind a full queue was not asked. A port that is gone or down has nobody who could answer.
      if (!sendings.includes('refused')) asked.push(dispute);
    }
  } finally {
    closeSync(fd);
  }
  const silent = new Map(disputes.map((dispute) => [bindingId(dispute), dispute]));
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
      const dispute = silent.get(bindingId(change));
      if (dispute?.owner !== change.mac) continue;
      silent.delete(bindingId(change));
      answered.set(dispute, change.port);
    }
  }
  return { asked, answered, changes, records, damaged };
}

function openPacketSocket(): number {
  // Protocol 0: the socket receives nothing.
  return socket(AF_PACKET, SOCK_RAW, 0, {
    operation: 'open a packet socket for probes',
    object: 'probes',
    capability: 'CAP_NET_RAW',
    remedy: 'or set "probe: {enabled: never}"',
  });
}

/** struct sockaddr_ll (linux/if_packet.h): only family and interface matter for a whole frame. */
function linkAddress(ifIndex: number): Uint8Array {
  const address = new Uint8Array(20);
  const data = new DataView(address.buffer);
  data.setUint16(0, AF_PACKET, true);
  data.setInt32(4, ifIndex, true);
  return address;
}

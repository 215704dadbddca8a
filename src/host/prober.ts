// Sends probes out of given ports, not by the kernel's resolver, which may use any of the node's addresses, and waits for
// answers.

import { closeSync } from 'node:fs';
import type { IfIndex, Mac } from '../base/address.ts';
import type { Probe } from '../core/probes/probe.ts';
import { encodeProbe } from '../datapath/frames.ts';
import type { Pins } from '../datapath/pins.ts';
import { type BindingKey, bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import type { Drained, Ring } from '../datapath/ring.ts';
import { packetSocket, type Sending, sendFrame, sleep } from '../ffi/libc.ts';

/**
 * Sends each probe once, and returns how each went. A port that was removed meanwhile is left to the next run. Throws
 * SnoopyError `not_permitted` without CAP_NET_RAW.
 */
export function sendProbes(probes: readonly Probe[]): Sending[] {
  if (probes.length === 0) return [];
  const fd = openPacketSocket();
  try {
    return probes.map(({ port, message }) => sendFrame(fd, encodeProbe(message), port.ifIndex));
  } finally {
    closeSync(fd);
  }
}

/** How long a run waits for answers: a VM needs about one millisecond, or a few when its node is busy. */
const WAIT_MS = 100;
/** First and longest pause between two looks. */
const PAUSES_MS = { first: 1, longest: 10 };
/** The program may leave a binding's time as it is for this long (QUIET_NS in bpf/snoopy.bpf.c). */
const QUIET_MS = 100;

/** An address, and the MAC that was probed for it. */
export interface Target extends BindingKey {
  readonly mac: Mac;
}

/** An address and a MAC as text. */
export function targetId(one: Target): string {
  return `${bindingId(one)} ${one.mac}`;
}

export interface Answers {
  /** The port of each answer, by targetId. */
  readonly answered: ReadonlyMap<string, IfIndex>;
  /** Everything that was read from the ring meanwhile. */
  readonly drained: Drained;
}

/**
 * Waits until all have answered or the time is over. An answer shows in the ring when it makes or moves a binding, even
 * when another MAC claims the address again at once, or when it is one move too many and freezes the address. One that
 * refreshes a binding shows in the map alone.
 */
export function awaitAnswers(
  targets: readonly Target[],
  { tables }: Pick<Pins, 'tables'>,
  ring: Ring,
  now: () => number,
): Answers {
  const silent = new Map(targets.map((one) => [targetId(one), one]));
  const answered = new Map<string, IfIndex>();
  const changes: Change[] = [];
  let records = 0;
  let damaged = false;
  const take = (one: Target, port: IfIndex): void => {
    if (silent.delete(targetId(one))) answered.set(targetId(one), port);
  };
  const startedMs = now();
  const deadlineMs = startedMs + WAIT_MS;
  let pauseMs = PAUSES_MS.first;
  for (let leftMs = WAIT_MS; silent.size > 0 && leftMs > 0; leftMs = deadlineMs - now()) {
    sleep(Math.min(pauseMs, leftMs));
    pauseMs = Math.min(pauseMs * 2, PAUSES_MS.longest);
    const drained = ring.read('all');
    records += drained.records;
    damaged ||= drained.damaged;
    for (const change of drained.changes) {
      changes.push(change);
      if (change.kind !== 'hint') take(change, change.port);
    }
    for (const one of silent.values()) {
      const binding = tables.bindings?.get(one);
      if (binding?.mac === one.mac && binding.lastSeenMs > startedMs - QUIET_MS) take(one, binding.port);
    }
  }
  return { answered, drained: { changes, records, damaged } };
}

function openPacketSocket(): number {
  return packetSocket({
    operation: 'open a packet socket for probes',
    object: 'probes',
    capability: 'CAP_NET_RAW',
    fix: 'set "probe: {enabled: never}"',
  });
}

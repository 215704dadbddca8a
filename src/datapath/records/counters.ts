// The counters of the program, and which of them are reasons for rejecting a message.

import { COUNTERS } from '../../generated/layouts.ts';

export type CounterName = (typeof COUNTERS)[number];

/** Counters of accepted messages, of their effects, and of hints. */
type Accepted = 'sightings' | 'ring_dropped' | 'created' | 'moved' | 'duplicates' | 'hints';

/** Why a message is rejected. */
export type RejectionReason = Exclude<CounterName, Accepted>;

/** Index of the first counter that is a reason for rejecting a message; all later ones are reasons too. */
export const FIRST_REASON = COUNTERS.indexOf('vlan');

/** True for a counter of messages that are rejected, or ignored. */
export function isReason(name: CounterName): name is RejectionReason {
  return name === 'ignored' || COUNTERS.indexOf(name) >= FIRST_REASON;
}

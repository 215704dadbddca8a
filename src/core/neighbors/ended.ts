// When a binding has ended, and why. Pure.

import type { Binding } from '../../datapath/records/binding.ts';
import type { StaticEntry } from '../desired.ts';
import type { Location } from '../host-index.ts';
import type { LearnableCheck } from '../learnable.ts';
import { isUnanswered } from '../probes/ageing.ts';
import { takesVlan } from '../topology.ts';
import type { Candidate, Context } from './candidate.ts';

/** Why a binding has ended. */
export interface Ending {
  readonly because: string;
  /** True: no message of the host revives it. False: the host was silent, or is no longer where it was. */
  readonly isFinal: boolean;
  /** True: the host may come back to another port, and is then probed for the address. */
  readonly leavesHint: boolean;
}

/** Why the binding of a candidate has ended and must be deleted; null when it has not. `entry` is static. */
export function whyEnded(
  context: Context,
  { location, port }: Candidate,
  binding: Binding,
  entry: StaticEntry | undefined,
  whyNotLearnable: LearnableCheck,
): Ending | null {
  const { bridge, index, nowMs } = context;
  // When the bridge forwards the MAC to another port that is learned from, the host is still here.
  if (port === undefined && location.kind !== 'local' && !isOut(context, binding, location)) {
    return left('its port is gone or not learned from');
  }
  if (port !== undefined && !takesVlan(bridge, port, binding.vlan))
    return left('its port is not in that VLAN');
  if (entry !== undefined && !entry.macs.includes(binding.mac))
    return notAllowed('the static entry has another MAC');
  const because = whyNotLearnable(binding);
  if (because !== null) return notAllowed(because);
  const { maxAgeMs } = bridge.desired;
  if (entry !== undefined || maxAgeMs === null || nowMs - binding.lastSeenMs <= maxAgeMs) return null;
  if (location.kind !== 'local' && location.kind !== 'other') return gone('not seen for max_age');
  // The host is active: the binding ends only when probes for this very address stay unanswered.
  return isUnanswered(bridge, binding, index.probesOf(binding), nowMs)
    ? gone('does not answer for it any more')
    : null;
}

/**
 * True when the port of a binding is out of its bridge but still exists, and its MAC is not known to be elsewhere:
 * ifreload takes ports out for a moment.
 */
export function isOut({ freePorts }: Context, { port }: Binding, location: Location): boolean {
  return location.kind === 'nowhere' && freePorts.has(port);
}

/** The host is no longer where it was. */
function left(because: string): Ending {
  return { because, isFinal: false, leavesHint: true };
}

/** The host is silent; its next message reverts the end. */
function gone(because: string): Ending {
  return { because, isFinal: false, leavesHint: false };
}

function notAllowed(because: string): Ending {
  return { because, isFinal: true, leavesHint: false };
}

// When a binding has ended, and why. Pure.

import type { Binding } from '../../datapath/records/binding.ts';
import type { StaticEntry } from '../desired.ts';
import type { LearnableCheck } from '../learnable.ts';
import { isUnanswered } from '../probes.ts';
import { takesVlan } from '../topology.ts';
import type { Claim, Context } from './claim.ts';

/** Why a binding has ended. */
export interface Ending {
  readonly because: string;
  /** True: no message of the host revives it. False: the host was silent, or is no longer where it was. */
  readonly isFinal: boolean;
}

/** Why the binding of a claim has ended and must be deleted; null when it has not. `entry` is static. */
export function whyEnded(
  { bridge, index, nowMs }: Context,
  { location, port }: Claim,
  binding: Binding,
  entry: StaticEntry | undefined,
  whyNotLearnable: LearnableCheck,
): Ending | null {
  // When the bridge forwards the MAC to another port that is learned from, the host is still here.
  if (port === undefined && location.kind !== 'local') return gone('its port is gone or not learned from');
  if (port !== undefined && !takesVlan(bridge, port, binding.vlan))
    return gone('its port is not in that VLAN');
  if (entry !== undefined && !entry.macs.includes(binding.mac)) return refused('provisioned for another MAC');
  const because = whyNotLearnable(binding);
  if (because !== null) return refused(because);
  const { maxAgeMs } = bridge.desired;
  if (entry !== undefined || maxAgeMs === null || nowMs - binding.lastSeenMs <= maxAgeMs) return null;
  if (location.kind !== 'local' && location.kind !== 'other') return gone('not seen for max_age');
  // The host is active: the binding ends only when probes for this very address stay unanswered.
  return isUnanswered(bridge, binding, index.probesOf(binding), nowMs)
    ? gone('does not answer for it any more')
    : null;
}

/** An end that the host's next message may revert. */
function gone(because: string): Ending {
  return { because, isFinal: false };
}

function refused(because: string): Ending {
  return { because, isFinal: true };
}

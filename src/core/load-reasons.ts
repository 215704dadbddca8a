// The words for why the program must be loaded. Pure.

import type { LoadReason } from '../datapath/pins.ts';

/** The cause, and what it means or what happens next. */
export const LOAD_REASONS: Readonly<Record<LoadReason, { readonly cause: string; readonly effect: string }>> =
  {
    absent: { cause: 'nothing is pinned', effect: 'snoopy has not run here yet, or its pins were lost' },
    incomplete: { cause: 'a load did not finish', effect: 'the next run completes it' },
    program: { cause: 'the program is of another version', effect: 'the next run replaces it' },
    layout: {
      cause: 'the maps are of another version',
      effect: 'the next run replaces them and keeps the hosts',
    },
    size: {
      cause: 'ring_size, max_bindings or the number of static entries were changed',
      effect: 'the next run replaces the maps and keeps the hosts',
    },
  };

/** Why the next run loads the program, for a command that does not load it. */
export function describeLoadDue(reason: LoadReason): string {
  const { cause, effect } = LOAD_REASONS[reason];
  return `${cause}${reason === 'absent' ? ':' : ';'} ${effect}`;
}

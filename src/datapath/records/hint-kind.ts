// SNOOPY_HINT_*: what shows that a host has an address, and is not enough to learn it.

import { malformed } from '../../base/errors.ts';
import {
  SNOOPY_HINT_ANYCAST,
  SNOOPY_HINT_ENDED,
  SNOOPY_HINT_FABRIC,
  SNOOPY_HINT_RATE,
  SNOOPY_HINT_SOLICITATION,
  SNOOPY_HINT_TENTATIVE,
  SNOOPY_HINT_UNNAMED,
} from '../../generated/layouts.ts';

/** Messages that the program takes for hints. */
export type SeenHintKind = 'solicitation' | 'unnamed' | 'anycast' | 'tentative' | 'rate';

/** These, and what user space finds: an address of another node's host whose MAC is local, a binding that ended. */
export type HintKind = SeenHintKind | 'fabric' | 'ended';

/** All kinds, for reports that count each. */
export const HINT_KINDS: readonly HintKind[] = [
  'solicitation',
  'unnamed',
  'anycast',
  'tentative',
  'rate',
  'fabric',
  'ended',
];

const NUMBERS: Readonly<Record<HintKind, number>> = {
  solicitation: SNOOPY_HINT_SOLICITATION,
  unnamed: SNOOPY_HINT_UNNAMED,
  anycast: SNOOPY_HINT_ANYCAST,
  tentative: SNOOPY_HINT_TENTATIVE,
  rate: SNOOPY_HINT_RATE,
  fabric: SNOOPY_HINT_FABRIC,
  ended: SNOOPY_HINT_ENDED,
};

export function encodeHintKind(kind: HintKind): number {
  return NUMBERS[kind];
}

/** Throws SnoopyError `malformed` for an unknown kind. */
export function decodeHintKind(kind: number): HintKind {
  switch (kind) {
    case SNOOPY_HINT_FABRIC:
      return 'fabric';
    case SNOOPY_HINT_ENDED:
      return 'ended';
    default:
      return decodeSeenHintKind(kind, 'hints');
  }
}

/** Throws SnoopyError `malformed` for a kind that the program does not write; `what` names the record. */
export function decodeSeenHintKind(kind: number, what: string): SeenHintKind {
  switch (kind) {
    case SNOOPY_HINT_SOLICITATION:
      return 'solicitation';
    case SNOOPY_HINT_UNNAMED:
      return 'unnamed';
    case SNOOPY_HINT_ANYCAST:
      return 'anycast';
    case SNOOPY_HINT_TENTATIVE:
      return 'tentative';
    case SNOOPY_HINT_RATE:
      return 'rate';
    default:
      throw malformed(what, `decode a record of ${what}`, `there is no hint of kind ${kind}`);
  }
}

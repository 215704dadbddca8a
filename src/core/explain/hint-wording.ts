// The words of `explain` for a hint: what was seen, where its MAC is, and what was sent for it.

import { formatAge } from '../../base/units.ts';
import type { HintKind } from '../../datapath/records/hint-kind.ts';
import type { HintReport } from './report.ts';

/** What suggests that an address is here, and is not enough to learn it. */
const HINTS: Readonly<Record<HintKind, string>> = {
  solicitation: 'its host has sent a Neighbor Solicitation, which is not learned from',
  unnamed: 'its host has sent an advertisement without its MAC',
  anycast: 'its host has sent an advertisement that displaces no other host (O=0)',
  tentative: 'its host has checked whether the address is free',
  rate: 'its message exceeded limits.new_bindings_per_second',
  fabric: 'the address was at another node',
  ended: 'the address had a binding here that ended',
};

/** What suggests that the address is here, where its MAC is, and what came of the probes. */
export function describeHint(hint: HintReport): string {
  const { kind, mac, port, seenOn, lastAge, probes, probeAge } = hint;
  const where = port === null ? 'on no local port now' : `on ${port}`;
  const times = probes === 1 ? 'once' : `${probes} times`;
  const probed =
    probeAge === null
      ? isOfAnotherPort(hint)
        ? `not probed, because the message came from ${seenOn}`
        : 'not probed yet'
      : `probed ${times}, the last ${formatAge(probeAge)} ago, without an answer`;
  return `${HINTS[kind]}, ${formatAge(lastAge)} ago; its MAC ${mac} is ${where}; ${probed}`;
}

/** True when the message came from a port other than its MAC's: the host with that MAC is not probed for it. */
export function isOfAnotherPort({ port, seenOn }: HintReport): boolean {
  return port !== null && seenOn !== null && seenOn !== port;
}

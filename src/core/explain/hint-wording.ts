// The words of `explain` for a hint: what was seen, where its MAC is, and what was sent for it.

import type { IpAddress } from '../../base/address.ts';
import { formatAge } from '../../base/units.ts';
import type { HintKind } from '../../datapath/records/hint-kind.ts';
import type { HintReport } from './report.ts';

/** What suggests that an address is here, and is not enough to learn it. */
export const HINTS: Readonly<Record<HintKind, string>> = {
  solicitation: 'its host has sent a Neighbor Solicitation, which is not learned from',
  unnamed: 'its host has sent an advertisement without its MAC',
  anycast: 'its host has sent an advertisement that displaces no other host (O=0)',
  tentative: 'its host has checked whether the address is free',
  rate: 'its message exceeded limits.new_bindings_per_second',
  fabric: 'the address was at another node',
  ended: 'its host was here or at another node before',
};

/** What suggests that the address is here, where its MAC is, and what came of the probes. */
export function describeHint(hint: HintReport): string {
  const { kind, mac, port, lastAge } = hint;
  const where = port === null ? 'on no local port now' : `on ${port}`;
  return `${HINTS[kind]}, ${formatAge(lastAge)} ago; its MAC ${mac} is ${where}; ${describeProbes(hint)}`;
}

function describeProbes(hint: HintReport): string {
  const { port, seenOn, probes, probeAge, probeIn } = hint;
  const times = probes === 1 ? 'once' : `${probes} times`;
  if (probeAge !== null) return `probed ${times}, the last ${formatAge(probeAge)} ago, without an answer`;
  if (port === null) return 'not probed while it is not';
  if (isOfAnotherPort(hint)) return `not probed, because the message came from ${seenOn}`;
  if (probeIn === null) return 'not probed, because of "probe" or "learn" of the bridge';
  return probeIn === 0 ? 'not probed yet' : `probed in ${formatAge(probeIn)}: its host may be checking it`;
}

/** True when the message came from a port other than its MAC's: the host with that MAC is not probed for it. */
function isOfAnotherPort({ port, seenOn }: HintReport): boolean {
  return port !== null && seenOn !== null && seenOn !== port;
}

/** What a host that was hinted at needs to be learned. */
export function getItProbed(hint: HintReport & { readonly ip: IpAddress }): string {
  if (hint.port === null || hint.probeIn === null || isOfAnotherPort(hint)) return letItSend(hint);
  if (hint.probes === 0)
    return hint.probeIn === 0
      ? 'snoopy reconcile'
      : `wait for ${formatAge(hint.probeIn)}; then: snoopy reconcile`;
  return `does ${hint.mac} have ${hint.ip}, and does its firewall let ${hint.ip.includes(':') ? 'ND' : 'ARP'} in? if so, ${letItSend(hint)}`;
}

/** How to make the program see a host. */
export function letItSend({ ip }: { readonly ip: IpAddress }): string {
  return ip.includes(':')
    ? `let the host send something: ping its gateway from ${ip}`
    : `let the host send ARP, with the arping of iputils: arping -A -c 1 -I DEVICE ${ip}`;
}

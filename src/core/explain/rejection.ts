// The last message about an address that the program rejected: the reason and the fix. Pure.

import { familyOf, formatPrefix } from '../../base/address.ts';
import type { Rejection } from '../../datapath/records/rejection.ts';
import { allowedPrefixes, whyNotLearnable } from '../learnable.ts';
import type { Bridge } from '../topology.ts';
import { LEARNED_NOW, LEARNS, REJECTIONS, type RejectionWords } from './rejection-wording.ts';
import type { RefusedReport } from './report.ts';
import { nameOf, type Scene, secondsSince } from './scene.ts';
import { isNamed } from './static-wording.ts';

/** Where the message was received. */
export interface Ingress {
  /** Undefined for a bridge that is not in the configuration. */
  readonly bridge: Bridge | undefined;
  readonly bridgeName: string;
  /** True when an entry of the configuration has that name. */
  readonly isNamed: boolean;
  readonly port: string;
}

/** Null when no message was rejected. */
export function rejectedReport({ facts, place, bridgeName }: Scene): RefusedReport | null {
  const { refused, bridge } = place;
  if (refused === undefined) return null;
  const port = nameOf(facts, refused.port);
  return {
    reason: refused.reason,
    ...describeRejection(refused, {
      bridge,
      bridgeName,
      port,
      isNamed: isNamed(facts.configuration, bridgeName),
    }),
    count: refused.count,
    port,
    source: refused.source,
    claimed: refused.claimed,
    firstAge: secondsSince(facts.hosts.nowMs, refused.firstMs),
    lastAge: secondsSince(facts.hosts.nowMs, refused.lastMs),
  };
}

/** The reason in words. If the configuration or the node's addresses have changed since, it may be learned now. */
export function describeRejection(
  rejection: Rejection,
  { bridge, bridgeName, isNamed, port }: Ingress,
): RejectionWords {
  const { reason, ip, vlan } = rejection;
  const data = {
    ...rejection,
    port,
    bridge: bridgeName,
    isNamed,
    learn: bridge?.desired.learn ?? null,
    learns: describeLearned(rejection, bridge),
  };
  const isLearnedNow = bridge !== undefined && whyNotLearnable(bridge, { ip, vlan }) === null;
  if (isLearnedNow && (reason === 'subnet' || reason === 'link_local')) return LEARNED_NOW[reason](data);
  return REJECTIONS[reason](data);
}

/** The addresses of a family that the bridge learns. */
function describeLearned({ ip, vlan }: Rejection, bridge: Bridge | undefined): string {
  if (bridge === undefined) return LEARNS.nothing();
  const domain = bridge.domains.get(vlan);
  if (domain?.reserved.has(ip)) return LEARNS.notReserved();
  const allowed = allowedPrefixes(bridge.desired, domain, familyOf(ip));
  return allowed === 'any' ? LEARNS.everything() : allowed.map(formatPrefix).join(', ');
}

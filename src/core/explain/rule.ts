// Step 2: which rule of the configuration lets the address be learned, or forbids it.

import { familyOf, formatPrefix, isLinkLocal } from '../../base/address.ts';
import { allowedPrefixes, whyNotLearnable } from '../learnable.ts';
import { type Bridge, effectiveVlan, excludedPorts, takesVlan } from '../topology.ts';
import type { Finding } from './finding.ts';
import { excludedPort, type Scene } from './scene.ts';
import { ALLOWED, ENDING_FIXES, includePort, RULE } from './wording.ts';

export function checkRule({ facts, place, state, bridgeName }: Scene): Finding {
  const { bridge, binding, domain, vlan, refused } = place;
  const { ip, plan } = facts;
  if (bridge === undefined) return RULE.unconfigured({ bridge: bridgeName });
  const entry = bridge.desired.statics.find(
    (one) => one.ip === ip && effectiveVlan(bridge, one.vlan) === vlan,
  );
  if (entry !== undefined) return RULE.static(entry);
  const ending = binding && plan.endings.get(binding)?.because;
  if (ending !== undefined)
    return RULE.ending({ because: ending, fix: fixOfEnding(bridge, { facts, place }) });
  if (domain?.reserved.has(ip) === true)
    return refused === undefined
      ? RULE.reserved()
      : RULE.reservedClaimed({ mac: place.mac ?? refused.source });
  if (state === 'remote' && binding === undefined) return RULE.remote();
  const unfit = whyNotLearnable(bridge, { ip, vlan });
  if (unfit !== null) return RULE.unfit({ unfit });
  const allowed = describeAllowed(bridge, { facts, place });
  return binding === undefined
    ? RULE.allowed({ allowed })
    : RULE.allowedWhileSeen({ allowed, maxAgeMs: bridge.desired.maxAgeMs });
}

/** Why the address may be learned. */
function describeAllowed(
  bridge: Bridge,
  { facts: { ip }, place: { domain } }: Pick<Scene, 'facts' | 'place'>,
): string {
  const { subnets, name } = bridge.desired;
  const device = domain?.deviceName ?? name;
  if (isLinkLocal(ip)) return ALLOWED.linkLocal();
  const prefixes = allowedPrefixes(bridge.desired, domain, familyOf(ip));
  if (prefixes === 'any') return subnets === 'any' ? ALLOWED.everything() : ALLOWED.noPrefix({ device, ip });
  const texts = prefixes.map(formatPrefix);
  return subnets === 'auto'
    ? ALLOWED.connected({ prefixes: texts, device })
    : ALLOWED.listed({ prefixes: texts });
}

function fixOfEnding(
  bridge: Bridge,
  { facts, place: { binding, vlan } }: Pick<Scene, 'facts' | 'place'>,
): string {
  const { ip, observed } = facts;
  const port = binding && bridge.portsByIndex.get(binding.port);
  const excluded = excludedPorts(bridge, observed).find(({ ifIndex }) => ifIndex === binding?.port);
  if (excluded !== undefined) return includePort(excludedPort(facts, bridge, excluded.ifIndex));
  if (port === undefined) return ENDING_FIXES.noPort({ bridge: bridge.desired.name });
  if (!takesVlan(bridge, port, vlan)) return ENDING_FIXES.noVlan({ port: port.name, vlan });
  return whyNotLearnable(bridge, { ip, vlan }) === null ? ENDING_FIXES.silent({ ip }) : ENDING_FIXES.unfit();
}

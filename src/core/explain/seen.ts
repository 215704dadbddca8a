// Step 1: whether the program has seen a message of the host.

import { HostIndex } from '../host-index.ts';
import { hasProgram } from '../observed.ts';
import { isSeenHint, nextProbeMs } from '../probes/hints.ts';
import type { Finding } from './finding.ts';
import { rejectedReport } from './rejection.ts';
import type { HintReport } from './report.ts';
import {
  excludedPort,
  frozenFor,
  hasOwnNeighbor,
  isUsable,
  nameOf,
  type Scene,
  secondsSince,
} from './scene.ts';
import { SEEN } from './wording.ts';

export function checkSeen(scene: Scene): Finding {
  const { facts, place, state } = scene;
  const { binding, decision } = place;
  if (binding === undefined) return checkUnseen(scene);
  const frozenSeconds = frozenFor(scene);
  if (frozenSeconds !== null) {
    const { owner } = binding;
    const before = owner && { mac: owner.mac, port: nameOf(facts, owner.port) };
    return SEEN.frozen({ ip: facts.ip, frozenSeconds, owner: before });
  }
  const { nowMs } = facts.hosts;
  const seen = {
    port: nameOf(facts, binding.port),
    mac: binding.mac,
    firstAge: secondsSince(nowMs, binding.firstSeenMs),
    lastAge: secondsSince(nowMs, binding.lastSeenMs),
    moves: binding.moves,
    isOtherThanStatic: decision?.source === 'static' && facts.plan.endings.has(binding),
  };
  const isPort = place.bridge?.portsByIndex.has(binding.port) ?? false;
  // It still has its route, until the binding ages out.
  if (state === 'installed' && isPort && !hasProgram(facts.observed, binding.port))
    return SEEN.withoutProgram(seen);
  return SEEN.seen(seen);
}

function checkUnseen(scene: Scene): Finding {
  const { facts, place, state, location } = scene;
  if (state === 'proxied') return SEEN.proxied();
  if (place.decision !== undefined) return SEEN.static();
  const rejected = rejectedReport(scene);
  if (state === 'refused' && rejected !== null) return SEEN.rejected(rejected);
  const hint = hintReport(scene);
  if (state === 'hinted' && place.mac !== null && location.kind === 'other')
    return SEEN.excluded({ mac: place.mac, ...excludedPort(facts, place.bridge, location.port) });
  if (state === 'hinted' && hint !== null) return SEEN.hinted({ ...hint, ip: facts.ip });
  // Its MAC has come to a port here, as with a VM that was moved: the next run probes it.
  if (state === 'remote' && hint !== null && hint.port !== null)
    return SEEN.arrived({ ...hint, ip: facts.ip });
  if (state === 'remote') return SEEN.remote();
  if (isUsable(place.neighbor) && !hasOwnNeighbor(scene)) return SEEN.otherOwner();
  // A host that sends from it would take the address of the node.
  if (place.domain?.reserved.has(facts.ip) === true) return SEEN.reserved();
  return SEEN.never({ ip: facts.ip });
}

/** What suggests that the address is here, although nothing was learned. */
export function hintReport({
  facts,
  place: { hint, bridge, mac: located },
  location,
}: Scene): HintReport | null {
  if (hint === undefined) return null;
  const { hosts } = facts;
  const { nowMs } = hosts;
  const dueMs = bridge === undefined ? null : nextProbeMs(bridge, hosts, new HostIndex(hosts), hint);
  const { kind, mac, probes, seenMs, probedMs } = hint;
  return {
    kind,
    mac,
    port: mac === located && location.kind === 'local' ? location.port.name : null,
    seenOn: isSeenHint(hint) ? nameOf(facts, hint.port) : null,
    lastAge: secondsSince(nowMs, seenMs),
    probes,
    probeAge: probes === 0 ? null : secondsSince(nowMs, probedMs),
    probeIn: dueMs === null ? null : Math.ceil(Math.max(0, dueMs - nowMs) / 1000),
  };
}

// Step 5: whether zebra has taken the neighbor.

import { findBlocker, NO_VNI } from '../blockers.ts';
import { findComplaint } from './complaint.ts';
import type { Finding } from './finding.ts';
import { ZEBRA } from './frr-wording.ts';
import type { Scene } from './scene.ts';

/** For a neighbor device without a VNI in zebra. */
export function checkVni(scene: Scene): Finding {
  const complaint = findComplaint(scene, ['tunnel', 'vni', 'neighbor-device', 'advertise-all-vni']);
  return complaint === undefined
    ? ZEBRA.blocked({ found: NO_VNI.reason, fix: NO_VNI.fix })
    : ZEBRA.blocked(complaint);
}

/** For a neighbor device with a VNI. */
export function checkZebra(scene: Scene, vni: number): Finding {
  const { facts, place, closeup, state } = scene;
  const { ip } = facts;
  const entry = closeup.frr?.neighbor ?? null;
  if (state === 'remote') {
    if (entry === null) return ZEBRA.noNode({ vni, ip });
    return entry.isLocal
      ? ZEBRA.ownThoughRemote({ vni, ip })
      : ZEBRA.remote({ vni, node: closeup.frr?.tunnelEnd ?? null });
  }
  const { mac } = place;
  if (mac === null) return ZEBRA.noMac({ vni });
  const blocker = findBlocker({ ip, mac, vlan: place.vlan }, vni, answerOf(scene, vni), scene.location);
  if (blocker === null) return ZEBRA.active({ vni });
  if (blocker.isAdvertised) return ZEBRA.activeWith({ vni, found: blocker.reason, fix: blocker.fix });
  const deeper = findComplaint(scene, ['tunnel', 'advertise-all-vni']);
  return ZEBRA.blockedInVni({ vni, ...(deeper ?? { found: blocker.reason, fix: blocker.fix }) });
}

/** FRR's answer about this address alone, in the form of one about all. */
function answerOf(
  { facts: { ip }, place: { mac }, closeup }: Scene,
  vni: number,
): Parameters<typeof findBlocker>[2] {
  const neighbor = closeup.frr?.neighbor;
  // Whether the bridge has the MAC is a step of its own.
  const macs = new Map(closeup.frr?.isMacDuplicate && mac !== null ? [[mac, true]] : []);
  const advertised = closeup.frr?.route?.isLocal ? [ip] : [];
  return {
    neighbors: new Map([[vni, new Map(neighbor ? [[ip, neighbor]] : [])]]),
    duplicates: new Map([[vni, { macs, advertised: new Set(advertised) }]]),
  };
}

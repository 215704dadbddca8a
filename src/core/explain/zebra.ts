// Step 5: whether zebra has taken the neighbor.

import { findBlocker, NO_VNI } from '../blockers.ts';
import { findComplaint } from './complaint.ts';
import type { Finding } from './finding.ts';
import type { Scene } from './scene.ts';
import { ZEBRA } from './wording.ts';

/** For an FRR that does not answer. */
export function checkSilent(kind: 'absent' | 'silent', message: string): Finding {
  return kind === 'absent' ? ZEBRA.absent() : ZEBRA.silent({ message });
}

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
  const neighbors = new Map([[vni, new Map(entry === null ? [] : [[ip, entry]])]]);
  const blocker = findBlocker({ ip, mac }, vni, { neighbors });
  if (blocker === null) return ZEBRA.active({ vni });
  const deeper = findComplaint(scene, ['tunnel', 'advertise-all-vni']);
  return ZEBRA.blockedInVni({ vni, ...(deeper ?? { found: blocker.reason, fix: blocker.fix }) });
}

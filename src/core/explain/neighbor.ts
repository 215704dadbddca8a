// Step 4: the neighbor of the address on the neighbor device.

import { describeEntry, isOurs, isRemote } from '../neighbor-entry.ts';
import type { Finding } from './finding.ts';
import { hasOwnNeighbor, isUsable, type Scene } from './scene.ts';
import { describeNeighbor, NEIGHBOR } from './wording.ts';

export function checkNeighbor(scene: Scene): Finding {
  const { facts, place, location, state, bridgeName } = scene;
  const { neighbor, domain, decision, vlan, mac } = place;
  const { ip, desired } = facts;
  if (domain === undefined) return NEIGHBOR.noDevice({ bridge: bridgeName, vlan });
  const device = domain.deviceName;
  const isDue = decision?.due === true;
  const entry =
    neighbor === undefined
      ? null
      : {
          ...describeEntry(neighbor),
          age: neighbor.updatedMs / 1000,
          isOurs: isOurs(neighbor, desired.runtime.neighborProtocol),
          isRemote: isRemote(neighbor),
        };
  const found = describeNeighbor({ entry, device, isDue });
  if (isDue) return NEIGHBOR.due({ found, because: decision.because });
  switch (state) {
    case 'installed':
      return NEIGHBOR.there({ found });
    case 'remote':
      return isUsable(neighbor) && neighbor?.mac !== undefined
        ? NEIGHBOR.there({ found })
        : NEIGHBOR.notAdvertised({ found, ip, mac });
    case 'ended':
      return hasOwnNeighbor(scene) ? NEIGHBOR.ending({ found }) : NEIGHBOR.ended({ found });
    case 'unheard':
      if (hasOwnNeighbor(scene)) return NEIGHBOR.ending({ found });
      if (isUsable(neighbor)) return NEIGHBOR.there({ found });
      return neighbor === undefined ? NEIGHBOR.none({ found, ip }) : NEIGHBOR.unanswered({ found, ip });
    default: {
      const because = decision?.because ?? '';
      if (decision?.isDoubtful && location.kind === 'local') return NEIGHBOR.doubtful({ found, because, ip });
      // For any other cause an earlier step has reported it.
      return entry === null
        ? NEIGHBOR.missing({ found, because })
        : NEIGHBOR.otherEntry({ found, because, ip, device });
    }
  }
}

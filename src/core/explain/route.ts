// Step 6: whether bgpd has the route as its best path, and to which peers it sends it.

import { findComplaint } from './complaint.ts';
import type { Finding } from './finding.ts';
import { ROUTE } from './frr-wording.ts';
import type { Scene } from './scene.ts';

export function checkRoute(scene: Scene, vni: number): Finding {
  const { facts, place, closeup, state } = scene;
  const route = closeup.frr?.route ?? null;
  const key = { vni, mac: place.mac, ip: facts.ip };
  if (state === 'remote') {
    if (route === null) return ROUTE.none(key);
    return route.isLocal ? ROUTE.ownThoughRemote(key) : ROUTE.remote({ node: route.nextHop });
  }
  if (route?.isLocal) {
    if (route.peers.length > 0) return ROUTE.sent(route);
    return ROUTE.unsent({ ...key, complaint: findComplaint(scene, ['peers']) });
  }
  const complaint = findComplaint(scene, ['advertise-all-vni']);
  return route === null
    ? ROUTE.none({ ...key, complaint })
    : ROUTE.otherIsBetter({ ...key, complaint, node: route.nextHop });
}

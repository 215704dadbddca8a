// The problems that doctor finds with the bridge of a story and with FRR.

import type { IfIndex } from '../../base/address.ts';
import { checkTunnels } from '../doctor/bridges.ts';
import { checkFrr } from '../doctor/frr.ts';
import type { CheckId } from '../doctor/wording.ts';
import type { Scene } from './scene.ts';

export interface Complaint {
  readonly found: string;
  readonly fix: string;
}

/** The first of these checks that is not ok. */
export function findComplaint(
  { facts: { frr, observed, plan }, place: { bridge, vlan } }: Scene,
  ids: readonly CheckId[],
): Complaint | undefined {
  if (bridge === undefined) return undefined;
  const topology = { bridges: [bridge], freePorts: new Set<IfIndex>(), problems: [] };
  const checks = [
    ...checkTunnels(bridge, { observed }),
    ...checkFrr({ frr, topology, observed, plan, vlan }),
  ];
  const complaint = checks.find(({ id, status }) => status !== 'ok' && ids.includes(id));
  if (complaint === undefined || complaint.remedy === null) return undefined;
  return { found: complaint.found, fix: complaint.remedy };
}

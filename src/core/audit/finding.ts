// What `audit` reports: findings, each about one thing that no node can see alone.

import { type FindingId, type FindingStatus, STATUS, WHY } from './wording.ts';

export interface Finding {
  readonly id: FindingId;
  readonly status: FindingStatus;
  /** Null: it is not about one VNI. */
  readonly vni: number | null;
  /** The nodes where it is seen. */
  readonly nodes: readonly string[];
  readonly addresses: readonly string[];
  readonly found: string;
  readonly why: string;
  /** The command that looks further, and the node to run it on. */
  readonly look: Look;
}

export interface Look {
  readonly node: string;
  readonly command: string;
}

/** The parts of a finding that its check knows. */
export interface Draft {
  readonly vni?: number;
  readonly nodes: readonly string[];
  readonly addresses?: readonly string[];
  readonly found: string;
  readonly look: Look;
}

export function finding(id: FindingId, { vni, nodes, addresses, found, look }: Draft): Finding {
  const words = { found, why: WHY[id], look };
  return { id, status: STATUS[id], vni: vni ?? null, nodes, addresses: addresses ?? [], ...words };
}

/** A finding, and whether reports of different instants may have made it up. */
export interface Sighted {
  readonly finding: Finding;
  readonly isMoving: boolean;
  /** Since when what was found is there, at the latest. Undefined: not known, or without meaning. */
  readonly since?: number;
  /** The nodes that can settle it when they are asked again, with the places whose addresses they must list. */
  readonly again?: readonly Again[];
}

/** A node to ask again. */
export interface Again {
  readonly node: string;
  /** For `status --all --details`; none: its own addresses are enough. */
  readonly details: readonly string[];
}

export function settled(one: Finding): Sighted {
  return { finding: one, isMoving: false };
}

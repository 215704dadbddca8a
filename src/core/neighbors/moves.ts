// Moves of an address between this node and another one, counted as the program counts those between ports (RFC 9161,
// section 3.7). Pure.

import type { Binding } from '../../datapath/records/binding.ts';
import type { DesiredBridge } from '../desired.ts';

/** The program counts no further either: a byte. */
const MOST_MOVES = 255;

/**
 * The binding after its host has taken the address from another MAC at another node. Two hosts with one address, each at a
 * node of its own, take it from each other again and again: after `duplicates.moves` within `duplicates.window` it is
 * frozen here. Nothing comes from another node through a port, so the program cannot count these. The host that has taken the
 * address is its owner, for any claim that follows here.
 */
export function countMove(
  binding: Binding,
  { moves: limit, windowMs, holdMs }: DesiredBridge['duplicates'],
  nowMs: number,
): Binding {
  const isOver = binding.windowMs === 0 || nowMs > binding.windowMs + windowMs;
  const counted: Binding = isOver
    ? { ...binding, moves: 1, windowMs: nowMs, owner: { mac: binding.mac, port: binding.port } }
    : { ...binding, moves: Math.min(MOST_MOVES, binding.moves + 1) };
  return limit > 0 && counted.moves >= limit ? { ...counted, frozenUntilMs: nowMs + holdMs } : counted;
}

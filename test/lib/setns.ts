// Moves this test process itself to a network namespace: for calls into src/, which has no notion of namespaces.
import { moveTo } from './libc.ts';
import type { Netns } from './netns.ts';
import type { Scope } from './scope.ts';

/** Moves to the namespace until the scope is closed. Sockets and processes made meanwhile belong to it. */
export function enterNetns(scope: Scope, netns: Netns): void {
  scope.defer(moveTo(netns.path));
}

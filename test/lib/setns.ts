// This test process itself in a network namespace: for calls into src/, which know of no namespaces.
import { moveTo } from './libc.ts';
import type { Netns } from './netns.ts';
import type { Scope } from './scope.ts';

/** Moves to the namespace, with what is opened and started from now on, until the scope is closed. */
export function enterNetns(scope: Scope, netns: Netns): void {
  scope.defer(moveTo(netns.path));
}

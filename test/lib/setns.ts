// This test process itself in a network namespace: for calls into src/, which know of no namespaces.
import { closeSync, openSync } from 'node:fs';
import { setns } from '../../src/ffi/libc.ts';
import type { Netns } from './netns.ts';
import type { Scope } from './scope.ts';

/** Moves to the namespace, with what is opened and started from now on, until the scope is closed. */
export function enterNetns(scope: Scope, netns: Netns): void {
  const home = openSync('/proc/self/ns/net', 'r');
  const there = openSync(netns.path, 'r');
  const context = { operation: `enter namespace ${netns.name}`, object: netns.name };
  scope.defer(() => {
    setns(home, context);
    closeSync(home);
  });
  setns(there, context);
  closeSync(there);
}

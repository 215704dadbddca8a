// Commands out of the terminal's reach: Ctrl-C ends only this process, which needs them to clean up.
import {
  type SpawnOptions,
  type SpawnSyncOptionsWithStringEncoding,
  type SpawnSyncReturns,
  spawnSync,
} from 'node:child_process';

/** Runs a command to its end, in a session of its own. */
export function spawnApart(
  argv: readonly string[],
  options: Omit<SpawnSyncOptionsWithStringEncoding, 'encoding'> = {},
): SpawnSyncReturns<string> {
  const [file = '', ...rest] = argv;
  // Node does not document `detached` for spawnSync, but honours it: setsid(2) before execve(2).
  const apart: SpawnSyncOptionsWithStringEncoding & Pick<SpawnOptions, 'detached'> = {
    ...options,
    encoding: 'utf8',
    detached: true,
  };
  for (let tries = 1; ; tries++) {
    const child = spawnSync(file, rest, apart);
    // Ctrl-C ended the child between fork and setsid: the command itself was not started.
    if (child.signal !== 'SIGINT' || tries === 3) return child;
  }
}

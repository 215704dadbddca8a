// A command in a terminal, as an operator starts it.
import { fileURLToPath } from 'node:url';
import type { Netns } from './netns.ts';
import { parseJson } from './run.ts';

const SCRIPT = fileURLToPath(new URL('../../../test/lib/pty.py', import.meta.url));

/** Rows and columns. */
export type Size = readonly [number, number];

export interface TerminalOptions {
  readonly size?: Size;
  /** Each step is done once `expect` has appeared since the one before. */
  readonly steps?: readonly { readonly expect: string; readonly send?: string; readonly resize?: Size }[];
  /** A file for stdout, so that only stderr is the terminal. */
  readonly stdout?: string;
}

export interface TerminalResult {
  /** Everything written to the terminal, escape codes included. */
  readonly output: string;
  /** The exit code; the negative number of the signal that ended it. */
  readonly code: number;
  /** Steps that were not reached. */
  readonly left: number;
}

/** Runs a command to its end, in a network namespace and in a terminal of its own. */
export function runInTerminal(
  netns: Netns,
  argv: readonly string[],
  { size = [24, 80], ...options }: TerminalOptions = {},
): TerminalResult {
  const order = JSON.stringify({ argv, size, ...options });
  const result = netns.tryRun(['python3', SCRIPT, order]);
  if (result.code !== 0) throw new Error(`pty.py failed: ${result.stderr}`);
  return parseJson<TerminalResult>(result.stdout, 'pty.py');
}

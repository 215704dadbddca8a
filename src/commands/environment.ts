// What the commands share: their environment, common options, and a session that closes with its command.

import type { Users } from '../base/trust.ts';
import type { Configuration } from '../core/desired.ts';
import type { Step } from '../core/report.ts';
import { openSession, type Session, type SessionOptions } from '../host/session.ts';

/** What a command may use besides the kernel. */
export interface Environment {
  /** CLOCK_MONOTONIC in milliseconds, the clock of the bindings. */
  readonly now: () => number;
  /** Processor time of this process until now, in milliseconds: waiting uses none. */
  readonly processorMs: () => number;
  /** Milliseconds since the epoch, for reports and for Prometheus. */
  readonly wallClock: () => number;
  /** Users whose files are trusted. */
  readonly users: Users;
  /** Version of Node.js. */
  readonly node: string;
  /** Writes a line about progress, for `--verbose`. */
  readonly log: (line: string) => void;
  /** Shows progress in one line, which the next one replaces; null without a terminal. */
  readonly progress: ((line: string) => void) | null;
}

/** Options of every command that reads the host. */
export interface CommandOptions {
  /** Path of the configuration. */
  readonly config: string;
}

/** Options of the commands that change the host. */
export interface ChangeOptions extends CommandOptions {
  /** Plan only: write nothing, consume nothing. */
  readonly check: boolean;
  readonly lockTimeoutMs: number;
}

/** What a command needs from its session. */
export type Purpose = Pick<SessionOptions, 'mode' | 'lockTimeoutMs' | 'capabilities'>;

/** A command that only reads waits for no lock. */
export const READ: Purpose = { mode: 'read', lockTimeoutMs: 0, capabilities: [] };

/** Opens a session, and closes it when `use` returns or throws. Throws SnoopyError as `openSession` does. */
export function withSession<Result>(
  configuration: Pick<Configuration, 'runtime' | 'entries'>,
  purpose: Purpose,
  { now, users }: Pick<Environment, 'now' | 'users'>,
  use: (session: Session) => Result,
): Result {
  const session = openSession(configuration, { ...purpose, now, users });
  try {
    return use(session);
  } finally {
    session.close();
  }
}

/** Logs each step and its outcome. */
export function logSteps(steps: readonly Step[], { log }: Pick<Environment, 'log'>): void {
  for (const { action, outcome } of steps) {
    log(`${action.kind} ${action.port ?? action.prefix ?? action.path ?? ''}: ${outcome.kind}`);
  }
}

// A parsed command line: the command, and its options with their defaults.

import type { AuditOptions } from './commands/audit.ts';
import type { DoctorOptions } from './commands/doctor.ts';
import type { CommandOptions } from './commands/environment.ts';
import type { ExplainOptions } from './commands/explain.ts';
import type { InitOptions } from './commands/init.ts';
import type { RemoveOptions } from './commands/remove.ts';
import type { ReconcileOptions } from './commands/run.ts';
import type { StatusOptions } from './commands/status.ts';
import type { Details } from './core/fabric-report.ts';

export type Format = 'text' | 'json';

/** Options of every command. */
export interface CommonOptions extends CommandOptions {
  readonly format: Format;
  readonly verbose: boolean;
}

interface ReconcileInvocation extends CommonOptions, ReconcileOptions {
  readonly command: 'reconcile';
  readonly diff: boolean;
  /** No text on stdout when nothing was due: for timers and cron. */
  readonly quiet: boolean;
  readonly detailedExitcode: boolean;
}

interface RemoveInvocation extends CommonOptions, RemoveOptions {
  readonly command: 'remove';
}

export interface StatusInvocation extends CommonOptions, StatusOptions {
  readonly command: 'status';
  /** Also what `audit` compares, with the addresses of these places; null: without. */
  readonly all: Details | null;
  /** A report each second, until its reader closes. */
  readonly watch: boolean;
}

interface ExplainInvocation extends CommonOptions, ExplainOptions {
  readonly command: 'explain';
}

interface DoctorInvocation extends CommonOptions, DoctorOptions {
  readonly command: 'doctor';
}

interface InitInvocation extends CommonOptions, InitOptions {
  readonly command: 'init';
}

interface AuditInvocation extends CommonOptions, AuditOptions {
  readonly command: 'audit';
}

interface PlainInvocation extends CommonOptions {
  readonly command: 'validate' | 'schema';
}

/** A parsed command line. */
export type Invocation =
  | ReconcileInvocation
  | RemoveInvocation
  | StatusInvocation
  | ExplainInvocation
  | DoctorInvocation
  | InitInvocation
  | AuditInvocation
  | PlainInvocation
  /** The text that `--help` or `--version` prints. */
  | { readonly command: 'help' | 'version'; readonly text: string };

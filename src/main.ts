// argv -> command -> streams and exit code: the only place with the process and its streams.

import { writeSync } from 'node:fs';
import { EXIT, exitCodeOf, type Problem, problemOf } from './base/errors.ts';
import type { Users } from './base/trust.ts';
import { type Invocation, parseInvocation, wantsJson } from './cli.ts';
import { inspectConfig } from './config/config.ts';
import { ConfigError } from './config/problem.ts';
import { exitCode, type ReconcileReport, type RemoveReport, type StatusReport } from './core/report.ts';
import { runDoctor } from './doctor.ts';
import { runExplain } from './explain.ts';
import { SCHEMA_TEXT } from './generated/schema.ts';
import { VERSION } from './generated/version.ts';
import { type Environment, runReconcile } from './reconcile.ts';
import { runRemove } from './remove.ts';
import { renderDoctor } from './render/doctor.ts';
import { renderExplain } from './render/explain.ts';
import { errorReport, renderJson } from './render/json.ts';
import { renderFailures, renderProblems, renderWarning } from './render/problems.ts';
import { hasNothingToSay, renderReconcile, renderRemove } from './render/reconcile.ts';
import { renderStatus } from './render/status.ts';
import type { RenderOptions } from './render/style.ts';
import { renderValidate, validateReport } from './render/validate.ts';
import { runStatus } from './status.ts';

const STDOUT = 1;
const STDERR = 2;
const DEFAULT_WIDTH = 80;

/** What a command has to say, and how it ends. */
interface Output {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit: number;
}

function main(argv: readonly string[]): void {
  let output: Output;
  try {
    output = execute(parseInvocation(argv, VERSION));
  } catch (thrown) {
    output = failure(thrown, wantsJson(argv));
  }
  write(STDERR, output.stderr);
  const errno = write(STDOUT, output.stdout);
  if (errno !== undefined)
    write(STDERR, `snoopy: Cannot write to stdout: ${errno}; look at where it goes to\n`);
  // All is written by now. To let the process end by itself would take the heap down first, object by object.
  process.exit(errno === undefined ? output.exit : EXIT.failed);
}

function execute(invocation: Invocation): Output {
  switch (invocation.command) {
    case 'help':
    case 'version':
      return { stdout: invocation.text, stderr: '', exit: EXIT.ok };
    case 'schema':
      return { stdout: SCHEMA_TEXT, stderr: '', exit: EXIT.ok };
    case 'validate': {
      const { config, format } = invocation;
      const { desired, doubt } = inspectConfig(config, trustedUsers());
      const stdout =
        format === 'json'
          ? renderJson(validateReport(config, desired))
          : renderValidate(config, desired, { color: hasColor() });
      return { stdout, stderr: doubt === null ? '' : renderWarning(doubt), exit: EXIT.ok };
    }
    case 'status': {
      const report = runStatus(invocation, environment(invocation.verbose));
      const text = (): string => renderStatus(report, renderOptions(invocation));
      return outputOf(report, invocation.format === 'json', text, report.ok ? EXIT.ok : EXIT.failed);
    }
    case 'explain': {
      const report = runExplain(invocation, environment(invocation.verbose));
      const asJson = invocation.format === 'json';
      const stdout = asJson ? renderJson(report) : renderExplain(report, renderOptions(invocation));
      return { stdout, stderr: '', exit: report.ok ? EXIT.ok : EXIT.failed };
    }
    case 'doctor': {
      const report = runDoctor(invocation, environment(invocation.verbose));
      const asJson = invocation.format === 'json';
      const stdout = asJson ? renderJson(report) : renderDoctor(report, renderOptions(invocation));
      return { stdout, stderr: '', exit: report.ok ? EXIT.ok : EXIT.failed };
    }
    case 'reconcile': {
      const report = runReconcile(invocation, environment(invocation.verbose));
      const silent = invocation.quiet && hasNothingToSay(report);
      const text = (): string => (silent ? '' : renderReconcile(report, renderOptions(invocation)));
      const exit = exitCode(report, invocation.detailedExitcode);
      return outputOf(report, invocation.format === 'json', text, exit);
    }
    case 'remove': {
      const report = runRemove(invocation, environment(invocation.verbose));
      const text = (): string => renderRemove(report, renderOptions(invocation));
      return outputOf(report, invocation.format === 'json', text, exitCode(report, false));
    }
    default:
      return invocation satisfies never;
  }
}

/** A report on stdout; as JSON what failed goes to stderr too, for whoever sends stdout to a file. */
function outputOf(
  report: ReconcileReport | RemoveReport | StatusReport,
  asJson: boolean,
  text: () => string,
  exit: number,
): Output {
  if (!asJson) return { stdout: text(), stderr: '', exit };
  return { stdout: renderJson(report), stderr: renderFailures(report), exit };
}

/** The end of a command that could not do its work. */
function failure(thrown: unknown, asJson: boolean): Output {
  const problem = problemOf(thrown, 'snoopy');
  const problems: readonly Problem[] = thrown instanceof ConfigError ? thrown.problems : [problem];
  return {
    stdout: asJson ? renderJson(errorReport(problems)) : '',
    stderr: renderProblems(problems),
    exit: exitCodeOf(problem.code),
  };
}

function environment(verbose: boolean): Environment {
  return {
    // CLOCK_MONOTONIC, as bpf_ktime_get_ns() reads it.
    now: () => Number(process.hrtime.bigint()) / 1e6,
    wallClock: () => Date.now(),
    users: trustedUsers(),
    log: (line) => {
      if (verbose) write(STDERR, `${line}\n`);
    },
  };
}

/** Root, who runs this, and who has become root by sudo to do so. */
function trustedUsers(): Users {
  const effective = process.geteuid?.() ?? 0;
  const { SUDO_UID = '' } = process.env;
  const isSudo = effective === 0 && /^\d+$/.test(SUDO_UID);
  return new Set(isSudo ? [0, Number(SUDO_UID)] : [0, effective]);
}

function renderOptions({
  verbose,
  diff,
}: {
  readonly verbose: boolean;
  readonly diff?: boolean;
}): RenderOptions {
  return {
    color: hasColor(),
    diff: diff === true,
    verbose,
    width: process.stdout.isTTY && process.stdout.columns > 0 ? process.stdout.columns : DEFAULT_WIDTH,
  };
}

/** Colors are for terminals whose user has not said no (https://no-color.org). */
function hasColor(): boolean {
  const { NO_COLOR, TERM } = process.env;
  return process.stdout.isTTY === true && (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb';
}

/**
 * Writes all of the text, to a slow pipe too; a reader that has gone away is no error. Returns the errno name
 * of what kept it from being written.
 */
function write(descriptor: number, text: string): string | undefined {
  const bytes = Buffer.from(text);
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (thrown) {
      const errno = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
      if (errno === 'EPIPE') return undefined;
      if (errno !== 'EAGAIN') return errno;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
  return undefined;
}

main(process.argv.slice(2));

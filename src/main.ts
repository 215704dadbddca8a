// argv -> command -> streams and exit code: the only file that uses the process and its streams.

import { fstatSync, writeSync } from 'node:fs';
import { causeOf, EXIT, exitCodeOf, type Problem, problemOf, SnoopyError } from './base/errors.ts';
import type { Users } from './base/trust.ts';
import { parseInvocation, wantsJson } from './cli.ts';
import type { CommonOptions, Invocation, StatusInvocation } from './cli-invocation.ts';
import { runAudit } from './commands/audit.ts';
import { runDoctor } from './commands/doctor.ts';
import type { Environment } from './commands/environment.ts';
import { runExplain } from './commands/explain.ts';
import { runFabricStatus } from './commands/fabric-status.ts';
import { runInit } from './commands/init.ts';
import { runReconcile } from './commands/reconcile.ts';
import { runRemove } from './commands/remove.ts';
import { runStatus, watchStatus } from './commands/status.ts';
import { inspectConfig } from './config/config.ts';
import { ConfigError } from './config/problem.ts';
import type { Details } from './core/fabric-report.ts';
import { exitCode, type ReconcileReport, type RemoveReport, type StatusReport } from './core/report.ts';
import { exitAtOnce, windowSize } from './ffi/libc.ts';
import { SCHEMA_TEXT } from './generated/schema.ts';
import { VERSION } from './generated/version.ts';
import { renderAudit } from './render/audit.ts';
import { renderDoctor } from './render/doctor.ts';
import { renderExplain } from './render/explain.ts';
import { renderFabric } from './render/fabric.ts';
import { renderInit } from './render/init.ts';
import { errorReport, renderJson, renderJsonLine } from './render/json.ts';
import { renderFailures, renderProblems, renderWarning } from './render/problems.ts';
import { hasNothingToSay, renderReconcile, renderRemove } from './render/reconcile.ts';
import { renderScreen, renderScrollOut } from './render/screen.ts';
import { renderNothing, renderStatus } from './render/status.ts';
import { printable, type RenderOptions } from './render/style.ts';
import { renderValidate, validateReport } from './render/validate.ts';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const DEFAULT_WIDTH = 80;
const DEFAULT_HEIGHT = 24;

/** The output of a command and its exit code. */
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
  clearProgress();
  write(STDERR, output.stderr);
  const errno = write(STDOUT, output.stdout);
  // A reader that has closed its end is no error.
  const isLost = errno !== undefined && errno !== 'EPIPE';
  if (isLost) write(STDERR, stdoutError(errno));
  // Everything is written. A normal exit would first free the heap, object by object.
  const status = isLost ? EXIT.failed : output.exit;
  exitAtOnce(status);
  process.exit(status);
}

function stdoutError(errno: string): string {
  const problem = { code: 'syscall_failed', object: 'stdout', operation: 'write to stdout' } as const;
  return renderProblems([{ ...problem, cause: errno, fix: 'check where it goes' }]);
}

function execute(invocation: Invocation): Output {
  switch (invocation.command) {
    case 'help':
    case 'version':
      return { stdout: invocation.text, stderr: '', exit: EXIT.ok };
    case 'schema':
      return { stdout: SCHEMA_TEXT, stderr: '', exit: EXIT.ok };
    case 'init': {
      const report = runInit(invocation, environment(invocation));
      const stdout = invocation.format === 'json' ? renderJson(report) : renderInit(report);
      return { stdout, stderr: '', exit: EXIT.ok };
    }
    case 'validate': {
      const { config, format } = invocation;
      const { configuration, weakness } = inspectConfig(config, trustedUsers());
      const stdout =
        format === 'json'
          ? renderJson(validateReport(config, configuration))
          : renderValidate(config, configuration, { color: hasColor() });
      const stderr =
        weakness === null ? '' : renderWarning({ kind: 'untrusted-config', path: config, weakness });
      return { stdout, stderr, exit: EXIT.ok };
    }
    case 'status':
      return invocation.watch ? watch(invocation) : status(invocation);
    case 'explain': {
      const report = runExplain(invocation, environment(invocation));
      const asJson = invocation.format === 'json';
      const stdout = asJson ? renderJson(report) : renderExplain(report, renderOptions(invocation));
      return { stdout, stderr: '', exit: report.ok ? EXIT.ok : EXIT.failed };
    }
    case 'doctor': {
      const report = runDoctor(invocation, environment(invocation));
      const asJson = invocation.format === 'json';
      const stdout = asJson ? renderJson(report) : renderDoctor(report, renderOptions(invocation));
      return { stdout, stderr: '', exit: report.ok ? EXIT.ok : EXIT.failed };
    }
    case 'audit': {
      refuseTerminal(invocation.paths);
      const report = runAudit(invocation, environment(invocation));
      const asJson = invocation.format === 'json';
      const stdout = asJson ? renderJson(report) : renderAudit(report, renderOptions(invocation));
      return { stdout, stderr: renderProblems(report.errors), exit: report.ok ? EXIT.ok : EXIT.failed };
    }
    case 'reconcile': {
      const report = runReconcile(invocation, environment(invocation));
      const silent = invocation.quiet && hasNothingToSay(report);
      const text = (): string => (silent ? '' : renderReconcile(report, renderOptions(invocation)));
      const exit = exitCode(report, invocation.detailedExitcode);
      return outputOf(report, invocation.format === 'json', text, exit);
    }
    case 'remove': {
      const report = runRemove(invocation, environment(invocation));
      const text = (): string => renderRemove(report, renderOptions(invocation));
      return outputOf(report, invocation.format === 'json', text, exitCode(report, false));
    }
    default:
      return invocation satisfies never;
  }
}

function status(invocation: StatusInvocation): Output {
  const { filter, format, all } = invocation;
  if (all !== null) return fabricStatus(invocation, all);
  const report = runStatus(invocation, environment(invocation));
  const text = (): string => renderStatus(report, renderOptions(invocation), filter);
  const output = outputOf(report, format === 'json', text, report.ok ? EXIT.ok : EXIT.failed);
  const nothing = format === 'json' ? renderNothing(report, filter) : null;
  return nothing === null ? output : { ...output, stderr: `${output.stderr}snoopy: ${nothing}\n` };
}

/** In JSON one line, so that reports of many nodes are one stream for `audit`. */
function fabricStatus(invocation: StatusInvocation, details: Details): Output {
  const report = runFabricStatus(invocation, details, environment(invocation));
  const exit = report.ok ? EXIT.ok : EXIT.failed;
  const stdout =
    invocation.format === 'json'
      ? renderJsonLine(report)
      : renderStatus(report, renderOptions(invocation)) +
        renderFabric(report.fabric, renderOptions(invocation));
  return { stdout, stderr: invocation.format === 'json' ? renderFailures(report) : '', exit };
}

/** Prints reports until the reader closes: a terminal is redrawn for each, JSON gets one line for each. */
function watch(invocation: StatusInvocation): Output {
  const asJson = invocation.format === 'json';
  if (!asJson && (!isTerminal(STDOUT) || isDumb())) {
    throw new SnoopyError({
      code: 'usage',
      object: 'stdout',
      operation: 'redraw the report',
      cause: 'stdout is no terminal',
      fix: 'in a script, use --watch --format json, which prints one report a line',
    });
  }
  let isFirst = true;
  let errno: string | undefined;
  watchStatus(invocation, environment(invocation), (report) => {
    errno = write(STDOUT, asJson ? renderJsonLine(report) : screenOf(report, invocation, isFirst));
    isFirst = false;
    return errno === undefined;
  });
  if (errno === undefined || errno === 'EPIPE') return { stdout: '', stderr: '', exit: EXIT.ok };
  return { stdout: '', stderr: stdoutError(errno), exit: EXIT.failed };
}

/** A report for the terminal, at the size that it has now. */
function screenOf(report: StatusReport, invocation: StatusInvocation, isFirst: boolean): string {
  const size = windowSize(STDOUT) ?? { columns: DEFAULT_WIDTH, rows: DEFAULT_HEIGHT };
  const time = new Date().toTimeString().slice(0, 8);
  const options = { ...renderOptions(invocation), width: size.columns };
  const text = `${time}, again each second until Ctrl-C\n${renderStatus(report, options, invocation.filter)}`;
  return (isFirst ? renderScrollOut(size) : '') + renderScreen(text, size);
}

/** Without a path the reports come from another program, not from a keyboard. */
function refuseTerminal(paths: readonly string[]): void {
  if (paths.length > 0 || !isTerminal(STDIN)) return;
  throw new SnoopyError({
    code: 'usage',
    object: 'stdin',
    operation: null,
    cause: 'no reports: stdin is a terminal',
    fix: 'name files or directories, or pipe reports in: snoopy audit --help',
  });
}

/** A report on stdout. With JSON, failures also go to stderr, because stdout is often redirected to a file. */
function outputOf(
  report: ReconcileReport | RemoveReport | StatusReport,
  asJson: boolean,
  text: () => string,
  exit: number,
): Output {
  if (!asJson) return { stdout: text(), stderr: '', exit };
  return { stdout: renderJson(report), stderr: renderFailures(report), exit };
}

/** The output of a command that an error ended. */
function failure(thrown: unknown, asJson: boolean): Output {
  const problem = problemOf(thrown, 'snoopy');
  const problems: readonly Problem[] = thrown instanceof ConfigError ? thrown.problems : [problem];
  return {
    stdout: asJson ? renderJson(errorReport(problems)) : '',
    stderr: renderProblems(problems),
    exit: exitCodeOf(problem.code),
  };
}

function environment(invocation: CommonOptions & { readonly quiet?: boolean }): Environment {
  const { verbose, format, quiet = false } = invocation;
  // With --verbose each step is printed, so a progress line would only disturb.
  const showsProgress = !verbose && !quiet && format === 'text' && isTerminal(STDERR) && !isDumb();
  return {
    // CLOCK_MONOTONIC, as bpf_ktime_get_ns() reads it.
    now: () => Number(process.hrtime.bigint()) / 1e6,
    processorMs: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
    wallClock: () => Date.now(),
    users: trustedUsers(),
    node: process.versions.node,
    log: (line) => {
      if (verbose) write(STDERR, `${line}\n`);
    },
    progress: showsProgress ? showProgress : null,
  };
}

let isProgressShown = false;

/** Rewrites the last line of the terminal, cut to its width: a longer one would wrap. */
function showProgress(line: string): void {
  const width = windowSize(STDERR)?.columns ?? DEFAULT_WIDTH;
  write(STDERR, `\r${printable(line).slice(0, width - 1)}\u001b[K`);
  isProgressShown = true;
}

function clearProgress(): void {
  if (isProgressShown) write(STDERR, '\r\u001b[K');
  isProgressShown = false;
}

/** Root and the user of this process; under sudo, root and the user that ran sudo. */
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
    width: isTerminal(STDOUT) && process.stdout.columns > 0 ? process.stdout.columns : DEFAULT_WIDTH,
  };
}

/** True on a terminal, unless its user has turned colors off (https://no-color.org). */
function hasColor(): boolean {
  const { NO_COLOR } = process.env;
  return isTerminal(STDOUT) && (NO_COLOR === undefined || NO_COLOR === '') && !isDumb();
}

/** Checks for a character device first: using Node's stream loads half of its net module. */
function isTerminal(descriptor: typeof STDIN | typeof STDOUT | typeof STDERR): boolean {
  const stream = (): { readonly isTTY?: boolean } =>
    descriptor === STDIN ? process.stdin : descriptor === STDOUT ? process.stdout : process.stderr;
  return fstatSync(descriptor).isCharacterDevice() && stream().isTTY === true;
}

/** True for a terminal that does not support escape codes. */
function isDumb(): boolean {
  return process.env['TERM'] === 'dumb';
}

/** Writes all of the text, even to a slow pipe. Returns the name of the errno when that fails. */
function write(descriptor: number, text: string): string | undefined {
  const bytes = Buffer.from(text);
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (thrown) {
      const errno = causeOf(thrown);
      if (errno !== 'EAGAIN') return errno;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
  return undefined;
}

main(process.argv.slice(2));

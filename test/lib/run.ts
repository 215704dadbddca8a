// Commands: run to the end with their output, or started in the background with their output in a file. Each has a
// session of its own, so that Ctrl-C does not end what a test needs to clean up.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnApart } from './apart.ts';
import type { Scope } from './scope.ts';
import { createTempDir } from './temp.ts';
import { PATIENCE, sleepSync, until } from './wait.ts';

// The options of test/run.mjs are for the tests' own processes: snoopy runs as its users run it.
delete process.env['NODE_OPTIONS'];

export interface Result {
  readonly argv: readonly string[];
  /** Exit status; -1 for a signal, instead of 128 plus its number. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export class CommandError extends Error {
  readonly result: Result;

  constructor(result: Result) {
    const output = result.stderr.trim() || result.stdout.trim() || 'it printed nothing';
    super(`\`${result.argv.join(' ')}\` ended with ${result.code}: ${output}`);
    this.name = 'CommandError';
    this.result = result;
  }
}

/** Runs a command and returns its result, however it ends. Throws when it cannot be started, or does not end in time. */
export function tryRun(argv: readonly string[], options: RunOptions = {}): Result {
  const timeoutMs = (options.timeoutMs ?? 60_000) * PATIENCE;
  const { status, stdout, stderr, isTimedOut } = spawnApart(argv, {
    input: options.input ?? '',
    env: { ...process.env, ...options.env },
    timeoutMs,
  });
  if (isTimedOut)
    throw new Error(`\`${argv.join(' ')}\` did not end in ${timeoutMs} ms: ${stderr || stdout}`);
  return { argv, code: status ?? -1, stdout, stderr };
}

/** Runs a command that must succeed, and returns its output. */
export function run(argv: readonly string[], options: RunOptions = {}): string {
  const result = tryRun(argv, options);
  if (result.code !== 0) throw new CommandError(result);
  return result.stdout;
}

/** The JSON output of a command. `T` is the caller's claim about it: nothing is checked. */
export function runJson<T>(argv: readonly string[], options: RunOptions = {}): T {
  return parseJson<T>(run(argv, options), argv.join(' '));
}

/** `text` as JSON; an empty text is an empty list, as iproute2 prints it. */
export function parseJson<T>(text: string, from: string): T {
  try {
    return JSON.parse(text.trim() === '' ? '[]' : text) as T;
  } catch (error) {
    throw new Error(`\`${from}\` printed no JSON: ${text.slice(0, 500)}`, { cause: error });
  }
}

/**
 * Position of `num_threads` in /proc/PID/stat (proc_pid_stat(5): field 20), counted from the field after the state,
 * 4.
 */
const NUM_THREADS = 20 - 4;

/** A command in the background. Its output goes to files, so that it can be read at any time. */
export class Background {
  readonly argv: readonly string[];
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #stdout: string;
  readonly #stderr: string;

  constructor(scope: Scope, argv: readonly string[]) {
    const [file = '', ...rest] = argv;
    const dir = createTempDir(scope, 'run');
    this.argv = argv;
    this.#stdout = join(dir, 'stdout');
    this.#stderr = join(dir, 'stderr');
    const out = openSync(this.#stdout, 'w');
    const err = openSync(this.#stderr, 'w');
    try {
      this.#child = spawn(file, rest, { stdio: ['ignore', out, err], detached: true });
    } finally {
      closeSync(out);
      closeSync(err);
    }
    // A command that cannot be started emits this event, which Node throws when it has no listener.
    this.#child.on('error', () => undefined);
    if (this.#child.pid === undefined) throw new Error(`Cannot start \`${argv.join(' ')}\``);
    this.pid = this.#child.pid;
    scope.defer(() => this.kill());
  }

  get stdout(): string {
    return readFileSync(this.#stdout, 'utf8');
  }

  get stderr(): string {
    return readFileSync(this.#stderr, 'utf8');
  }

  get running(): boolean {
    return isAlive(this.pid);
  }

  /** Waits until the command has printed something that matches, on either stream. */
  async printed(pattern: RegExp, timeoutMs = 10_000): Promise<void> {
    await until(
      `\`${this.argv.join(' ')}\` to print ${pattern}`,
      () => this.stdout + this.stderr,
      (text) => pattern.test(text) || !this.running,
      { timeoutMs },
    );
    if (!pattern.test(this.stdout + this.stderr)) throw new CommandError(this.#result(-1));
  }

  /** Sends `signal` to the command and waits for its end. */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<Result> {
    if (this.running) this.#child.kill(signal);
    return this.ended();
  }

  /** Waits until the command has ended by itself. */
  async ended(timeoutMs = 10_000): Promise<Result> {
    await until(
      `\`${this.argv.join(' ')}\` to end`,
      () => this.#child.exitCode ?? this.#child.signalCode,
      (status) => status !== null,
      { timeoutMs },
    );
    return this.#result(this.#child.exitCode ?? -1);
  }

  /** Kills the command and every process of its group at once, and returns once they are gone. */
  kill(): void {
    // Once it is reaped, its number may be that of another process.
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    process.kill(-this.pid, 'SIGKILL');
    // What it has started may need longer than itself, and keeps mounts busy until then.
    killAndWait([this.pid, ...membersOf(this.pid)]);
  }

  #result(code: number): Result {
    return { argv: this.argv, code, stdout: this.stdout, stderr: this.stderr };
  }
}

/**
 * False once a process is gone, or is a zombie that only its parent still has to reap. A zombie with threads is
 * alive: its first thread has ended, and the others still hold its files.
 */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const threads = Number(fields[NUM_THREADS]);
    return !/[ZX]/.test(state) || threads > 1;
  } catch {
    return false;
  }
}

/** The processes of a group. */
function membersOf(group: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const [, , of] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return Number(of) === group;
      } catch {
        return false;
      }
    });
}

/** Kills processes and returns once they are gone. */
export function killAndWait(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    } catch {
      // It ended between the two calls.
    }
  }
  const deadline = performance.now() + 3_000;
  for (const pid of pids) {
    while (isAlive(pid)) {
      if (performance.now() > deadline) throw new Error(`Process ${pid} does not end`);
      sleepSync(5);
    }
  }
}

// The wrapper around libc, compiled; and snoopy run under it, killed or failed at one of its calls.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Netns } from '../lib/netns.ts';
import { isAlive, killAndWait, type Result, run } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { NODE, START } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';

const SOURCE = fileURLToPath(new URL('../../../test/safety/shim.c', import.meta.url));

/** Calls that change something, those that only read, or both. */
export type Counted = 'change' | 'look' | 'all';

/** The fault at call number `at` (from 1 on) of all calls, or of those that match `only`. */
export interface Injection {
  readonly at: number;
  readonly only?: string;
  /** True: at all later ones too. */
  readonly onwards?: boolean;
  /**
   * A kill or, for `meanwhile`, a stop, before the call or after it; or an errno instead of the call. `refuse`: the
   * kernel gets the first request of a netlink datagram in a form that it refuses.
   */
  readonly what: 'stop' | 'stop-after' | 'kill' | 'kill-after' | 'refuse' | number;
}

/** The conditions of a run. */
export interface Way {
  /** Under the wrapper when given. */
  readonly counted?: Counted;
  readonly injection?: Injection;
  /** Under the wrapper: a kind of qdisc or filter that the kernel must not know. */
  readonly hide?: string;
  /** Killed after this many milliseconds. */
  readonly killAfterMs?: number;
  /** Called while the process is stopped; then it continues. */
  readonly meanwhile?: () => void;
  /** A command such as prlimit before the command line of Node. */
  readonly prefix?: readonly string[];
}

export interface Launch extends Way {
  /** `reconcile`, `remove` and so on, with their options. */
  readonly args: readonly string[];
  readonly config: string;
  /** A product other than the shipped one. */
  readonly product?: string;
}

export interface Launched extends Result {
  /** The calls that counted, in order; the last is the one at which it was killed. */
  readonly calls: readonly string[];
  readonly signal: NodeJS.Signals | null;
  /** True when the call with the fault was reached. */
  readonly met: boolean;
}

/** Runs commands side by side, unlike the blocking ones of test/lib. */
export class Launcher {
  readonly #scope: Scope;
  readonly #netns: Netns;
  readonly #library: string;
  readonly #log: string;
  readonly #roots: string;

  /** `roots`: the files of the run; calls about others do not count. */
  constructor(scope: Scope, netns: Netns, library: string, roots: readonly string[]) {
    this.#scope = scope;
    this.#netns = netns;
    this.#library = library;
    this.#log = join(createTempDir(scope, 'shim'), 'calls');
    this.#roots = roots.join(':');
  }

  /** Runs snoopy to its end, however it ends. */
  launch(launch: Launch): Promise<Launched> {
    const {
      args,
      config,
      product = START,
      counted,
      injection,
      hide,
      killAfterMs,
      meanwhile,
      prefix = [],
    } = launch;
    const [command = '', ...options] = args;
    rmSync(this.#log, { force: true });
    const shim =
      counted === undefined
        ? []
        : [
            'env',
            `LD_PRELOAD=${this.#library}`,
            `SHIM_LOG=${this.#log}`,
            `SHIM_ROOTS=${this.#roots}`,
            `SHIM_COUNT=${counted}`,
            ...(injection?.only === undefined ? [] : [`SHIM_ONLY=${injection.only}`]),
            ...(injection?.onwards === true ? ['SHIM_ON=1'] : []),
            ...(hide === undefined ? [] : [`SHIM_HIDE=${hide}`]),
            `SHIM_AT=${injection?.at ?? 0}`,
            `SHIM_DO=${injection?.what ?? 0}`,
          ];
    const snoopy = [...NODE, product, command, '--config', config, '--format', 'json', ...options];
    const argv = this.#netns.argv([...prefix, ...shim, ...snoopy]);
    const [file = '', ...rest] = argv;
    const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const { pid } = child;
    if (pid === undefined) throw new Error(`Cannot start \`${argv.join(' ')}\``);
    this.#scope.defer(() => {
      if (child.exitCode === null && child.signalCode === null && isAlive(pid)) killAndWait([pid]);
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (part) => {
      stdout += part;
    });
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part;
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs ?? 60_000);
    const watch = setInterval(() => {
      if (meanwhile === undefined || !isStopped(pid)) return;
      clearInterval(watch);
      meanwhile();
      child.kill('SIGCONT');
    }, 5);
    return new Promise((resolve) => {
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        clearInterval(watch);
        const text = existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : '';
        const lines = text.split('\n').slice(0, -1);
        const calls = lines.filter((line) => line !== '!');
        const met = calls.length < lines.length;
        resolve({ argv: snoopy, code: code ?? -1, signal, stdout, stderr, calls, met });
      });
    });
  }
}

function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  } catch {
    return false;
  }
}

/** Compiles the wrapper and returns the path of the library, which ends with the scope. */
export function buildShim(scope: Scope): string {
  const library = join(createTempDir(scope, 'shim'), 'shim.so');
  run(['clang', '-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Werror', '-o', library, SOURCE, '-ldl']);
  return library;
}

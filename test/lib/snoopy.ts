// The product itself, run on a node as a user runs it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dump } from 'js-yaml';
import { mountBpffs } from './bpffs.ts';
import type { Netns } from './netns.ts';
import { assertReport } from './report.ts';
import { type Background, parseJson, type Result } from './run.ts';
import type { Scope } from './scope.ts';
import { createTempDir } from './temp.ts';

/** The shipped bundle. Tests that need the product in one file run it without START. */
export const PRODUCT = fileURLToPath(new URL('../../../dist/snoopy.cjs', import.meta.url));
/** The installed `snoopy`: the bundle, with V8's compiled code of it. */
export const START = fileURLToPath(new URL('../../../dist/start.cjs', import.meta.url));
/** This Node.js, or SNOOPY_NODE, with the options in the first line of START: with others V8 rejects that code. */
export const NODE: readonly string[] = [process.env['SNOOPY_NODE'] ?? process.execPath, ...optionsOf(START)];

function optionsOf(script: string): string[] {
  const [first = ''] = existsSync(script) ? readFileSync(script, 'utf8').split('\n') : [];
  return first.split(' ').filter((word) => word.startsWith('--'));
}

export interface Outcome {
  readonly kind: 'planned' | 'applied' | 'skipped' | 'failed';
  readonly because?: string;
  readonly code?: string;
  readonly message?: string;
}

export interface NeighborChange {
  readonly kind: 'add' | 'replace' | 'remove';
  readonly device: string;
  readonly bridge: string;
  readonly vlan: number;
  readonly ip: string;
  readonly mac: string;
  readonly port: string;
  /** The entry as written; null for `remove`. */
  readonly after: { readonly state: string } | null;
  readonly because: string;
  readonly outcome: Outcome;
}

/** The output of `reconcile --format json`: the contract of schema/report.schema.json. */
export interface Report {
  readonly version: 1;
  readonly ok: boolean;
  readonly changed: boolean;
  readonly check: boolean;
  readonly steps: readonly {
    readonly action: {
      readonly kind: string;
      readonly bridge?: string;
      readonly port?: string;
      readonly as?: string;
    };
    readonly outcome: Outcome;
  }[];
  readonly neighbors: {
    readonly changed: boolean;
    readonly total: number;
    readonly changes: readonly NeighborChange[];
  };
  readonly ring: { readonly records: number; readonly dropped: number };
  readonly counters: {
    readonly sightings: number;
    readonly created: number;
    readonly moved: number;
    readonly duplicates: number;
    readonly hints: number;
    readonly rejected: Readonly<Record<string, number>>;
  };
  readonly probes: { readonly sent: number };
  readonly announcements: { readonly sent: number };
  /** Seconds by phase. */
  readonly confirms: { readonly sent: number; readonly answered: number };
  readonly hints: { readonly probed: number; readonly learned: number };
  readonly frr: { readonly verified: number; readonly missing: number; readonly renewed: number };
  readonly durations: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  readonly bridges: readonly {
    readonly name: string;
    readonly present: boolean;
    readonly ports: readonly string[];
    readonly bindings: number;
    readonly neighbors: number;
  }[];
  readonly remaining: readonly unknown[];
  readonly errors: readonly { readonly code: string; readonly object: string; readonly message: string }[];
}

/** A binding, as `status --format json` lists it. */
export interface StatusBinding {
  readonly bridge: string;
  readonly device: string;
  readonly vlan: number;
  readonly ip: string;
  readonly mac: string;
  readonly port: string;
  readonly source: 'learned' | 'static';
  readonly state: 'installed' | 'waiting' | 'remote' | 'frozen' | 'homeless';
  readonly because: string;
  /** Seconds since it was seen; null for a static entry that was not seen. */
  readonly age: number | null;
  /** The state of its entry in the kernel. */
  readonly neighbor: string | null;
}

export interface ReconcileResult extends Result {
  readonly report: Report;
}

/** The requests of a traced run to the kernel. */
export interface TracedResult extends ReconcileResult {
  /** Netlink messages that change something, by type: RTM_NEWNEIGH, RTM_DELTFILTER, ... */
  readonly netlinkWrites: readonly string[];
  /** Netlink messages that only read, by type. */
  readonly netlinkReads: readonly string[];
  /** Commands of bpf(2). */
  readonly bpfCommands: readonly string[];
}

export type Config = Readonly<Record<string, unknown>>;

/**
 * Runs the following as root with only the capabilities of the shipped unit. A test that needs more says so by
 * `privileged`.
 */
export const LEAST_CAPABILITIES = ['net_admin', 'bpf', 'perfmon', 'net_raw'] as const;

/** The command that runs another as root with these capabilities, and no others. */
export function onlyWith(capabilities: readonly string[]): string[] {
  return ['setpriv', `--bounding-set=${['-all', ...capabilities.map((name) => `+${name}`)].join(',')}`];
}

/** snoopy on one node, with a configuration and a bpffs of its own. */
export class Snoopy {
  readonly bpffs: string;
  readonly configFile: string;
  readonly #dir: string;
  readonly #netns: Netns;
  #wrapper: readonly string[] = onlyWith(LEAST_CAPABILITIES);

  /** `config` is the content of the file; `version` and `runtime.bpffs` are filled in. */
  constructor(scope: Scope, netns: Netns, config: Config = { bridges: [{ name: 'br0' }] }) {
    if (!existsSync(START)) throw new Error(`${START} is missing: run \`npm run build\``);
    this.#netns = netns;
    this.bpffs = mountBpffs(scope);
    this.#dir = createTempDir(scope, 'snoopy');
    this.configFile = join(this.#dir, 'snoopy.yaml');
    this.configure(config);
  }

  /** Writes another configuration. */
  configure(config: Config): void {
    const { runtime, ...rest } = config;
    const whole = { version: 1, runtime: { bpffs: this.bpffs, ...(runtime as Config | undefined) }, ...rest };
    writeFileSync(this.configFile, dump(whole));
  }

  get configText(): string {
    return readFileSync(this.configFile, 'utf8');
  }

  /** The command line of a command with this node's configuration. */
  argv(command: string, ...args: string[]): string[] {
    return [...NODE, START, command, '--config', this.configFile, ...args];
  }

  /** Runs the following with all capabilities of root: to mount bpffs, or to write to the directories of others. */
  privileged(): this {
    this.#wrapper = [];
    return this;
  }

  /** Runs the following beside these daemons of FRR: with their vtysh in the PATH, and in its group as the shipped unit is. */
  beside(frr: { binDirectory(): string }): this {
    const path = `PATH=${frr.binDirectory()}:${process.env['PATH'] ?? ''}`;
    this.#wrapper = ['setpriv', '--groups=frrvty', 'env', path, ...this.#wrapper];
    return this;
  }

  /** Runs the following on a machine of that name. After `beside`. */
  named(name: string): this {
    this.#wrapper = ['unshare', '--uts', 'sh', '-c', 'hostname "$0"; exec "$@"', name, ...this.#wrapper];
    return this;
  }

  /** A script that is snoopy on this node, for a program that starts it: its arguments are a command and its options. */
  script(): string {
    const path = join(this.#dir, 'snoopy.sh');
    const [command = '', ...rest] = this.#netns.argv([...this.#wrapper, ...NODE, START]);
    const words = [command, ...rest].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    writeFileSync(path, `#!/bin/sh\nexec ${words.join(' ')} "$@" --config '${this.configFile}'\n`, {
      mode: 0o755,
    });
    return path;
  }

  /** Runs any command, however it ends. A JSON report must be valid by its schema. */
  run(command: string, ...args: string[]): Result {
    const result = this.#netns.tryRun([...this.#wrapper, ...this.argv(command, ...args)]);
    assertReport(result);
    return result;
  }

  /** Runs `reconcile` and reads its report, however it ends. */
  reconcile(...args: string[]): ReconcileResult {
    return withReport(this.run('reconcile', '--format', 'json', ...args));
  }

  /** Starts `reconcile` in the background, for --listen; `withReport` reads its report. */
  startReconcile(...args: string[]): Background {
    return this.#netns.start(...this.#wrapper, ...this.argv('reconcile', '--format', 'json', ...args));
  }

  /** The bindings that `status` lists. */
  bindings(): readonly StatusBinding[] {
    const result = this.run('status', '--format', 'json', '--no-frr');
    return parseJson<{ bindings: readonly StatusBinding[] }>(result.stdout, 'snoopy status').bindings;
  }

  /** Runs `reconcile` under strace, which decodes its requests to the kernel. */
  trace(...args: string[]): TracedResult {
    const file = join(this.#dir, 'strace');
    const strace = ['strace', '-f', '-v', '-o', file, '-e', 'trace=sendto,sendmsg,sendmmsg,write,writev,bpf'];
    const argv = this.argv('reconcile', '--format', 'json', ...args);
    const result = withReport(this.#netns.tryRun([...strace, ...this.#wrapper, ...argv]));
    const text = readFileSync(file, 'utf8');
    // Numbers are audit messages of vtysh, which authenticates its user.
    const types = [...text.matchAll(/nlmsg_type=([A-Z]\w+)/g)].map((match) => match[1] ?? '');
    const isRead = (type: string) => type.startsWith('RTM_GET') || type.startsWith('NLMSG_');
    return {
      ...result,
      netlinkWrites: types.filter((type) => !isRead(type)),
      netlinkReads: types.filter(isRead),
      bpfCommands: [...text.matchAll(/\bbpf\((\w+)/g)].map((match) => match[1] ?? ''),
    };
  }
}

/** The report of a run that has ended. */
export function withReport(result: Result): ReconcileResult {
  if (result.stdout.trim() === '') {
    throw new Error(`snoopy ended with ${result.code} and printed no report: ${result.stderr}`);
  }
  assertReport(result);
  return { ...result, report: parseJson<Report>(result.stdout, result.argv.join(' ')) };
}

/** The end of an assertion's message about a run: its output. */
export function outputOf(result: Result): string {
  return `\nexit code ${result.code}\nstdout: ${result.stdout}\nstderr: ${result.stderr}`;
}

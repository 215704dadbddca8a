// Network namespaces with names of their own, and commands inside them.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { inNetns } from './libc.ts';
import { Background, killAndWait, type Result, type RunOptions, run, runJson, tryRun } from './run.ts';
import type { Scope } from './scope.ts';
import { isStale, uniqueName } from './temp.ts';

const NETNS_DIR = '/run/netns';

/** A network namespace. Every process in it is killed before it is deleted. */
export class Netns {
  readonly name: string;
  readonly scope: Scope;

  /** Creates the namespace with its loopback up; it is deleted when the scope is closed. */
  constructor(scope: Scope, role: string) {
    sweepNamespaces();
    this.name = uniqueName(role);
    this.scope = scope;
    run(['ip', 'netns', 'add', this.name]);
    scope.defer(() => deleteNamespace(this.name));
    this.run('ip', 'link', 'set', 'lo', 'up');
  }

  get path(): string {
    return `${NETNS_DIR}/${this.name}`;
  }

  /**
   * The command line that runs `argv` inside, for another program to start. It uses nsenter, because `ip netns exec`
   * mounts another /sys, which has no bpffs.
   */
  argv(argv: readonly string[]): string[] {
    return ['nsenter', `--net=${this.path}`, '--', ...argv];
  }

  run(...argv: string[]): string {
    return inNetns(this.path, () => run(argv));
  }

  tryRun(argv: readonly string[], options: RunOptions = {}): Result {
    return inNetns(this.path, () => tryRun(argv, options));
  }

  json<T>(...argv: string[]): T {
    return inNetns(this.path, () => runJson<T>(argv));
  }

  /** Starts a command in the background; it is killed when the scope is closed. */
  start(...argv: string[]): Background {
    return inNetns(this.path, () => new Background(this.scope, argv));
  }

  /** Runs lines of `ip -batch`: one process for a whole set-up. */
  ipBatch(lines: readonly string[]): void {
    inNetns(this.path, () => run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` }));
  }

  /** Writes sysctls such as `net/ipv6/conf/all/forwarding`. */
  sysctl(values: Readonly<Record<string, string | number>>): void {
    inNetns(this.path, () => {
      for (const [key, value] of Object.entries(values)) writeFileSync(`/proc/sys/${key}`, String(value));
    });
  }
}

function deleteNamespace(name: string): void {
  killAndWait(run(['ip', 'netns', 'pids', name]).split('\n').filter(Boolean).map(Number));
  run(['ip', 'netns', 'del', name]);
}

let swept = false;

/** Deletes what killed test processes have left behind. */
function sweepNamespaces(): void {
  if (swept) return;
  swept = true;
  mkdirSync(NETNS_DIR, { recursive: true });
  for (const name of readdirSync(NETNS_DIR)) {
    if (!isStale(name)) continue;
    try {
      deleteNamespace(name);
    } catch {
      // Another test process may delete it at the same time; only its end matters.
    }
  }
}

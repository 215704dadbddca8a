// A machine with systemd as its first process: a Debian root of its own, on this kernel, in a network namespace.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Netns } from './netns.ts';
import { Background, CommandError, parseJson, type Result, type RunOptions, run, tryRun } from './run.ts';
import type { Scope } from './scope.ts';
import { createTempDir, uniqueName } from './temp.ts';
import { sleepSync, until } from './wait.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
/** The roots that test/setup.sh has made. Nothing writes to them: every container has an overlay of its own. */
const ROOTS = join(PROJECT, 'dist/roots');
const INIT = join(PROJECT, 'test/lib/container.sh');
/** The environment of a login, without that of this process. */
const ENVIRONMENT = ['HOME=/root', 'LANG=C.UTF-8', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin'];

/** Debian's releases that there is a root of. */
export const RELEASES = ['bookworm', 'trixie'] as const;
export type Release = (typeof RELEASES)[number];

/** A root: a release of Debian; `rpm`, a Debian 12 with rpm and dnf; or `arm64`, a Debian 13 of that architecture. */
export type Root = Release | 'rpm' | 'arm64';

export interface BootOptions {
  /** Debian 13 unless another is given. */
  readonly from?: Root;
  /** Gets the root before the boot. */
  readonly prepare?: (root: string) => void;
}

/** A booted container. It ends, with every process in it, when the scope is closed. */
export class Container {
  readonly netns: Netns;
  readonly scope: Scope;
  /** Its root directory, for access to files from outside, without the mounts inside. */
  readonly root: string;
  /** Its first process, as seen from outside. */
  readonly pid: number;

  private constructor(scope: Scope, netns: Netns, root: string, pid: number) {
    this.scope = scope;
    this.netns = netns;
    this.root = root;
    this.pid = pid;
  }

  /** Boots a container named `role` and returns once systemd has started everything that it starts by itself. */
  static async boot(
    scope: Scope,
    role: string,
    { from = 'trixie', prepare }: BootOptions = {},
  ): Promise<Container> {
    const root = mountRoot(scope, join(ROOTS, from));
    prepare?.(root);
    writeFileSync(join(root, 'etc/hostname'), `${role}\n`);
    const netns = new Netns(scope, role);
    const cgroup = createCgroup(scope);
    const enter = 'echo $$ >"$0/cgroup.procs"; exec "$@"';
    const unshare = ['unshare', '--mount', '--pid', '--uts', '--ipc', '--cgroup', '--fork', '--kill-child'];
    const init = new Background(scope, [
      ...['sh', '-ec', enter, cgroup],
      ...netns.argv([...unshare, 'sh', INIT, root]),
    ]);
    const pid = await until(
      `systemd to start in ${role}`,
      () => systemdBelow(init.pid) ?? (init.running ? undefined : 0),
      (child) => child !== undefined,
    );
    if (!pid) throw new Error(`Cannot boot ${role}: ${init.stderr.trim()}`);
    const container = new Container(scope, netns, root, pid);
    await until(
      `${role} to have booted`,
      () => container.tryRun(['systemctl', 'is-system-running']).stdout.trim(),
      (state) => state === 'running' || state === 'degraded',
      { timeoutMs: 60_000, everyMs: 200 },
    );
    return container;
  }

  /** The command line that runs `argv` inside. */
  argv(argv: readonly string[]): string[] {
    return ['nsenter', `--target=${this.pid}`, '--all', '--', 'env', '-i', ...ENVIRONMENT, ...argv];
  }

  tryRun(argv: readonly string[], options: RunOptions = {}): Result {
    return tryRun(this.argv(argv), options);
  }

  /** Runs a command that must succeed, and returns its output. */
  run(...argv: string[]): string {
    const result = this.tryRun(argv);
    if (result.code !== 0) throw new CommandError(result);
    return result.stdout;
  }

  json<T>(...argv: string[]): T {
    return parseJson<T>(this.run(...argv), argv.join(' '));
  }

  /** The journal of a unit. */
  journal(unit: string): string {
    return this.run('journalctl', '--no-pager', '--output=cat', '--unit', unit);
  }

  /** The path from outside of a file inside, through the mounts there. */
  path(inside: string): string {
    return join(`/proc/${this.pid}/root`, inside);
  }
}

/** A writable root: an overlay over `lower`. */
function mountRoot(scope: Scope, lower: string): string {
  if (!existsSync(lower)) throw new Error(`${lower} is missing: run \`bash test/setup.sh\``);
  const dir = createTempDir(scope, 'root');
  const [upper, work, root] = [join(dir, 'upper'), join(dir, 'work'), join(dir, 'root')];
  for (const path of [upper, work, root]) mkdirSync(path, { mode: 0o755 });
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  run(['mount', '-t', 'overlay', 'overlay', '-o', options, root]);
  return root;
}

/** A cgroup directly below the root of the unified hierarchy, wherever that is mounted. */
function createCgroup(scope: Scope): string {
  const hierarchy = createTempDir(scope, 'cgroup');
  run(['mount', '-t', 'cgroup2', 'cgroup2', hierarchy]);
  const cgroup = join(hierarchy, uniqueName('container'));
  mkdirSync(cgroup);
  scope.defer(() => removeCgroup(cgroup));
  return cgroup;
}

/** Ends the processes that are left in a cgroup, and removes it with everything below. */
function removeCgroup(cgroup: string): void {
  writeFileSync(join(cgroup, 'cgroup.kill'), '1');
  const hasEnded = () => !readFileSync(join(cgroup, 'cgroup.events'), 'utf8').includes('populated 1');
  for (let tries = 0; tries < 1_000 && !hasEnded(); tries++) sleepSync(5);
  const below = readdirSync(cgroup, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  for (const entry of below.reverse()) rmdirSync(join(entry.parentPath, entry.name));
  rmdirSync(cgroup);
}

/** The child of a process, once that is systemd. */
function systemdBelow(pid: number): number | undefined {
  try {
    const child = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return readFileSync(`/proc/${child}/comm`, 'utf8') === 'systemd\n' ? Number(child) : undefined;
  } catch {
    return undefined;
  }
}

// The machine that Ansible runs on: the collection as an operator has it, nodes by ssh, and the results of plays.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Container } from '../lib/container.ts';
import { type Result, type RunOptions, run, tryRun } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
/** The collection's source. */
export const COLLECTION = join(PROJECT, 'ansible');
const CALLBACKS = join(PROJECT, 'test/ansible/callback');

/** The result of a task on a host. */
export interface TaskResult {
  readonly host: string;
  readonly task: string;
  readonly outcome: 'ok' | 'failed' | 'ignored' | 'skipped' | 'unreachable';
  readonly result: Readonly<Record<string, unknown>> & { readonly changed?: boolean; readonly msg?: unknown };
}

export interface PlayResult extends Result {
  /** Every result, in the order of arrival. */
  readonly tasks: readonly TaskResult[];
}

export interface PlayOptions {
  readonly check?: boolean;
  readonly diff?: boolean;
  /** Only these hosts; all of them by default. */
  readonly limit?: readonly string[];
  /** Variables of all hosts, which are the group `evpn`. */
  readonly vars?: Readonly<Record<string, unknown>>;
}

/** Ansible with the collection, a home of its own, and an inventory. */
export class Controller {
  readonly dir: string;
  /** The path of the collection: ansible_collections/snoopy/evpn below a directory of collections. */
  readonly collection: string;
  readonly #hosts = new Map<string, Readonly<Record<string, unknown>>>();
  #plays = 0;

  constructor(scope: Scope) {
    this.dir = createTempDir(scope, 'ansible');
    this.collection = join(this.dir, 'collections/ansible_collections/snoopy/evpn');
    cpSync(COLLECTION, this.collection, { recursive: true });
    for (const name of ['host', 'user']) {
      run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(this.dir, name)]);
    }
    writeFileSync(join(this.dir, 'known_hosts'), `* ${readFileSync(join(this.dir, 'host.pub'), 'utf8')}`);
    writeFileSync(
      join(this.dir, 'ansible.cfg'),
      [
        '[defaults]',
        // Each is a Python, a Node.js and several vtysh, which have ten seconds, on two processors.
        'forks = 4',
        'retry_files_enabled = false',
        `callback_plugins = ${CALLBACKS}`,
        'callbacks_enabled = record',
        '[ssh_connection]',
        'pipelining = true',
        '',
      ].join('\n'),
    );
  }

  /**
   * Adds a container with the name `name`. Ansible connects by its own ssh: an sshd that is started inside for each
   * connection answers, and nothing listens.
   */
  addNode(name: string, node: Container): void {
    const etc = join(node.root, 'etc/ssh');
    for (const file of ['host', 'user.pub']) cpSync(join(this.dir, file), join(etc, `test_${file}`));
    const config = ['HostKey /etc/ssh/test_host', 'AuthorizedKeysFile /etc/ssh/test_user.pub', 'UsePAM no'];
    writeFileSync(join(etc, 'test_config'), `${config.join('\n')}\nSubsystem sftp internal-sftp\n`);
    node.run('mkdir', '-p', '/run/sshd');
    const sshd = node.argv(['/usr/sbin/sshd', '-i', '-f', '/etc/ssh/test_config']).join(' ');
    const options = [
      `-o ProxyCommand="${sshd}"`,
      `-o UserKnownHostsFile=${join(this.dir, 'known_hosts')}`,
      `-i ${join(this.dir, 'user')}`,
    ];
    this.#hosts.set(name, {
      ansible_user: 'root',
      ansible_python_interpreter: '/usr/bin/python3',
      ansible_ssh_common_args: options.join(' '),
    });
  }

  /** Adds this machine itself, for plays that need no node. */
  addLocal(name: string, variables: Readonly<Record<string, unknown>> = {}): void {
    this.#hosts.set(name, {
      ansible_connection: 'local',
      ansible_python_interpreter: '/usr/bin/python3',
      ...variables,
    });
  }

  /** Makes a host one that no connection reaches. */
  addUnreachable(name: string): void {
    this.#hosts.set(name, { ansible_ssh_common_args: '-o ProxyCommand=false', ansible_connection: 'ssh' });
  }

  /** Runs a playbook: a file, or plays as data. */
  play(playbook: string | readonly object[], options: PlayOptions = {}): PlayResult {
    this.#plays += 1;
    const record = join(this.dir, `record-${this.#plays}`);
    let file = playbook;
    if (typeof file !== 'string') {
      // JSON is YAML.
      file = join(this.dir, `play-${this.#plays}.yml`);
      writeFileSync(file, JSON.stringify(playbook));
    }
    const inventory = join(this.dir, 'inventory.json');
    const hosts = Object.fromEntries(this.#hosts);
    writeFileSync(inventory, JSON.stringify({ evpn: { hosts, vars: options.vars ?? {} } }));
    const modes = [...(options.check ? ['--check'] : []), ...(options.diff ? ['--diff'] : [])];
    if (options.limit !== undefined) modes.push('--limit', options.limit.join(','));
    const result = this.tryRun(['ansible-playbook', '--inventory', inventory, ...modes, file], {
      env: { RECORD_FILE: record },
      timeoutMs: 600_000,
    });
    const lines = existsSync(record) ? readFileSync(record, 'utf8').split('\n').filter(Boolean) : [];
    rmSync(record, { force: true });
    return { ...result, tasks: lines.map((line) => JSON.parse(line) as TaskResult) };
  }

  /** Runs any of Ansible's commands, however it ends. */
  tryRun(
    [file = '', ...argv]: readonly string[],
    options: RunOptions & { readonly cwd?: string } = {},
  ): Result {
    const { cwd = this.dir, env, ...rest } = options;
    return tryRun(['env', `--chdir=${cwd}`, file, ...argv], {
      ...rest,
      env: {
        HOME: this.dir,
        // The distribution's Python comes before any other.
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        LC_ALL: 'C.UTF-8',
        ANSIBLE_COLLECTIONS_PATH: join(this.dir, 'collections'),
        ANSIBLE_CONFIG: join(this.dir, 'ansible.cfg'),
        ANSIBLE_NOCOLOR: '1',
        ...env,
      },
    });
  }

  /** A directory for files of the test. */
  makeDir(name: string): string {
    const dir = join(this.dir, name);
    mkdirSync(dir, { recursive: true });
    return dir;
  }
}

/** Whether anything changed on a host. */
export function hasChanged(play: PlayResult, host: string): boolean {
  return play.tasks.some(
    (task) => task.host === host && task.outcome === 'ok' && task.result.changed === true,
  );
}

/** The message of the failed task of a play, which must not have changed anything before. */
export function refusalOf(result: PlayResult): string {
  assert.equal(result.code, 2, result.stdout + result.stderr);
  const failed = result.tasks.filter((task) => task.outcome === 'failed');
  assert.equal(failed.length, 1, result.stdout);
  const changed = result.tasks.filter((task) => task.result.changed === true).map(({ task }) => task);
  assert.deepEqual(changed, [], 'it has changed something before it failed');
  return String(failed[0]?.result.msg);
}

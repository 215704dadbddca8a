// Commands out of the terminal's reach: Ctrl-C ends only this process, which needs them to clean up.
//
// Tests start thousands of them. Node.js forks itself for each, which copies the page tables of its whole memory: 9 ms,
// and 18 ms with 200 MiB. posix_spawn(3) shares the memory until the command runs: 3 ms.
import { spawnSync } from 'node:child_process';
import { closeSync, readSync, writeSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import koffi from 'koffi';
import { poll } from '../../src/ffi/libc.ts';

export interface ApartOptions {
  /** What the command reads from its standard input; nothing by default. */
  readonly input?: string;
  /** The whole environment; by default that of this process. */
  readonly env?: NodeJS.ProcessEnv;
  /** The command is killed after this time. */
  readonly timeoutMs?: number;
}

export interface ApartResult {
  /** Exit status; null for a command that a signal has ended. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** True when it was killed because its time was over. */
  readonly isTimedOut: boolean;
}

/** O_CLOEXEC of open(2) and MFD_CLOEXEC of memfd_create(2). */
const O_CLOEXEC = 0o2_000_000;
const MFD_CLOEXEC = 1;
/** Flags of posix_spawnattr_setflags(3). */
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
/** More than the size of posix_spawn_file_actions_t, posix_spawnattr_t and sigset_t. */
const OPAQUE_SIZE = 512;
const CHUNK_SIZE = 64 * 1024;
/** For how long the output of a killed command is read. */
const AFTER_KILL_MS = 1_000;

type Call = (...args: unknown[]) => number;
type Libc = Readonly<Record<keyof typeof PROTOTYPES, Call>>;

const PROTOTYPES = {
  fileActionsInit: 'int posix_spawn_file_actions_init(void *actions)',
  fileActionsDup2: 'int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)',
  fileActionsDestroy: 'int posix_spawn_file_actions_destroy(void *actions)',
  attributesInit: 'int posix_spawnattr_init(void *attributes)',
  setFlags: 'int posix_spawnattr_setflags(void *attributes, short flags)',
  setDefaults: 'int posix_spawnattr_setsigdefault(void *attributes, const void *signals)',
  setMask: 'int posix_spawnattr_setsigmask(void *attributes, const void *signals)',
  fillSignals: 'int sigfillset(void *signals)',
  spawn:
    'int posix_spawnp(int *pid, const char *file, const void *actions, const void *attributes, const char **argv, const char **envp)',
  pidfdOpen: 'int pidfd_open(int pid, unsigned int flags)',
  waitPid: 'int waitpid(int pid, int *status, int options)',
  pipe: 'int pipe2(int *ends, int flags)',
  memfd: 'int memfd_create(const char *name, unsigned int flags)',
} as const;

let loaded: Libc | undefined;

/** Loaded with the first command: tests without one run on systems without this library. */
function libc(): Libc {
  const library = loaded === undefined ? koffi.load('libc.so.6') : undefined;
  loaded ??= Object.fromEntries(
    Object.entries(PROTOTYPES).map(([name, prototype]) => [name, library?.func(prototype)]),
  ) as unknown as Libc;
  return loaded;
}

/** Runs a command to its end, in a session of its own. Throws when it cannot be started. */
export function spawnApart(argv: readonly string[], options: ApartOptions = {}): ApartResult {
  if (process.platform !== 'linux') return spawnAnywhere(argv, options);
  const stdin = checked(libc().memfd('stdin', MFD_CLOEXEC), 'create a file');
  const opened = [stdin];
  try {
    // At position 0, which leaves the position of the command at the beginning.
    writeAll(stdin, Buffer.from(options.input ?? ''));
    const [stdout, stdoutEnd] = pipe();
    const [stderr, stderrEnd] = pipe();
    opened.push(stdout, stderr);
    let pid: number;
    try {
      pid = start(argv, options.env ?? process.env, [stdin, stdoutEnd, stderrEnd]);
    } finally {
      // The pipes end with the command.
      closeSync(stdoutEnd);
      closeSync(stderrEnd);
    }
    const pidfd = checked(libc().pidfdOpen(pid, 0), `open process ${pid}`);
    opened.push(pidfd);
    const { texts, isTimedOut } = readToEnd(pid, pidfd, [stdout, stderr], options.timeoutMs);
    const [first = '', second = ''] = texts;
    const status = Buffer.alloc(4);
    checked(libc().waitPid(pid, status, 0), `wait for process ${pid}`);
    return { status: exitStatus(status.readInt32LE()), stdout: first, stderr: second, isTimedOut };
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function spawnAnywhere([file = '', ...argv]: readonly string[], options: ApartOptions): ApartResult {
  const { input = '', env, timeoutMs } = options;
  const child = spawnSync(file, argv, { input, env, timeout: timeoutMs, encoding: 'utf8' });
  const isTimedOut = child.error !== undefined && 'code' in child.error && child.error.code === 'ETIMEDOUT';
  if (child.error !== undefined && !isTimedOut) throw child.error;
  return { ...child, isTimedOut };
}

/** Starts a command with these as its standard input and outputs. Its signals are those of a login. */
function start(argv: readonly string[], env: NodeJS.ProcessEnv, stdio: readonly number[]): number {
  const calls = libc();
  const [actions, attributes, signals] = [0, 1, 2].map(() => Buffer.alloc(OPAQUE_SIZE));
  calls.fileActionsInit(actions);
  for (const [target, fd] of stdio.entries()) calls.fileActionsDup2(actions, fd, target);
  calls.attributesInit(attributes);
  calls.setFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  calls.setMask(attributes, signals);
  calls.fillSignals(signals);
  calls.setDefaults(attributes, signals);
  const variables = Object.entries(env).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  );
  const pid = Buffer.alloc(4);
  const code = calls.spawn(pid, argv[0], actions, attributes, [...argv, null], [...variables, null]);
  calls.fileActionsDestroy(actions);
  if (code !== 0) throw new Error(`Cannot start ${argv[0]}: ${getSystemErrorMap().get(-code)?.join(', ')}`);
  return pid.readInt32LE();
}

/** What a process writes until it and all writers have ended. It is killed after `timeoutMs`. */
function readToEnd(
  pid: number,
  pidfd: number,
  outputs: readonly number[],
  timeoutMs = Number.POSITIVE_INFINITY,
): { readonly texts: readonly string[]; readonly isTimedOut: boolean } {
  let deadline = performance.now() + timeoutMs;
  const chunks = new Map<number, Buffer[]>(outputs.map((fd) => [fd, []]));
  const open = new Set([...outputs, pidfd]);
  let isTimedOut = false;
  while (open.size > 0) {
    const left = deadline - performance.now();
    if (left <= 0) {
      // A process in another session may keep the pipes open for ever.
      if (isTimedOut) break;
      // With everything in its session.
      process.kill(-pid, 'SIGKILL');
      isTimedOut = true;
      deadline = performance.now() + AFTER_KILL_MS;
      continue;
    }
    const outcome = poll([...open], Math.ceil(left));
    for (const fd of outcome.kind === 'ready' ? outcome.ready : []) {
      const chunk = fd === pidfd ? undefined : read(fd);
      if (chunk === undefined) open.delete(fd);
      else chunks.get(fd)?.push(chunk);
    }
  }
  return { texts: outputs.map((fd) => Buffer.concat(chunks.get(fd) ?? []).toString()), isTimedOut };
}

function read(fd: number): Buffer | undefined {
  const chunk = Buffer.alloc(CHUNK_SIZE);
  const size = readSync(fd, chunk);
  return size === 0 ? undefined : chunk.subarray(0, size);
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at);
}

/** A pipe: its end to read from, its end to write to. */
function pipe(): [number, number] {
  const ends = Buffer.alloc(8);
  checked(libc().pipe(ends, O_CLOEXEC), 'create a pipe');
  return [ends.readInt32LE(0), ends.readInt32LE(4)];
}

/** The exit status in what waitpid(2) reports; null for a signal. */
function exitStatus(reported: number): number | null {
  return (reported & 0x7f) === 0 ? reported >> 8 : null;
}

function checked(result: number, what: string): number {
  if (result < 0) throw new Error(`Cannot ${what}: errno ${koffi.errno()}`);
  return result;
}

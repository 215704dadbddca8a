// What can go wrong, with a stable code, an exit code and a remedy in the message.

/** Exit codes of the command line: the contract of every command (sysexits.h where one fits). */
export const EXIT = {
  ok: 0,
  failed: 1,
  changed: 2,
  usage: 64,
  unsupported: 69,
  locked: 75,
  notPermitted: 77,
  config: 78,
} as const;

/** Stable names of errors, as they stand in `errors[].code` of a report. test/kernel/errors.txt shows each. */
export const ERROR_CODES = [
  'usage',
  'config_invalid',
  'config_unreadable',
  'config_untrusted',
  'not_permitted',
  'unsupported',
  'locked',
  'bridge_missing',
  'not_a_bridge',
  'bpffs_unusable',
  'pin_unusable',
  'load_failed',
  'attach_failed',
  'detach_failed',
  'map_failed',
  'netlink_failed',
  'neighbor_failed',
  'textfile_failed',
  'syscall_failed',
  'malformed',
  'internal',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** One line of `errors` in a report. */
export interface Problem {
  readonly code: ErrorCode;
  /** What it is about: an interface, a file, a pin. */
  readonly object: string;
  readonly message: string;
}

/**
 * An error that says operation, object, cause and remedy:
 * `Cannot attach to port "tap100i0": EPERM; run as root or with CAP_NET_ADMIN and CAP_BPF`.
 */
export class SnoopyError extends Error implements Problem {
  readonly code: ErrorCode;
  readonly object: string;
  /** errno name such as `EEXIST`, where a system call failed. */
  readonly errno: string | undefined;

  constructor(code: ErrorCode, object: string, message: string, errno?: string) {
    super(message);
    this.name = 'SnoopyError';
    this.code = code;
    this.object = object;
    this.errno = errno;
  }

  /** The plain record of this error for a report. */
  toProblem(): Problem {
    return { code: this.code, object: this.object, message: this.message };
  }
}

/** Any thrown value as a line of a report; what is not ours is a defect of snoopy and says so. */
export function problemOf(thrown: unknown, object: string): Problem {
  if (thrown instanceof SnoopyError) return withRemedy(thrown.toProblem());
  if (isSystemError(thrown)) {
    const { syscall, path, code } = thrown;
    return {
      code: 'syscall_failed',
      object: path ?? object,
      message: `Cannot ${syscall} "${path ?? object}": ${code}; ${remedyFor(code)}`,
    };
  }
  const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  return { code: 'internal', object, message: `Internal error, please report it: ${text}` };
}

/** Who decodes bytes of the kernel's knows what is wrong with them, and that nobody but us can mend it. */
function withRemedy(problem: Problem): Problem {
  if (problem.code !== 'malformed') return problem;
  return { ...problem, message: `${problem.message}; please report it with what \`uname -r\` prints` };
}

/** What to do about a failed system call where its caller knows nothing better. */
export function remedyFor(errno: string): string {
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return 'run as root, or see who may write there';
    case 'ENOMEM':
    case 'ENOBUFS':
      return 'run again when the kernel has more memory free';
    case 'EMFILE':
    case 'ENFILE':
      return 'raise the limit of open files (ulimit -n, LimitNOFILE= of a unit)';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'make room there';
    case 'EROFS':
      return 'it is mounted read-only: remount it, rw; in a unit of systemd, see ReadWritePaths=';
    case 'EIO':
      return 'see the log of the kernel (dmesg)';
    case 'EINVAL':
    case 'ENOSYS':
    case 'EOPNOTSUPP':
    case 'ENOTSUPP':
      return 'see whether `snoopy doctor` names something that this kernel lacks';
    default:
      return 'run again; if it stays so, see `snoopy doctor`';
  }
}

/** An error of node:fs: a system call, its errno name, and mostly a path. */
function isSystemError(
  thrown: unknown,
): thrown is Error & { readonly code: string; readonly syscall: string; readonly path?: string } {
  return thrown instanceof Error && 'syscall' in thrown && 'code' in thrown;
}

/** True for the error of node:fs that says: there is no such thing. */
export function isAbsence(thrown: unknown): boolean {
  return isSystemError(thrown) && (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR');
}

/** The exit code of an error that ended a command. */
export function exitCodeOf(code: ErrorCode): number {
  switch (code) {
    case 'usage':
      return EXIT.usage;
    case 'config_invalid':
    case 'config_unreadable':
    case 'config_untrusted':
      return EXIT.config;
    case 'not_permitted':
      return EXIT.notPermitted;
    case 'unsupported':
      return EXIT.unsupported;
    case 'locked':
      return EXIT.locked;
    default:
      return EXIT.failed;
  }
}

// What can go wrong, as data: a stable code, an exit code, and the parts of the message.

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

/** Stable names of errors: `errors[].code` of a report. test/kernel/errors.txt has an example of each. */
export const ERROR_CODES = [
  'usage',
  'config_invalid',
  'config_unreadable',
  'config_untrusted',
  'config_unwritable',
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

/** What went wrong. `formatProblem` turns it into text. */
export interface Problem {
  readonly code: ErrorCode;
  /** What it is about: an interface, a file, a pin. */
  readonly object: string;
  /** What could not be done, such as `attach to port "tap1"`; null when `cause` is the whole message. */
  readonly operation: string | null;
  /** Such as `EINVAL (kernel: reserved bit set)`. */
  readonly cause: string;
  /** What to do about it. */
  readonly fix: string;
  /** Name of the errno, such as `EEXIST`, when a system call failed. */
  readonly errno?: string | undefined;
  /** Lines for a bug report: a stack trace, the verifier's log. */
  readonly details?: string;
}

/** The message: `Cannot attach to port "tap1": EPERM; run as root or with CAP_NET_ADMIN`. */
export function formatProblem(problem: Problem): string {
  const { fix, details } = problem;
  return `${formatCause(problem)}; ${fix}${details === undefined ? '' : `:\n${details}`}`;
}

/** The message without the fix, for a report that shows the fix separately. */
export function formatCause({ operation, cause }: Pick<Problem, 'operation' | 'cause'>): string {
  return operation === null ? cause : `Cannot ${operation}: ${cause}`;
}

/** A problem as an exception, with the text of the problem as its message. */
export class SnoopyError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(formatProblem(problem));
    this.name = 'SnoopyError';
    this.problem = problem;
  }

  get code(): ErrorCode {
    return this.problem.code;
  }

  get errno(): string | undefined {
    return this.problem.errno;
  }
}

/** The error for bytes that cannot be decoded. Only a developer of snoopy can find out why. */
export function malformed(object: string, operation: string, cause: string): SnoopyError {
  const fix = 'please report it with the output of `uname -r`';
  return new SnoopyError({ code: 'malformed', object, operation, cause, fix });
}

/** Any thrown value as a problem. One that is neither ours nor a failed system call is a defect of snoopy. */
export function problemOf(thrown: unknown, object: string): Problem {
  if (thrown instanceof SnoopyError) return thrown.problem;
  if (isSystemError(thrown)) {
    const { syscall, path = object, code } = thrown;
    const operation = `${syscall} "${path}"`;
    return { code: 'syscall_failed', object: path, operation, cause: code, fix: fixFor(code), errno: code };
  }
  const isError = thrown instanceof Error;
  return {
    code: 'internal',
    object,
    operation: null,
    cause: `Internal error: ${String(thrown)}`,
    fix: 'please report it',
    ...(isError && thrown.stack !== undefined ? { details: thrown.stack } : {}),
  };
}

/** The fix for a failed system call, when its caller has no better one. */
export function fixFor(errno: string): string {
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return 'run as root, or check the permissions there';
    case 'ENOMEM':
    case 'ENOBUFS':
      return 'run again when the kernel has more free memory';
    case 'EMFILE':
    case 'ENFILE':
      return 'raise the limit of open files (ulimit -n, or LimitNOFILE= of the unit)';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'free space there';
    case 'EROFS':
      return 'remount the file system read-write (in a systemd unit, see ReadWritePaths=)';
    case 'EIO':
      return 'see the kernel log (dmesg)';
    case 'EINVAL':
    case 'ENOSYS':
    case 'EOPNOTSUPP':
    case 'ENOTSUPP':
      return 'run `snoopy doctor`, which names what this kernel lacks';
    default:
      return 'run again; if it fails again, run `snoopy doctor`';
  }
}

/** An error of node:fs: a system call, the name of its errno, and usually a path. */
function isSystemError(
  thrown: unknown,
): thrown is Error & { readonly code: string; readonly syscall: string; readonly path?: string } {
  return thrown instanceof Error && 'syscall' in thrown && 'code' in thrown;
}

/** Name of the errno of a failed system call, ours or one of node:fs, such as `ENOENT`; undefined for another error. */
export function errnoOf(thrown: unknown): string | undefined {
  if (thrown instanceof SnoopyError) return thrown.errno;
  return isSystemError(thrown) ? thrown.code : undefined;
}

/** Why something failed, in short: the name of its errno, or the message of the error. */
export function causeOf(thrown: unknown): string {
  return errnoOf(thrown) ?? (thrown instanceof Error ? thrown.message : String(thrown));
}

/** True for the error of node:fs for a path that does not exist. */
export function isAbsence(thrown: unknown): boolean {
  const errno = errnoOf(thrown);
  return errno === 'ENOENT' || errno === 'ENOTDIR';
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

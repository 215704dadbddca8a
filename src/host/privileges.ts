// What a run must be allowed to do, checked before it changes anything: a run that may do half leaves half behind.

import { readFileSync, statSync } from 'node:fs';
import { causeOf, errnoOf, SnoopyError } from '../base/errors.ts';
import type { Runtime } from '../core/desired.ts';
import { directoryExists, isBpffs, pinDirectory } from './pin-directory.ts';

/** Bits of linux/capability.h */
const CAPABILITIES = {
  CAP_DAC_OVERRIDE: 1n,
  CAP_NET_ADMIN: 12n,
  CAP_NET_RAW: 13n,
  CAP_SYS_ADMIN: 21n,
  CAP_PERFMON: 38n,
  CAP_BPF: 39n,
} as const;

/**
 * The purpose of a session. `write`: mounts bpffs, creates the pin directory and locks it. `remove`: locks the
 * directory too; a missing one is created only for the lock. `plan`: locks the directory if it exists. `read`: takes no
 * lock and waits for none.
 */
export type Mode = 'write' | 'remove' | 'plan' | 'read';

export type Capability = keyof typeof CAPABILITIES;

/** Needed to load the program, besides CAP_NET_ADMIN: the verifier allows packet access only with them. */
export const LOADING: readonly Capability[] = ['CAP_BPF', 'CAP_PERFMON'];

/** The capabilities that a session needs on this node now. Reading needs none, but access to the pins. */
export function takenBy(mode: Mode, runtime: Runtime): Capability[] {
  const { effectiveUser } = readCredentials();
  const owner = ownerOfPins(runtime);
  const taken: Capability[] = mode === 'write' || mode === 'remove' ? ['CAP_NET_ADMIN'] : [];
  if (mode === 'write' && owner !== undefined) {
    if (owner === 'nothing pinned') taken.push(...LOADING);
    // A missing mount point is reported later, as an error of its own.
    if (directoryExists(runtime.bpffs) && !isBpffs(runtime.bpffs)) taken.push('CAP_SYS_ADMIN');
  }
  const mayLook =
    owner === effectiveUser || (owner === 'nothing pinned' && isOwn(runtime.bpffs, effectiveUser));
  if (!mayLook) taken.push('CAP_DAC_OVERRIDE');
  return taken;
}

/** The user of the pin directory; undefined when this process may not read it. */
function ownerOfPins(runtime: Runtime): number | 'nothing pinned' | undefined {
  try {
    return statSync(pinDirectory(runtime), { throwIfNoEntry: false })?.uid ?? 'nothing pinned';
  } catch {
    return undefined;
  }
}

/** Also true for a missing path. */
function isOwn(path: string, user: number): boolean {
  try {
    return (statSync(path, { throwIfNoEntry: false })?.uid ?? user) === user;
  } catch {
    return false;
  }
}

/**
 * Throws SnoopyError `not_permitted` with the missing capabilities, or `unsupported` when this is not Linux. `bpffs` is
 * the mount point, for the fix when the process may not mount it.
 */
export function requireCapabilities(wanted: readonly Capability[], { bpffs }: Pick<Runtime, 'bpffs'>): void {
  const missing = missingCapabilities(wanted);
  if (missing.length === 0) return;
  const names = new Intl.ListFormat('en-GB').format(missing);
  const fix =
    readCredentials().effectiveUser === 0
      ? `add ${names} to the unit or the container, which limits root here`
      : `run as root or with ${names}`;
  const mount = missing.includes('CAP_SYS_ADMIN')
    ? `, or mount bpffs by hand: mount -t bpf bpf ${bpffs}`
    : '';
  throw new SnoopyError({
    code: 'not_permitted',
    object: 'snoopy',
    operation: 'start',
    cause: `the process lacks ${names}`,
    fix: `${fix}${mount}`,
  });
}

/** The given capabilities that this process lacks, each once. */
export function missingCapabilities(wanted: readonly Capability[]): Capability[] {
  const { capabilities } = readCredentials();
  const has = (name: Capability): boolean => (capabilities & (1n << CAPABILITIES[name])) !== 0n;
  // Before Linux 5.8 eBPF needed CAP_SYS_ADMIN, which still includes the newer capabilities.
  const includes = (name: Capability): boolean => LOADING.includes(name) && has('CAP_SYS_ADMIN');
  return [...new Set(wanted)].filter((name) => !has(name) && !includes(name));
}

interface Credentials {
  readonly effectiveUser: number;
  readonly capabilities: bigint;
}

/** Uid and CapEff of proc_pid_status(5). */
function readCredentials(): Credentials {
  const status = readStatus();
  const user = /^Uid:\s*\d+\s+(\d+)/m.exec(status)?.[1];
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return { effectiveUser: Number(user ?? -1), capabilities: BigInt(`0x${hex ?? '0'}`) };
}

function readStatus(): string {
  const path = '/proc/self/status';
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new SnoopyError({
      code: 'unsupported',
      object: path,
      operation: `read "${path}"`,
      cause: causeOf(thrown),
      fix: 'run on Linux with /proc mounted (validate and schema run anywhere)',
      errno: errnoOf(thrown),
    });
  }
}

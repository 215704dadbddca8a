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
 * What a session is for. `write`: mounts bpffs, makes the pin directory and locks it. `remove`: locks that as well,
 * and makes it for no longer than that where there is none. `plan`: locks it if it is there. `read`: neither waits nor
 * locks.
 */
export type Mode = 'write' | 'remove' | 'plan' | 'read';

export type Capability = keyof typeof CAPABILITIES;

/** To load the program, beside CAP_NET_ADMIN: without them the verifier allows no packet access by pointers. */
export const LOADING: readonly Capability[] = ['CAP_BPF', 'CAP_PERFMON'];

/** What a session takes on this host as it is now. Reading takes none, but access to what is pinned. */
export function takenBy(mode: Mode, runtime: Runtime): Capability[] {
  const { effectiveUser } = readCredentials();
  const owner = ownerOfPins(runtime);
  const taken: Capability[] = mode === 'write' || mode === 'remove' ? ['CAP_NET_ADMIN'] : [];
  if (mode === 'write' && owner !== undefined) {
    if (owner === 'nothing pinned') taken.push(...LOADING);
    // A mount point that is not there is another matter.
    if (directoryExists(runtime.bpffs) && !isBpffs(runtime.bpffs)) taken.push('CAP_SYS_ADMIN');
  }
  const mayLook =
    owner === effectiveUser || (owner === 'nothing pinned' && isOwn(runtime.bpffs, effectiveUser));
  if (!mayLook) taken.push('CAP_DAC_OVERRIDE');
  return taken;
}

/** The user of the pin directory; undefined where only others may look. */
function ownerOfPins(runtime: Runtime): number | 'nothing pinned' | undefined {
  try {
    return statSync(pinDirectory(runtime), { throwIfNoEntry: false })?.uid ?? 'nothing pinned';
  } catch {
    return undefined;
  }
}

/** True as well for what is not there. */
function isOwn(path: string, user: number): boolean {
  try {
    return (statSync(path, { throwIfNoEntry: false })?.uid ?? user) === user;
  } catch {
    return false;
  }
}

/**
 * Throws SnoopyError `not_permitted` that names what is missing, or `unsupported` where this is not Linux. `bpffs` is
 * the mount point, for the fix where the right to mount it is missing.
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

/** Those of the given that this process does not have, each once. */
export function missingCapabilities(wanted: readonly Capability[]): Capability[] {
  const { capabilities } = readCredentials();
  const has = (name: Capability): boolean => (capabilities & (1n << CAPABILITIES[name])) !== 0n;
  // Before Linux 5.8 there were no others for eBPF, and CAP_SYS_ADMIN still includes them.
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

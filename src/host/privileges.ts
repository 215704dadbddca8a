// What a run must be allowed to do, asked before anything is touched: a run that may do half leaves half behind.

import { readFileSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';

/** Bits of linux/capability.h */
const CAPABILITIES = { CAP_NET_ADMIN: 12n, CAP_NET_RAW: 13n, CAP_SYS_ADMIN: 21n, CAP_BPF: 39n } as const;

export type Capability = keyof typeof CAPABILITIES;

/** Throws SnoopyError `not_permitted` that names what is missing, or `unsupported` where this is not Linux. */
export function requirePrivileges(): void {
  const missing = missingCapabilities(['CAP_NET_ADMIN', 'CAP_BPF']);
  if (missing.length === 0) return;
  const names = missing.join(' and ');
  throw new SnoopyError(
    'not_permitted',
    'snoopy',
    `Not permitted: ${names} missing; run as root or with ${names}`,
  );
}

function readStatus(): string {
  const path = '/proc/self/status';
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    const errno = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
    throw new SnoopyError(
      'unsupported',
      path,
      `Cannot read "${path}": ${errno}; this needs Linux with /proc mounted, elsewhere validate and schema work`,
      errno,
    );
  }
}

/** Those of the given that this process does not have. */
export function missingCapabilities(wanted: readonly Capability[]): Capability[] {
  const effective = effectiveCapabilities(readStatus());
  const has = (name: Capability): boolean => (effective & (1n << CAPABILITIES[name])) !== 0n;
  // Before Linux 5.8 there was no CAP_BPF, and CAP_SYS_ADMIN still includes it.
  return wanted.filter((name) => !has(name) && !(name === 'CAP_BPF' && has('CAP_SYS_ADMIN')));
}

/** CapEff of proc_pid_status(5). */
function effectiveCapabilities(status: string): bigint {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return hex === undefined ? 0n : BigInt(`0x${hex}`);
}

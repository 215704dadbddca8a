// What a run must be allowed to do, asked before anything is touched: a run that may do half leaves half behind.

import { readFileSync } from 'node:fs';
import { SnoopyError } from '../base/errors.ts';

// linux/capability.h
const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;
const CAP_BPF = 39n;

/** Throws SnoopyError `not_permitted` that names what is missing, or `unsupported` where this is not Linux. */
export function requirePrivileges(): void {
  const effective = effectiveCapabilities(readStatus());
  const has = (capability: bigint): boolean => (effective & (1n << capability)) !== 0n;
  const missing: string[] = [];
  if (!has(CAP_NET_ADMIN)) missing.push('CAP_NET_ADMIN');
  // Before Linux 5.8 there was no CAP_BPF, and CAP_SYS_ADMIN still includes it.
  if (!has(CAP_BPF) && !has(CAP_SYS_ADMIN)) missing.push('CAP_BPF');
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

/** CapEff of proc_pid_status(5). */
function effectiveCapabilities(status: string): bigint {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return hex === undefined ? 0n : BigInt(`0x${hex}`);
}

// Everything that doctor checks, from the host up to the route. Pure.

import { checkBridges } from './bridges.ts';
import type { Check, Findings } from './check.ts';
import { checkEntries } from './entries.ts';
import { checkFrr } from './frr.ts';
import { checkHost } from './host.ts';
import { checkHosts } from './hosts.ts';
import { beforeFirstRun } from './unconfigured.ts';

/** What `doctor --format json` prints. */
export interface DoctorReport {
  readonly version: 1;
  /** False when a check failed; a warning is not a failure. */
  readonly ok: boolean;
  readonly checks: readonly Check[];
  /** Without a configuration: one to begin with. */
  readonly proposal?: string;
}

export function diagnose(findings: Findings): Check[] {
  const checks = [
    ...checkHost(findings),
    ...checkEntries(findings),
    ...checkBridges(findings),
    ...checkFrr(findings),
    ...checkHosts(findings),
  ];
  const { unconfigured } = findings;
  return unconfigured === null ? checks : beforeFirstRun(checks, unconfigured);
}

export function reportOf(checks: readonly Check[]): DoctorReport {
  return { version: 1, ok: checks.every(({ status }) => status !== 'failure'), checks };
}

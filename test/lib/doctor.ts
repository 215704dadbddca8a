// The output of `doctor --format json`, for tests that break something and check that it is found.

/** A check: the contract of schema/report.schema.json. */
export interface Check {
  readonly id: string;
  readonly status: 'ok' | 'warning' | 'failure';
  readonly subject: string | null;
  readonly found: string;
  readonly remedy: string | null;
  readonly items: readonly string[];
}

/** `status id subject` of each check that is not ok. */
export function complaintsOf(checks: readonly Check[]): string[] {
  return checks
    .filter(({ status }) => status !== 'ok')
    .map(({ status, id, subject }) => [status, id, subject].filter((part) => part !== null).join(' '));
}

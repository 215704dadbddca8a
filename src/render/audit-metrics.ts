// The report of `audit` -> the text format of Prometheus.

import type { AuditReport } from '../core/audit/audit.ts';
import type { Finding } from '../core/audit/finding.ts';
import { FINDING_IDS, STATUS } from '../core/audit/wording.ts';
import { gauge } from './prometheus.ts';

/** Every check has a sample, so that an alert resolves. `writtenAt` is in seconds since the epoch. */
export function renderAuditMetrics(report: AuditReport, writtenAt: number): string {
  const { ok, nodes, addresses, findings, moving } = report;
  const families = [
    gauge('snoopy_audit_timestamp_seconds', 'When the fabric was audited.', writtenAt),
    gauge('snoopy_audit_ok', 'Whether the audit found no failure.', Number(ok)),
    gauge('snoopy_audit_nodes', 'Nodes with a report.', nodes),
    gauge('snoopy_audit_addresses', 'Addresses that nodes advertise.', addresses),
    gauge(
      'snoopy_audit_findings',
      'Findings by check.',
      FINDING_IDS.map((check) => [{ check, status: STATUS[check] }, countOf(findings, check)]),
    ),
    gauge(
      'snoopy_audit_moving',
      'Differences that may be changes under way, by check.',
      FINDING_IDS.map((check) => [{ check }, countOf(moving, check)]),
    ),
  ];
  return families.join('');
}

function countOf(findings: readonly Finding[], check: string): number {
  return findings.filter(({ id }) => id === check).length;
}

// Hosts: those that are not learned, not installed, or installed and not advertised, each with the reason.

import type { IpAddress } from '../../base/address.ts';
import { groupBy } from '../../base/group.ts';
import { some } from '../../base/text.ts';
import { type Blocker, findBlockers } from '../blockers.ts';
import type { Frr } from '../frr.ts';
import { type Check, type Findings, failure, ok, warning } from './check.ts';

export function checkHosts(findings: Findings): Check[] {
  return [
    checkLimits(findings),
    checkFrozen(findings),
    ...checkInstalled(findings),
    ...(findings.frr.kind === 'answered' ? checkAdvertised(findings, findings.frr.frr) : []),
  ];
}

function checkLimits({ plan }: Findings): Check {
  if (plan.fullPorts.length === 0) return ok('limits', null, 'no port is at its limit');
  const items = plan.fullPorts.map(({ port, limit }) => `${port} (${limit})`);
  return warning('limits', {
    subject: null,
    found: `at their limit: ${some(items)}`,
    remedy: 'snoopy status shows who is there; raise limits.bindings_per_port if they belong there',
    items,
  });
}

function checkFrozen({ plan }: Findings): Check {
  const items = plan.verdicts.filter(({ state }) => state === 'frozen').map(({ ip }) => ip);
  if (items.length === 0) return ok('frozen', null, 'no address is');
  return warning('frozen', {
    subject: null,
    found: some(items),
    remedy: `find the two hosts, then: snoopy reconcile --unfreeze ${items[0]}`,
    items,
  });
}

/** Hosts of local ports that have no neighbor, by reason; those of other nodes and frozen ones have none rightly. */
function checkInstalled({ plan, counters }: Findings): Check[] {
  const refused = Object.entries(counters.rejected).filter(([, number]) => number > 0);
  if (plan.verdicts.length === 0 && refused.length > 0) {
    const items = refused.map(([reason, number]) => `${number} ${reason}`);
    return [
      warning('hosts', {
        subject: null,
        found: `none is learned, and messages were not believed: ${items.join(', ')}`,
        remedy: 'snoopy explain IP tells which check refused the address of a host, and what mends it',
        items,
      }),
    ];
  }
  const waiting = plan.verdicts.filter(
    ({ state, due }) => !due && (state === 'waiting' || state === 'homeless'),
  );
  const installed = plan.verdicts.filter(({ state, due }) => state === 'installed' && !due).length;
  const groups = groupBy(waiting, ({ bridge, because }) => `${bridge}\n${because}`);
  const checks = [...groups.values()].map((group) => {
    const [first] = group;
    const items = group.map(({ ip }) => ip);
    return warning('hosts', {
      subject: first?.bridge ?? null,
      found: `no neighbor for ${some(items)}: ${first?.because ?? ''}`,
      remedy:
        first?.state === 'homeless'
          ? 'make a VLAN device above the bridge for that VLAN'
          : 'see snoopy status; the bridge must forward the MAC on a local port: bridge fdb show',
      items,
    });
  });
  return [ok('hosts', null, `${installed} with a neighbor`), ...checks];
}

function checkAdvertised({ plan }: Findings, frr: Frr): Check[] {
  const blockerOf = findBlockers(frr);
  const blocked: { readonly ip: IpAddress; readonly blocker: Blocker }[] = [];
  let advertised = 0;
  for (const verdict of plan.verdicts) {
    if (verdict.state !== 'installed' || verdict.due) continue;
    const blocker = blockerOf(verdict);
    if (blocker === null) advertised += 1;
    else blocked.push({ ip: verdict.ip, blocker });
  }
  const groups = groupBy(blocked, ({ blocker }) => `${blocker.subject}\n${blocker.reason}`);
  const checks = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { subject, status, reason, fix: remedy } = first.blocker;
    const items = group.map(({ ip }) => ip);
    const complaint = { subject, found: `${some(items)}: ${reason}`, remedy, items };
    return [status === 'warning' ? warning('advertised', complaint) : failure('advertised', complaint)];
  });
  return [ok('advertised', null, `${advertised} of ${advertised + blocked.length} neighbors`), ...checks];
}

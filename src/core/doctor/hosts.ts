// Hosts: those that are frozen, not installed, or installed and not advertised, each with the reason.

import { type IpAddress, isVirtualRouter } from '../../base/address.ts';
import { groupBy } from '../../base/group.ts';
import { type Blocker, findBlockers } from '../blockers.ts';
import { addStatic, isNamed, staticEntry } from '../explain/static-wording.ts';
import type { Frr } from '../frr.ts';
import { warningsOfLimits } from '../warnings.ts';
import { type Check, type Findings, failure, ok, warning } from './check.ts';
import { checkUnlearned } from './unlearned.ts';
import { ADVERTISED, FROZEN, HOSTS, LIMITS, VIRTUAL_ROUTER } from './wording-routes.ts';

export function checkHosts(findings: Findings): Check[] {
  return [
    checkLimits(findings),
    checkFrozen(findings),
    ...checkVirtualRouters(findings),
    ...checkInstalled(findings),
    ...checkUnlearned(findings),
    ...(findings.frr.kind === 'answered' ? checkAdvertised(findings, findings.frr.frr) : []),
  ];
}

function checkLimits({ plan, observed, hosts, topology }: Findings): Check {
  if (plan.fullPorts.length === 0) {
    const [limited] = warningsOfLimits(observed, hosts, topology);
    if (limited?.kind !== 'limited') return ok('limits', null, LIMITS.ok());
    const items = limited.ports.map(({ name, count }) => `${name} (${count})`);
    return warning('limits', { subject: null, ...LIMITS.rejected({ names: items }), items });
  }
  const items = plan.fullPorts.map(({ port, count, limit }) => `${port} (${count} of ${limit})`);
  return warning('limits', { subject: null, ...LIMITS.full({ names: items }), items });
}

function checkFrozen({ plan }: Findings): Check {
  const items = plan.decisions.filter(({ state }) => state === 'frozen').map(({ ip }) => ip);
  if (items.length === 0) return ok('frozen', null, FROZEN.ok());
  return warning('frozen', { subject: null, ...FROZEN.frozen({ ips: items }), items });
}

/** Virtual routers whose answers come from another MAC than the one that they claim, as those of CARP do. */
function checkVirtualRouters({ configuration, rejections, topology }: Findings): Check[] {
  return topology.bridges.flatMap((bridge) =>
    rejections.flatMap(({ bridge: ifIndex, ip, vlan, reason, claimed }) => {
      if (ifIndex !== bridge.ifIndex || reason !== 'spoofed') return [];
      if (claimed === null || !isVirtualRouter(claimed)) return [];
      if (bridge.desired.statics.some((entry) => entry.ip === ip)) return [];
      const { name } = bridge.desired;
      const place = { bridge: name, isNamed: isNamed(configuration, name) };
      const fix = addStatic(place, staticEntry({ ip, vlan, mac: claimed }));
      return [warning('virtual-router', { subject: name, ...VIRTUAL_ROUTER({ ip, fix }) })];
    }),
  );
}

/** Hosts on local ports without a neighbor, by reason. Hosts of other nodes and frozen ones must not have one. */
function checkInstalled({ plan, counters }: Findings): Check[] {
  const rejected = Object.entries(counters.rejected).filter(([, number]) => number > 0);
  if (plan.decisions.length === 0 && rejected.length > 0) {
    const items = rejected.map(([reason, number]) => `${number} ${reason}`);
    return [warning('hosts', { subject: null, ...HOSTS.allRejected({ counts: items }), items })];
  }
  const waiting = plan.decisions.filter(
    ({ state, due }) => !due && (state === 'waiting' || state === 'homeless'),
  );
  const count = plan.decisions.filter(({ state, due }) => state === 'installed' && !due).length;
  const groups = groupBy(waiting, ({ bridge, because }) => `${bridge}\n${because}`);
  const checks = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { bridge, because, state } = first;
    const items = group.map(({ ip }) => ip);
    const words = state === 'homeless' ? HOSTS.noDevice : HOSTS.waiting;
    return [warning('hosts', { subject: bridge, ...words({ ips: items, because }), items })];
  });
  return [ok('hosts', null, HOSTS.ok({ count })), ...checks];
}

function checkAdvertised({ plan }: Findings, frr: Frr): Check[] {
  const blockerOf = findBlockers(frr);
  const blocked: { readonly ip: IpAddress; readonly blocker: Blocker }[] = [];
  let count = 0;
  let total = 0;
  for (const decision of plan.decisions) {
    if (decision.state !== 'installed' || decision.due) continue;
    const blocker = blockerOf(decision);
    total += 1;
    if (blocker === null || blocker.isAdvertised) count += 1;
    if (blocker !== null && blocker.status !== 'note') blocked.push({ ip: decision.ip, blocker });
  }
  const groups = groupBy(blocked, ({ blocker }) => `${blocker.subject}\n${blocker.reason}`);
  const checks = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { subject, status, reason, fix } = first.blocker;
    const items = group.map(({ ip }) => ip);
    const complaint = { subject, ...ADVERTISED.blocked({ ips: items, reason, fix }), items };
    return [status === 'warning' ? warning('advertised', complaint) : failure('advertised', complaint)];
  });
  return [ok('advertised', null, ADVERTISED.ok({ count, total })), ...checks];
}

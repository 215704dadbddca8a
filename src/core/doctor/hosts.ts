// Hosts: those that are not learned, not installed, or installed and not advertised, each with the reason.

import type { IpAddress } from '../../base/address.ts';
import { groupBy } from '../../base/group.ts';
import type { Decision } from '../neighbors/decide.ts';
import { type Check, type Findings, type Frr, failure, ok, some, warning } from './check.ts';

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
  const items = plan.decisions.filter(({ state }) => state === 'frozen').map(({ ip }) => ip);
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
  if (plan.decisions.length === 0 && refused.length > 0) {
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
  const waiting = plan.decisions.filter(
    ({ state, due }) => !due && (state === 'waiting' || state === 'homeless'),
  );
  const installed = plan.decisions.filter(({ state, due }) => state === 'installed' && !due).length;
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

/** Why zebra does not advertise a neighbor, and what mends it. */
export interface Hindrance {
  /** `VNI 100`, or the device where there is none. */
  readonly subject: string;
  readonly status: 'warning' | 'failure';
  readonly reason: string;
  readonly remedy: string;
}

function checkAdvertised({ plan }: Findings, frr: Frr): Check[] {
  const hindranceOf = findHindrances(frr);
  const hindered: { readonly ip: IpAddress; readonly hindrance: Hindrance }[] = [];
  let advertised = 0;
  for (const verdict of plan.decisions) {
    if (verdict.state !== 'installed' || verdict.due) continue;
    const hindrance = hindranceOf(verdict);
    if (hindrance === null) advertised += 1;
    else hindered.push({ ip: verdict.ip, hindrance });
  }
  const groups = groupBy(hindered, ({ hindrance }) => `${hindrance.subject}\n${hindrance.reason}`);
  const checks = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { subject, status, reason, remedy } = first.hindrance;
    const items = group.map(({ ip }) => ip);
    const complaint = { subject, found: `${some(items)}: ${reason}`, remedy, items };
    return [status === 'warning' ? warning('advertised', complaint) : failure('advertised', complaint)];
  });
  return [ok('advertised', null, `${advertised} of ${advertised + hindered.length} neighbors`), ...checks];
}

/** What is asked about: an address, the MAC it has, and the device that its neighbor is on. */
type Claim = Pick<Decision, 'ip' | 'mac' | 'device' | 'bridge'>;

/** By what zebra says, for each address why it is not advertised from here; null: it is. */
export function findHindrances(frr: Frr): (claim: Claim) => Hindrance | null {
  const vniOf = new Map(frr.vnis.map(({ svi, vni }) => [svi, vni]));
  return (claim) => {
    const vni = claim.device === null ? undefined : vniOf.get(claim.device);
    if (vni === undefined) return { subject: claim.device ?? claim.bridge, ...NO_VNI };
    return findHindrance(claim, vni, frr);
  };
}

/** Right for a VLAN that is local on purpose. */
export const NO_VNI = {
  status: 'warning',
  reason: 'zebra has no VNI for this device',
  remedy:
    'vtysh -c "show evpn vni detail"; it takes a VXLAN port that is up, and bgpd with advertise-all-vni; a VLAN without one is local',
} as const;

/** Null: nothing keeps zebra from it. */
export function findHindrance(
  { ip, mac }: Pick<Claim, 'ip' | 'mac'>,
  vni: number,
  frr: Pick<Frr, 'neighbors'>,
): Hindrance | null {
  const subject = `VNI ${vni}`;
  const entry = frr.neighbors.get(vni)?.get(ip);
  const show = `vtysh -c "show evpn arp-cache vni ${vni} ip ${ip}"`;
  if (entry === undefined) {
    const reason = 'zebra does not have the neighbor';
    return { subject, status: 'failure', reason, remedy: `${show}; if it stays so: systemctl restart frr` };
  }
  if (!entry.isLocal) {
    const reason = 'zebra has a route of another node instead';
    return {
      subject,
      status: 'failure',
      reason,
      remedy: `find out where ${mac} is: bridge fdb show | grep ${mac}`,
    };
  }
  if (entry.mac !== mac) {
    const reason = 'zebra has it with another MAC';
    return { subject, status: 'failure', reason, remedy: 'snoopy reconcile' };
  }
  if (entry.isDuplicate) {
    const reason = 'FRR holds it for a duplicate';
    return {
      subject,
      status: 'failure',
      reason,
      remedy: `vtysh -c "clear evpn dup-addr vni ${vni} ip ${ip}"`,
    };
  }
  if (entry.isActive) return null;
  const reason =
    'local inactive in zebra: the bridge has no local entry for its MAC, the host is silent or gone';
  return {
    subject,
    status: 'warning',
    reason,
    remedy: `bridge fdb show | grep ${mac}; let the host speak, a ping is enough`,
  };
}

// Why zebra does not advertise an installed neighbor: each reason, and the fix. Pure.

import type { IpAddress, Mac } from '../base/address.ts';
import type { Frr, FrrNeighbor } from './frr.ts';

/** A reason why zebra does not advertise a neighbor. */
export interface Blocker {
  /** `VNI 100`, or the device when it has no VNI. */
  readonly subject: string;
  readonly status: 'warning' | 'failure';
  readonly reason: string;
  readonly fix: string;
}

/** A neighbor of ours. */
export interface InstalledHost {
  readonly ip: IpAddress;
  readonly mac: Mac;
  readonly device: string | null;
  readonly bridge: string;
}

/** The blocker of a neighbor; null: zebra advertises it. */
export type BlockerOf = (host: InstalledHost) => Blocker | null;

/** Looks hosts up in the devices and neighbors that zebra has. */
export function findBlockers(frr: Frr): BlockerOf {
  const vniOf = new Map(frr.vnis.map(({ svi, vni }) => [svi, vni]));
  return (host) => {
    const vni = host.device === null ? undefined : vniOf.get(host.device);
    if (vni === undefined) return { subject: host.device ?? host.bridge, ...NO_VNI };
    return findBlocker(host, vni, frr);
  };
}

/** The blocker of a neighbor whose VNI is known; null: zebra advertises it. */
export function findBlocker(
  { ip, mac }: Pick<InstalledHost, 'ip' | 'mac'>,
  vni: number,
  frr: Pick<Frr, 'neighbors'>,
): Blocker | null {
  const kind = kindOf(mac, frr.neighbors.get(vni)?.get(ip));
  return kind === null ? null : { subject: `VNI ${vni}`, ...BLOCKERS[kind]({ ip, mac, vni }) };
}

function kindOf(mac: Mac, entry: FrrNeighbor | undefined): keyof typeof BLOCKERS | null {
  if (entry === undefined) return 'missing';
  if (!entry.isLocal) return 'remote';
  if (entry.mac !== mac) return 'otherMac';
  if (entry.isDuplicate) return 'duplicate';
  return entry.isActive ? null : 'inactive';
}

/** A warning, because a VLAN may be local on purpose. */
export const NO_VNI: Omit<Blocker, 'subject'> = {
  status: 'warning',
  reason: 'zebra has no VNI for this device',
  fix: 'vtysh -c "show evpn vni detail"; needed: a VXLAN port that is up, and advertise-all-vni; a VLAN without VNI stays local',
};

interface Place {
  readonly ip: IpAddress;
  readonly mac: Mac;
  readonly vni: number;
}

const BLOCKERS = {
  missing: ({ ip, vni }) => ({
    status: 'failure',
    reason: 'zebra does not have the neighbor',
    fix: `snoopy reconcile, which writes it anew; then: vtysh -c "show evpn arp-cache vni ${vni} ip ${ip}"`,
  }),
  remote: ({ mac }) => ({
    status: 'failure',
    reason: 'zebra has a route of another node instead',
    fix: `find out where ${mac} is: bridge fdb show | grep ${mac}`,
  }),
  otherMac: () => ({
    status: 'failure',
    reason: 'zebra has it with another MAC',
    fix: 'snoopy reconcile',
  }),
  duplicate: ({ ip, vni }) => ({
    status: 'failure',
    reason: 'FRR has it as a duplicate',
    fix: `vtysh -c "clear evpn dup-addr vni ${vni} ip ${ip}"`,
  }),
  inactive: ({ mac }) => ({
    status: 'warning',
    reason: 'local inactive in zebra: the bridge has no local entry for its MAC; the host is silent or gone',
    fix: `bridge fdb show | grep ${mac}; let the host send something, a ping is enough`,
  }),
} satisfies Readonly<Record<string, (place: Place) => Omit<Blocker, 'subject'>>>;

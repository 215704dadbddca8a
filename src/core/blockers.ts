// Why an installed neighbor is not advertised, or may not be for long: each reason, and the fix. Pure.

import type { IpAddress, Mac } from '../base/address.ts';
import { type Frr, vniOf, vnisByDevice } from './frr.ts';
import type { Location } from './host-index.ts';
import type { Port } from './topology.ts';

/** A reason why a neighbor is not advertised, or may not be for long. */
export interface Blocker {
  /** `VNI 100`, or the device when it has no VNI. */
  readonly subject: string;
  /** `note`: nothing is wrong. */
  readonly status: 'note' | 'warning' | 'failure';
  /** True while the route is there nevertheless. */
  readonly isAdvertised: boolean;
  readonly reason: string;
  readonly fix: string;
}

/** A neighbor of ours. */
export interface InstalledHost {
  readonly ip: IpAddress;
  readonly mac: Mac;
  readonly device: string | null;
  readonly bridge: string;
  readonly vlan: number;
  readonly candidate: { readonly location: Location };
}

/** The blocker of a neighbor; null: it is advertised. */
export type BlockerOf = (host: InstalledHost) => Blocker | null;

/** Looks hosts up in the devices and neighbors that zebra has. */
export function findBlockers(frr: Frr): BlockerOf {
  const vnisOf = vnisByDevice(frr);
  return (host) => {
    const vnis = host.device === null ? undefined : vnisOf.get(host.device);
    const vni = vnis && vniOf(vnis, (one) => frr.neighbors.get(one)?.get(host.ip));
    if (vni === undefined)
      return { subject: host.device ?? host.bridge, ...(frr.vnis.length === 0 ? NO_VNIS : NO_VNI) };
    return findBlocker(host, vni, frr, host.candidate.location);
  };
}

/** The blocker of a neighbor whose VNI is known; null: it is advertised. `location`: where the bridge forwards its MAC. */
export function findBlocker(
  { ip, mac, vlan }: Pick<InstalledHost, 'ip' | 'mac' | 'vlan'>,
  vni: number,
  frr: Pick<Frr, 'neighbors' | 'duplicates'>,
  location: Location,
): Blocker | null {
  const kind = kindOf({ ip, mac }, vni, frr);
  if (kind === null) return null;
  const facts = { subject: `VNI ${vni}`, isAdvertised: isWithRoute(kind) };
  if (kind === 'inactive' && location.kind === 'local') {
    return { ...facts, ...missedMac(mac, vlan, location.port) };
  }
  const isMacDuplicate = frr.duplicates.get(vni)?.macs.has(mac) ?? false;
  return { ...facts, ...BLOCKERS[kind]({ ip, mac, vni, isMacDuplicate }) };
}

/** Whether this node advertises the address, with this MAC, in the VNI. */
export function hasRoute(
  host: Pick<InstalledHost, 'ip' | 'mac'>,
  vni: number,
  frr: Pick<Frr, 'neighbors' | 'duplicates'>,
): boolean {
  const kind = kindOf(host, vni, frr);
  return kind === null || isWithRoute(kind);
}

function isWithRoute(kind: keyof typeof BLOCKERS): boolean {
  return kind === 'marked' || kind === 'proxy';
}

function kindOf(
  { ip, mac }: Pick<InstalledHost, 'ip' | 'mac'>,
  vni: number,
  frr: Pick<Frr, 'neighbors' | 'duplicates'>,
): keyof typeof BLOCKERS | null {
  const entry = frr.neighbors.get(vni)?.get(ip);
  const duplicates = frr.duplicates.get(vni);
  if (entry === undefined) return 'missing';
  if (!entry.isLocal) return 'remote';
  if (entry.mac !== mac) return 'otherMac';
  if (entry.isDuplicate) {
    if (duplicates?.advertised.has(ip)) return 'marked';
    // zebra has a frozen neighbor as inactive (8.4) or as active (10.3), and a silent one as inactive too.
    if (entry.isActive || duplicates?.macs.get(mac) !== false) return 'frozen';
  }
  if (!entry.isActive) return 'inactive';
  return entry.isProxy ? 'proxy' : null;
}

/** A warning, because a VLAN may be local on purpose. */
export const NO_VNI: Omit<Blocker, 'subject'> = {
  status: 'warning',
  isAdvertised: false,
  reason: 'zebra has no VNI for this device',
  fix: 'vtysh -c "show evpn vni detail"; needed: a VXLAN port that is up, and advertise-all-vni; a VLAN without VNI stays local',
};

/** zebra has VNIs only while bgpd, with advertise-all-vni, is connected to it. */
const NO_VNIS: Omit<Blocker, 'subject'> = {
  ...NO_VNI,
  reason: 'zebra has no VNI: bgpd is not running or has no advertise-all-vni, or no VXLAN port is up',
  fix: 'vtysh -c "show bgp l2vpn evpn summary"; needed: bgpd with advertise-all-vni, and a VXLAN port that is up',
};

interface Place {
  readonly ip: IpAddress;
  readonly mac: Mac;
  readonly vni: number;
  readonly isMacDuplicate: boolean;
}

/** An address cannot be cleared while its MAC is marked (zebra_vxlan_clear_dup_detect_vni_ip of zebra/zebra_vxlan.c). */
function clearDuplicate({ ip, mac, vni, isMacDuplicate }: Place): string {
  const marked = isMacDuplicate ? `mac ${mac}` : `ip ${ip}`;
  return `find the other host that has ${isMacDuplicate ? mac : ip}; then: vtysh -c "clear evpn dup-addr vni ${vni} ${marked}"`;
}

/** FRR 9.1 to 10.4 drop the MAC of a port that they do not know yet. Nothing but another change of its entry repairs that. */
function missedMac(mac: Mac, vlan: number, { name, vlans }: Port): Omit<Blocker, 'subject' | 'isAdvertised'> {
  const entry = `${mac} dev ${name} master${vlans.length === 0 ? '' : ` vlan ${vlan}`}`;
  return {
    status: 'failure',
    reason: 'local inactive in zebra, which has no local MAC for it; the bridge has one',
    fix: `bridge fdb del ${entry}; then let the host send something, a ping is enough`,
  };
}

const BLOCKERS = {
  missing: ({ ip, vni }) => ({
    status: 'failure',
    reason: 'zebra does not have the neighbor',
    fix: `wait five minutes, in which a run writes it anew (frr.verify); then: vtysh -c "show evpn arp-cache vni ${vni} ip ${ip}"`,
  }),
  remote: ({ mac }) => ({
    status: 'failure',
    reason: 'zebra has a route of another node instead',
    fix: `find out where ${mac} is: bridge fdb show | grep ${mac}`,
  }),
  otherMac: () => ({
    status: 'failure',
    reason: 'zebra has it with another MAC',
    fix: 'wait five minutes, in which a run writes it anew (frr.verify)',
  }),
  marked: (place) => ({
    status: 'warning',
    reason: 'FRR has marked it as a duplicate, and still advertises it',
    fix: clearDuplicate(place),
  }),
  frozen: (place) => ({
    status: 'failure',
    reason: 'FRR has frozen it as a duplicate, and withdrawn its route',
    fix: clearDuplicate(place),
  }),
  proxy: ({ ip }) => ({
    status: 'note',
    reason: 'advertised as a proxy, for another node of its Ethernet segment',
    fix: `snoopy explain ${ip} on that node`,
  }),
  inactive: ({ mac }) => ({
    status: 'warning',
    reason: 'local inactive in zebra: the bridge has no local entry for its MAC; the host is silent or gone',
    fix: `bridge fdb show | grep ${mac}; let the host send something, a ping is enough`,
  }),
} satisfies Readonly<Record<string, (place: Place) => Omit<Blocker, 'subject' | 'isAdvertised'>>>;

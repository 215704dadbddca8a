// The words of `doctor` for FRR and for the hosts: each finding and its fix.

import type { IpAddress } from '../../base/address.ts';
import { some } from '../../base/text.ts';
import type { SilentFrr } from '../frr.ts';

interface Vni {
  readonly vni: number;
  /** The VXLAN port. */
  readonly port: string;
}

export const FRR = {
  ok: () => 'zebra and bgpd answer',
  absent: () => ({
    found: 'vtysh is not installed here: FRR was not checked',
    remedy: 'apt install frr, or run doctor where vtysh is',
  }),
  silent: (answer: SilentFrr) => ({ found: answer.message, remedy: restartFrr(answer) }),
};

/** How to get an answer of FRR. zebra always runs, bgpd only where it is enabled. */
export function restartFrr(answer: SilentFrr): string {
  const isEnabled = answer.daemon === 'bgpd' ? 'check that /etc/frr/daemons has bgpd=yes; ' : '';
  return `${isEnabled}systemctl status frr; systemctl restart frr`;
}

export const ADVERTISE_ALL_VNI = {
  ok: () => 'on',
  off: () => ({
    found: 'bgpd has no advertise-all-vni',
    remedy: 'in the configuration of bgpd, below "address-family l2vpn evpn": advertise-all-vni',
  }),
};

const SHOW_PEERS = 'vtysh -c "show bgp l2vpn evpn summary"';

export const PEERS = {
  ok: ({ count }: { readonly count: number }) => `${count} established`,
  none: () => ({ found: 'bgpd has no EVPN peer', remedy: SHOW_PEERS }),
  down: ({ names }: { readonly names: readonly string[] }) => ({
    found: `not established: ${some(names)}`,
    remedy: SHOW_PEERS,
  }),
};

export const VNI = {
  ok: ({ port }: Vni) => `${port}, known to zebra`,
  ofVrf: ({ port }: Vni) => `${port}, of a VRF`,
  noneOnDevice: ({ port }: Pick<Vni, 'port'>) => ({
    found: 'a single VXLAN device ("external"), and no VLAN of it has a VNI',
    remedy: `bridge link set dev ${port} vlan_tunnel on; bridge vlan add dev ${port} vid VLAN; bridge vlan add dev ${port} vid VLAN tunnel_info id VNI`,
  }),
  shared: ({ device, bridge, vnis, taken }: SharedDevice) => ({
    found: `${describeVnis(vnis)} have the device "${device}", and zebra takes its neighbors for one of them${taken.length === 0 ? '' : `: ${describeVnis(taken)}`}`,
    remedy: `take the other VXLAN ports out of "${bridge}": each VNI needs a bridge of its own, or a VLAN of its own with a device`,
  }),
  unknown: ({ port }: Vni) => ({ found: `zebra does not know ${port}`, remedy: SHOW_VNIS }),
  unknownOnDevice: ({ vni, port }: Vni) => ({
    found: `zebra does not know VNI ${vni} of ${port}`,
    remedy: `a single VXLAN device needs FRR 8.5; ${SHOW_VNIS}`,
  }),
};

/** A neighbor device with several VNIs. */
interface SharedDevice {
  readonly device: string;
  readonly bridge: string;
  readonly vnis: readonly number[];
  /** Those in which zebra has neighbors of this node. */
  readonly taken: readonly number[];
}

function describeVnis(vnis: readonly number[]): string {
  return `${vnis.length === 1 ? 'VNI' : 'VNIs'} ${some(vnis.map(String))}`;
}

const SHOW_VNIS =
  'vtysh -c "show evpn vni"; zebra knows it when "advertise-all-vni" is on and VXLAN port and bridge are up';

export const NEIGHBOR_DEVICE = {
  ok: ({ device }: { readonly device: string }) => device,
  none: ({ bridge, vlan }: { readonly bridge: string; readonly vlan: number }) => ({
    found: `VLAN ${vlan} of "${bridge}" has no device to hold neighbors`,
    remedy: makeVlanDevice({ bridge, vlan }),
  }),
  bridgeItself: ({ bridge, vlan }: { readonly bridge: string; readonly vlan: number }) => ({
    found: `neighbors of untagged hosts are written to "${bridge}", zebra takes those of VLAN ${vlan} from a VLAN device only`,
    remedy: `ip link add link ${bridge} name ${bridge}.${vlan} up type vlan id ${vlan}; snoopy reconcile`,
  }),
  other: ({ device, svi }: { readonly device: string; readonly svi: string | null }) => ({
    found: `neighbors are written to "${device}", zebra takes them from ${svi === null ? 'nowhere' : `"${svi}"`}`,
    remedy: `ip link set ${device} up; vtysh -c "show evpn vni detail"`,
  }),
};

/** The commands that give a VLAN of a bridge a neighbor device. */
export function makeVlanDevice({ bridge, vlan }: { readonly bridge: string; readonly vlan: number }): string {
  return `ip link add ${bridge}.${vlan} link ${bridge} up type vlan id ${vlan}; bridge vlan add dev ${bridge} vid ${vlan} self`;
}

export const LIMITS = {
  ok: () => 'no port is at its limit',
  full: ({ names }: { readonly names: readonly string[] }) => ({
    found: `at their limit: ${some(names)}`,
    remedy: 'snoopy status shows their hosts; raise limits.bindings_per_port if they belong there',
  }),
  rejected: ({ names }: { readonly names: readonly string[] }) => ({
    found: `messages rejected for limits since the last run: ${some(names)}`,
    remedy:
      'the next runs probe these hosts; raise limits.new_bindings_per_second if so many may come at once',
  }),
};

export const VIRTUAL_ROUTER = ({ ip, fix }: { readonly ip: IpAddress; readonly fix: string }) => ({
  found: `${ip} belongs to a virtual router that answers from another MAC, as CARP does: it is not learned`,
  remedy: fix,
});

export const FROZEN = {
  ok: () => 'no address is frozen',
  frozen: ({ ips }: { readonly ips: readonly IpAddress[] }) => ({
    found: some(ips),
    remedy: `find the two hosts, then: snoopy reconcile --unfreeze ${ips[0] ?? 'IP'}`,
  }),
};

interface Waiting {
  readonly ips: readonly IpAddress[];
  readonly because: string;
}

export const HOSTS = {
  ok: ({ count }: { readonly count: number }) => `${count} with a neighbor`,
  allRejected: ({ counts }: { readonly counts: readonly string[] }) => ({
    found: `none is learned, and messages were rejected: ${counts.join(', ')}`,
    remedy: 'snoopy explain IP names the check that rejected the address of a host, and the fix',
  }),
  noDevice: ({ ips, because }: Waiting) => ({
    found: `no neighbor for ${some(ips)}: ${because}`,
    remedy: `snoopy explain ${ips[0] ?? 'IP'} prints the command that creates one`,
  }),
  waiting: ({ ips, because }: Waiting) => ({
    found: `no neighbor for ${some(ips)}: ${because}`,
    remedy: `snoopy explain ${ips[0] ?? 'IP'} prints the fix`,
  }),
};

export const SILENT = {
  ok: () => 'every MAC on a local port has an address',
  /** `hosts` are the first of `count`, each a MAC with its port; `fix` is how to provision the first one. */
  some: ({
    hosts,
    count,
    fix,
  }: {
    readonly hosts: readonly string[];
    readonly count: number;
    readonly fix: string;
  }) => ({
    found: `no address was seen of ${count === 1 ? '' : `${count} MACs: `}${hosts.join(', ')}${count > hosts.length ? `, and ${count - hosts.length} more` : ''}`,
    remedy: `let the host send ARP or ND, a ping from it is enough; or ${fix}`,
  }),
};

export const HINTED = ({ ips, hint }: { readonly ips: readonly IpAddress[]; readonly hint: string }) => ({
  found: `${some(ips)}: ${hint}`,
  remedy: `snoopy explain ${ips[0] ?? 'IP'} prints whether it was probed, and the fix`,
});

export const ADVERTISED = {
  ok: ({ count, total }: { readonly count: number; readonly total: number }) =>
    `${count} of ${total} neighbors`,
  blocked: ({
    ips,
    reason,
    fix,
  }: {
    readonly ips: readonly IpAddress[];
    readonly reason: string;
    readonly fix: string;
  }) => ({
    found: `${some(ips)}: ${reason}`,
    remedy: fix,
  }),
};

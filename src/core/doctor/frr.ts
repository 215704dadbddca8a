// FRR's side: does it answer, does it know the VNIs, does it look at the devices that we write to?

import type { Link } from '../../netlink/link.ts';
import type { Bridge } from '../topology.ts';
import { tunnelLinks } from './bridges.ts';
import { type Check, type Findings, type Frr, failure, ok, some, warning } from './check.ts';

/** What these checks look at. */
export interface FrrFindings extends Pick<Findings, 'frr' | 'topology' | 'observed' | 'plan'> {
  /** Only what concerns the hosts of this VLAN; by default all VLANs. */
  readonly vlan?: number;
}

export function checkFrr(findings: FrrFindings): Check[] {
  const { frr: answer } = findings;
  switch (answer.kind) {
    case 'absent':
      return [
        warning('frr', {
          subject: null,
          found: 'vtysh is not installed here: nothing of FRR was looked at',
          remedy: 'apt install frr, or run doctor where vtysh is',
        }),
      ];
    case 'silent':
      return [
        failure('frr', {
          subject: null,
          found: answer.message,
          remedy: 'see that /etc/frr/daemons has bgpd=yes; systemctl status frr; systemctl restart frr',
        }),
      ];
    case 'answered':
      return [
        ok('frr', null, 'zebra and bgpd answer'),
        checkAdvertiseAllVni(answer.frr),
        checkPeers(answer.frr),
        ...findings.topology.bridges.flatMap((bridge) => checkVnis(bridge, findings, answer.frr)),
      ];
    default:
      return answer satisfies never;
  }
}

function checkAdvertiseAllVni({ advertiseAllVni }: Frr): Check {
  if (advertiseAllVni) return ok('advertise-all-vni', null, 'on');
  return failure('advertise-all-vni', {
    subject: null,
    found: 'off',
    remedy: 'in the configuration of bgpd, below "address-family l2vpn evpn": advertise-all-vni',
  });
}

function checkPeers({ peers }: Frr): Check {
  const remedy = 'vtysh -c "show bgp l2vpn evpn summary"';
  if (peers.length === 0) return warning('peers', { subject: null, found: 'bgpd has no EVPN peer', remedy });
  const down = peers.filter(({ state }) => state !== 'Established');
  if (down.length === 0) return ok('peers', null, `${peers.length} established`);
  const items = down.map(({ name, state }) => `${name} (${state})`);
  const complaint = { subject: null, found: `not established: ${some(items)}`, remedy, items };
  return down.length === peers.length ? failure('peers', complaint) : warning('peers', complaint);
}

/** Every VNI of every VXLAN port: a port has one, or as many as its VLANs are mapped to. */
function checkVnis(bridge: Bridge, findings: FrrFindings, frr: Frr): Check[] {
  const { observed, vlan: only } = findings;
  return tunnelLinks(bridge, observed.links).flatMap((link): Check[] => {
    if (link.vxlan === undefined) return [];
    const vlans = bridge.vlanAware ? observed.portVlans.get(link.ifIndex) : undefined;
    const isMeant = (vlan: number): boolean => only === undefined || only === vlan;
    if (!link.vxlan.external) {
      const vlan = vlans?.pvid ?? 0;
      return isMeant(vlan) ? checkVni(bridge, findings, frr, link, link.vxlan.vni, vlan) : [];
    }
    const vnis = (vlans?.vnis ?? []).flatMap(({ start, end, vni }) =>
      Array.from({ length: end - start + 1 }, (_, i) => ({ vlan: start + i, vni: vni + i })),
    );
    if (vnis.length === 0) return [withoutVnis(link)];
    const meant = vnis.filter(({ vlan }) => isMeant(vlan));
    return meant.flatMap(({ vlan, vni }) => checkVni(bridge, findings, frr, link, vni, vlan));
  });
}

function withoutVnis({ name }: Link): Check {
  return warning('vni', {
    subject: name,
    found: 'a single VXLAN device ("external"), and no VLAN of it has a VNI',
    remedy: `bridge link set dev ${name} vlan_tunnel on; bridge vlan add dev ${name} vid VLAN; bridge vlan add dev ${name} vid VLAN tunnel_info id VNI`,
  });
}

/** `vlan`: the one that the port carries by this VNI; 0 on a plain bridge. */
function checkVni(
  bridge: Bridge,
  findings: FrrFindings,
  frr: Frr,
  { name, vxlan }: Link,
  vni: number,
  vlan: number,
): Check[] {
  const subject = `VNI ${vni}`;
  if (frr.l3Vnis.has(vni)) return [ok('vni', subject, `${name}, of a VRF`)];
  const known = frr.vnis.find((line) => line.vni === vni);
  if (known === undefined) {
    const since = vxlan?.external ? 'a single VXLAN device needs FRR 8.5; ' : '';
    return [
      failure('vni', {
        subject,
        found: `zebra does not know ${vxlan?.external ? `VNI ${vni} of ` : ''}${name}`,
        remedy: `${since}vtysh -c "show evpn vni"; with "advertise-all-vni" on, and VXLAN port and bridge up, it does`,
      }),
    ];
  }
  return [
    ok('vni', subject, `${name}, known to zebra`),
    checkDevice(bridge, findings, subject, vlan, known.svi),
  ];
}

function checkDevice(
  bridge: Bridge,
  { plan }: FrrFindings,
  subject: string,
  vlan: number,
  svi: string | null,
): Check {
  const device = bridge.domains.get(vlan)?.deviceName;
  if (device === undefined) {
    const name = `${bridge.desired.name}.${vlan}`;
    const isMissed = plan.decisions.some(
      (verdict) => verdict.bridge === bridge.desired.name && verdict.vlan === vlan,
    );
    const complaint = {
      subject,
      found: `VLAN ${vlan} of "${bridge.desired.name}" has no device to hold neighbors`,
      remedy: `ip link add ${name} link ${bridge.desired.name} up type vlan id ${vlan}; bridge vlan add dev ${bridge.desired.name} vid ${vlan} self`,
    };
    return isMissed ? failure('neighbor-device', complaint) : warning('neighbor-device', complaint);
  }
  if (svi === device) return ok('neighbor-device', subject, device);
  return failure('neighbor-device', {
    subject,
    found: `neighbors are written to "${device}", zebra takes them from ${svi === null ? 'nowhere' : `"${svi}"`}`,
    remedy: `ip link set ${device} up; vtysh -c "show evpn vni detail"`,
  });
}

// FRR: whether it answers, knows the VNIs, and takes neighbors from the devices that we write to.

import type { Link } from '../../netlink/link.ts';
import { type Frr, vnisByDevice } from '../frr.ts';
import type { Bridge } from '../topology.ts';
import { tunnelVnis } from '../tunnel-vnis.ts';
import { tunnelLinks } from './bridges.ts';
import { type Check, type Findings, failure, ok, warning } from './check.ts';
import { ADVERTISE_ALL_VNI, FRR, NEIGHBOR_DEVICE, PEERS, VNI } from './wording-routes.ts';

/** The input of these checks. */
export interface FrrFindings extends Pick<Findings, 'frr' | 'topology' | 'observed' | 'plan'> {
  /** Check only the VNI of this VLAN; default: all VLANs. */
  readonly vlan?: number;
}

export function checkFrr(findings: FrrFindings): Check[] {
  const { frr: answer } = findings;
  switch (answer.kind) {
    case 'absent':
      return [warning('frr', { subject: null, ...FRR.absent() })];
    case 'silent':
      return [failure('frr', { subject: null, ...FRR.silent(answer) })];
    case 'answered':
      return [
        ok('frr', null, FRR.ok()),
        checkAdvertiseAllVni(answer.frr),
        checkPeers(answer.frr),
        ...findings.topology.bridges.flatMap((bridge) => [
          ...checkVnis(bridge, findings, answer.frr),
          ...checkShared(bridge, answer.frr),
        ]),
      ];
    default:
      return answer satisfies never;
  }
}

function checkAdvertiseAllVni({ advertiseAllVni }: Frr): Check {
  if (advertiseAllVni) return ok('advertise-all-vni', null, ADVERTISE_ALL_VNI.ok());
  return failure('advertise-all-vni', { subject: null, ...ADVERTISE_ALL_VNI.off() });
}

function checkPeers({ peers }: Frr): Check {
  if (peers.length === 0) return warning('peers', { subject: null, ...PEERS.none() });
  const down = peers.filter(({ state }) => state !== 'Established');
  if (down.length === 0) return ok('peers', null, PEERS.ok({ count: peers.length }));
  const items = down.map(({ name, state }) => `${name} (${state})`);
  const complaint = { subject: null, ...PEERS.down({ names: items }), items };
  return down.length === peers.length ? failure('peers', complaint) : warning('peers', complaint);
}

/** Every VNI of every VXLAN port: a port has either one VNI, or one for each of its mapped VLANs. */
function checkVnis(bridge: Bridge, findings: FrrFindings, frr: Frr): Check[] {
  const { observed, vlan: only } = findings;
  return tunnelLinks(bridge, observed.links).flatMap((link): Check[] => {
    if (link.vxlan === undefined) return [];
    const vnis = tunnelVnis(link, bridge.vlanAware, observed);
    if (vnis.length === 0)
      return [warning('vni', { subject: link.name, ...VNI.noneOnDevice({ port: link.name }) })];
    const meant = vnis.filter(({ vlan }) => only === undefined || only === vlan);
    return meant.flatMap(({ vlan, vni }) => checkVni(bridge, findings, frr, link, vni, vlan));
  });
}

/** `vlan` is the VLAN that is mapped to this VNI; 0 on a plain bridge. */
function checkVni(
  bridge: Bridge,
  findings: FrrFindings,
  frr: Frr,
  { name, vxlan }: Link,
  vni: number,
  vlan: number,
): Check[] {
  const subject = `VNI ${vni}`;
  const data = { vni, port: name };
  if (frr.l3Vnis.has(vni)) return [ok('vni', subject, VNI.ofVrf(data))];
  const known = frr.vnis.find((line) => line.vni === vni);
  if (known === undefined) {
    const words = vxlan?.external ? VNI.unknownOnDevice(data) : VNI.unknown(data);
    return [failure('vni', { subject, ...words })];
  }
  return [ok('vni', subject, VNI.ok(data)), checkDevice(bridge, findings, subject, vlan, known.svi)];
}

/** Neighbor devices with several VNIs: zebra takes their neighbors for one of them, the others have no host. */
function checkShared({ desired, domains }: Bridge, frr: Frr): Check[] {
  const vnisOf = vnisByDevice(frr);
  return [...domains.values()].flatMap(({ deviceName: device }) => {
    const vnis = vnisOf.get(device) ?? [];
    if (vnis.length <= 1) return [];
    const isTaken = (vni: number): boolean =>
      [...(frr.neighbors.get(vni)?.values() ?? [])].some(({ isLocal }) => isLocal);
    const taken = vnis.filter(isTaken);
    const words = VNI.shared({ device, bridge: desired.name, vnis, taken });
    return [warning('vni', { subject: device, ...words, items: vnis.map(String) })];
  });
}

/** A VLAN without a device that zebra takes neighbors from is a failure only when hosts of it are known. */
function checkDevice(
  bridge: Bridge,
  { plan }: FrrFindings,
  subject: string,
  vlan: number,
  svi: string | null,
): Check {
  const { name } = bridge.desired;
  const domain = bridge.domains.get(vlan);
  const device = domain?.deviceName;
  // On a VLAN-aware bridge zebra takes the neighbors of a VLAN from a VLAN device only, never from the bridge itself.
  const isBridge = bridge.vlanAware && domain?.device === bridge.ifIndex;
  if (device === undefined || isBridge) {
    const isNeeded = plan.decisions.some((decision) => decision.bridge === name && decision.vlan === vlan);
    const words = isBridge ? NEIGHBOR_DEVICE.bridgeItself : NEIGHBOR_DEVICE.none;
    const complaint = { subject, ...words({ bridge: name, vlan }) };
    return isNeeded ? failure('neighbor-device', complaint) : warning('neighbor-device', complaint);
  }
  if (svi === device) return ok('neighbor-device', subject, NEIGHBOR_DEVICE.ok({ device }));
  return failure('neighbor-device', { subject, ...NEIGHBOR_DEVICE.other({ device, svi }) });
}

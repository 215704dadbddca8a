// The words of `explain` for FRR: whether zebra has the neighbor, and bgpd the route.

import type { IpAddress, Mac } from '../../base/address.ts';
import { some } from '../../base/text.ts';
import { restartFrr } from '../doctor/wording-routes.ts';
import type { SilentFrr } from '../frr.ts';
import type { Complaint } from './complaint.ts';
import { ok, unknown, wrong } from './finding.ts';

interface Address {
  readonly ip: IpAddress;
}

interface Vni {
  readonly vni: number;
}

export const ZEBRA = {
  absent: unknown(
    () => 'vtysh is not installed here: FRR was not checked',
    () => 'apt install frr',
  ),
  silent: wrong(describeSilence, restartFrr),
  /** The query stops at the first daemon that does not answer. */
  silentBgpd: unknown(() => 'not checked, because bgpd does not answer'),
  noMac: unknown(({ vni }: Vni) => `VNI ${vni}: the MAC is not known`),
  active: ok(({ vni }: Vni) => `VNI ${vni}: local, active`),
  activeWith: ok(
    ({ vni, found }: Vni & Complaint) => `VNI ${vni}: local; ${found}`,
    ({ fix }) => fix,
  ),
  blocked: wrong(
    ({ found }: Complaint) => found,
    ({ fix }) => fix,
  ),
  blockedInVni: wrong(
    ({ vni, found }: Vni & Complaint) => `VNI ${vni}: ${found}`,
    ({ fix }) => fix,
  ),
  remote: ok(
    ({ vni, node }: Vni & { readonly node: string | null }) =>
      `VNI ${vni}: learned from ${node ?? 'another node'}`,
  ),
  noNode: wrong(({ vni }: Vni & Address) => `VNI ${vni}: no node advertises it`, showArpCache),
  ownThoughRemote: wrong(
    ({ vni }: Vni & Address) => `VNI ${vni}: local, though the host is not here`,
    showArpCache,
  ),
};

function describeSilence({ message }: SilentFrr): string {
  return message;
}

function showArpCache({ vni, ip }: Vni & Address): string {
  return `vtysh -c "show evpn arp-cache vni ${vni} ip ${ip}"`;
}

interface RouteKey extends Vni, Address {
  readonly mac: Mac | null;
  /** What doctor finds wrong. */
  readonly complaint?: Complaint | undefined;
}

export const ROUTE = {
  silent: wrong(describeSilence, restartFrr),
  sent: ok(({ peers }: { readonly peers: readonly string[] }) => `best path, sent to ${some(peers)}`),
  unsent: wrong(
    ({ complaint }: RouteKey) => withComplaint('best path, sent to no peer', complaint),
    fixRoute,
  ),
  none: wrong(({ complaint }: RouteKey) => withComplaint('bgpd has no route', complaint), fixRoute),
  otherIsBetter: wrong(
    ({ node, complaint }: RouteKey & { readonly node: string | null }) =>
      withComplaint(`the route of ${node ?? 'another node'} is better`, complaint),
    fixRoute,
  ),
  remote: ok(({ node }: { readonly node: string | null }) => `best path to ${node ?? 'another node'}`),
  ownThoughRemote: wrong((_: RouteKey) => "the node's own, though the host is not here", fixRoute),
};

function withComplaint(found: string, complaint: Complaint | undefined): string {
  return complaint === undefined ? found : `${found}: ${complaint.found}`;
}

function fixRoute({ vni, mac, ip, complaint }: RouteKey): string {
  return complaint?.fix ?? `vtysh -c "show bgp l2vpn evpn route vni ${vni} mac ${mac} ip ${ip}"`;
}

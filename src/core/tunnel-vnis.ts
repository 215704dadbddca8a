// The VNIs of VXLAN ports and the VLANs that they carry, as the kernel has them. Pure.

import type { Link } from '../netlink/link.ts';
import type { Observed } from './observed.ts';

/** A VNI of a VXLAN port. */
export interface TunnelVni {
  readonly vni: number;
  /** The VLAN that is mapped to it; 0 on a plain bridge. */
  readonly vlan: number;
}

/** The VNIs of a VXLAN port: it has either one, or one for each of its mapped VLANs. `vlanAware` is its bridge. */
export function tunnelVnis(
  { ifIndex, vxlan }: Link,
  vlanAware: boolean,
  { portVlans }: Pick<Observed, 'portVlans'>,
): TunnelVni[] {
  if (vxlan === undefined) return [];
  const vlans = vlanAware ? portVlans.get(ifIndex) : undefined;
  if (!vxlan.external) return [{ vni: vxlan.vni, vlan: vlans?.pvid ?? 0 }];
  return (vlans?.vnis ?? []).flatMap(({ start, end, vni }) =>
    Array.from({ length: end - start + 1 }, (_, i) => ({ vlan: start + i, vni: vni + i })),
  );
}

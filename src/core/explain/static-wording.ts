// The words for the fix that provisions an address.

import type { IpAddress, Mac } from '../../base/address.ts';
import type { Configuration } from '../desired.ts';
import { entryLine } from '../entries.ts';

/** The bridge of a static entry. */
export interface StaticPlace {
  readonly bridge: string;
  /** True when the configuration has an entry with the name of the bridge: a glob cannot have static entries. */
  readonly isNamed: boolean;
}

/** True when an entry of the configuration has the name of the bridge, and not only a glob that matches it. */
export function isNamed({ entries }: Pick<Configuration, 'entries'>, bridge: string): boolean {
  return entries.some(({ name, isGlob }) => !isGlob && name === bridge);
}

/** How to provision an address. `entry` is a static entry as it is written in the configuration. */
export function addStatic({ bridge, isNamed }: StaticPlace, entry: string): string {
  if (isNamed) return `add it under "static": ${entry}`;
  const name = entryLine(bridge).replace(/^- /, '');
  // An entry takes nothing from the glob: without its settings an excluded uplink would be learned from.
  return `add an entry of its own, with the settings of the glob: - {${name}, ..., static: [${entry}]}`;
}

/** Where the static entries of a bridge are. */
export function underStatic({ bridge, isNamed }: StaticPlace): string {
  return isNamed ? 'under "static"' : `under "static", in an entry of its own for ${bridge}`;
}

/** A static entry as it is written in the configuration. */
export function staticEntry({
  ip,
  vlan,
  mac,
}: {
  readonly ip: IpAddress;
  readonly vlan: number;
  readonly mac: Mac;
}): string {
  return `{ip: "${ip}", mac: "${mac}"${vlan === 0 ? '' : `, vlan: ${vlan}`}}`;
}

// Entries of FDBs that zebra has missed: creates them anew.

import { groupBy } from '../base/group.ts';
import { type ForwardedMac, isRenewable } from '../core/zebra.ts';
import { type FdbEntry, lookUpFdb, recreateFdb } from '../netlink/fdb.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';

/** Those that the bridge still forwards to the same port, by entries that can be created anew just as they are. */
export function lookUpRenewable(netlink: NetlinkSocket, macs: readonly ForwardedMac[]): ForwardedMac[] {
  const entries = entriesOf(netlink, macs);
  return macs.filter((mac) => entries.has(idOf(mac)));
}

/**
 * Deletes the entries of these MACs and creates them anew, so that the kernel notifies zebra of each. One that has another port
 * or owner by now is left alone. Returns those that were renewed.
 */
export function renewForwarding(netlink: NetlinkSocket, macs: readonly ForwardedMac[]): ForwardedMac[] {
  const entries = [...entriesOf(netlink, macs)];
  const results = recreateFdb(
    netlink,
    entries.map(([, entry]) => entry),
  );
  const renewed = new Set(entries.flatMap(([id], i) => (results[i]?.ok ? [id] : [])));
  return macs.filter((mac) => renewed.has(idOf(mac)));
}

function entriesOf(netlink: NetlinkSocket, macs: readonly ForwardedMac[]): Map<string, FdbEntry> {
  const found = [...groupBy(macs, ({ bridge }) => bridge)].flatMap(([bridge, group]) =>
    lookUpFdb(netlink, bridge, group),
  );
  const wanted = new Set(macs.map(idOf));
  const entries = found.map((entry): [string, FdbEntry] => [idOf({ ...entry, port: entry.ifIndex }), entry]);
  return new Map(entries.filter(([id, entry]) => wanted.has(id) && isRenewable(entry)));
}

function idOf({ bridge, vlan, mac, port }: ForwardedMac): string {
  return `${bridge} ${vlan} ${mac} ${port}`;
}

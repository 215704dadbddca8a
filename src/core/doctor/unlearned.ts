// Hosts on local ports that are not learned: MACs without any address, and addresses that messages only hint at.

import type { IfIndex, Mac } from '../../base/address.ts';
import { groupBy } from '../../base/group.ts';
import { HINTS } from '../explain/hint-wording.ts';
import { addStatic, isNamed } from '../explain/static-wording.ts';
import { type FrrAnswer, vnisByDevice } from '../frr.ts';
import { HostIndex } from '../host-index.ts';
import { hasProgram } from '../observed.ts';
import { unansweredHints } from '../probes/hints.ts';
import type { Bridge } from '../topology.ts';
import { type Check, type Findings, ok, warning } from './check.ts';
import { HINTED, SILENT } from './wording-routes.ts';

/** How many silent hosts a check names: a guest may send from any number of MACs. */
const MOST_SILENT = 5;

export function checkUnlearned(findings: Findings): Check[] {
  const known = macsWithAddress(findings);
  const silent = findings.topology.bridges.flatMap((bridge) =>
    checkSilent(bridge, findings, known.get(bridge.ifIndex) ?? new Set()),
  );
  const isSeen = isMessageSeen(findings);
  const isChecked = findings.topology.bridges.some(({ ports }) =>
    ports.some(({ ifIndex }) => isSeen(ifIndex)),
  );
  const noneSilent = isChecked ? [ok('silent', null, SILENT.ok())] : [];
  return [...(silent.length === 0 ? noneSilent : silent), ...checkHinted(findings)];
}

/** MACs that the bridge forwards to a local port where a message would be seen, and that are not known. */
function checkSilent(bridge: Bridge, findings: Findings, known: ReadonlySet<Mac>): Check[] {
  const { configuration, hosts } = findings;
  const isSeen = isMessageSeen(findings);
  const names = new Map(
    bridge.ports.filter(({ ifIndex }) => isSeen(ifIndex)).map(({ ifIndex, name }) => [ifIndex, name]),
  );
  const silent = new Map<Mac, string>();
  for (const { mac, port } of hosts.forwarding.get(bridge.ifIndex) ?? []) {
    const name = names.get(port);
    if (name !== undefined && !known.has(mac)) silent.set(mac, name);
  }
  const first = [...silent].slice(0, MOST_SILENT);
  if (first[0] === undefined) return [];
  const items = first.map(([mac, port]) => `${mac} on ${port}`);
  const { name: subject } = bridge.desired;
  const place = { bridge: subject, isNamed: isNamed(configuration, subject) };
  const fix = addStatic(place, `{ip: ADDRESS, mac: "${first[0][0]}"}`);
  return [warning('silent', { subject, ...SILENT.some({ hosts: items, count: silent.size, fix }), items })];
}

/** Tells whether the program sees the messages of a port. */
function isMessageSeen({ observed, rivals }: Findings): (port: IfIndex) => boolean {
  return (port) => hasProgram(observed, port) && (rivals.get(port) ?? []).length === 0;
}

/** By bridge, the MACs that anything connects with an address, be it a message that was rejected. */
function macsWithAddress({
  topology,
  hosts,
  plan,
  rejections,
  frr,
}: Findings): ReadonlyMap<IfIndex, Set<Mac>> {
  const macs = new Map(topology.bridges.map(({ ifIndex }) => [ifIndex, new Set<Mac>()]));
  const byName = new Map(topology.bridges.map(({ ifIndex, desired }) => [desired.name, macs.get(ifIndex)]));
  const byDevice = new Map(
    topology.bridges.flatMap(({ ifIndex, domains }) =>
      [...domains.values()].map(({ device }) => [device, macs.get(ifIndex)] as const),
    ),
  );
  for (const { bridge, mac } of hosts.bindings) macs.get(bridge)?.add(mac);
  for (const { bridge, mac } of plan.decisions) byName.get(bridge)?.add(mac);
  for (const { ifIndex, mac } of hosts.neighbors) if (mac !== undefined) byDevice.get(ifIndex)?.add(mac);
  for (const { bridge, mac } of hosts.seenHints) macs.get(bridge)?.add(mac);
  // Another node of their Ethernet segment has seen their messages.
  const proxiedOn = proxiedMacs(frr);
  for (const { ifIndex, domains } of topology.bridges)
    for (const { deviceName } of domains.values())
      for (const mac of proxiedOn(deviceName)) macs.get(ifIndex)?.add(mac);
  for (const { bridge, source } of rejections) macs.get(bridge)?.add(source);
  return macs;
}

/** The MACs of the addresses that this node advertises for another one, by the device of their VNI. */
function proxiedMacs(answer: FrrAnswer): (deviceName: string) => Mac[] {
  if (answer.kind !== 'answered') return () => [];
  const { frr } = answer;
  const vnisOf = vnisByDevice(frr);
  return (deviceName) =>
    (vnisOf.get(deviceName) ?? [])
      .flatMap((vni) => [...(frr.neighbors.get(vni)?.values() ?? [])])
      .flatMap(({ isProxy, mac }) => (isProxy ? [mac] : []));
}

/** Addresses that were probed without an answer, or are not probed, by the message that hints at them. */
function checkHinted({ topology, hosts }: Findings): Check[] {
  const hints = groupBy(unansweredHints(topology, hosts, new HostIndex(hosts)), ({ bridge }) => bridge);
  return topology.bridges.flatMap(({ ifIndex, desired }) =>
    [...groupBy(hints.get(ifIndex) ?? [], ({ kind }) => kind)].map(([kind, group]) => {
      const items = group.map(({ ip }) => ip);
      const words = HINTED({ ips: items, hint: HINTS[kind] });
      return warning('hinted', { subject: desired.name, ...words, items });
    }),
  );
}

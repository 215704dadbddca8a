// Bridges and their ports: what hosts need to be seen, and FRR needs to take them.

import type { IfIndex } from '../../base/address.ts';
import type { Link } from '../../netlink/link.ts';
import { hasProgram } from '../observed.ts';
import { type Bridge, excludedPorts } from '../topology.ts';
import { type Check, type Findings, failure, ok, type Rival, warning, wordsOf } from './check.ts';
import {
  AGEING,
  BRIDGE,
  BRIDGE_MAC,
  CHAIN,
  IPV6,
  LEARNING,
  NEIGH_SUPPRESS,
  PORTS,
  TUNNEL,
} from './wording.ts';

export function checkBridges(findings: Findings): Check[] {
  const { configuration, desired, topology } = findings;
  const there = new Set(topology.bridges.map((bridge) => bridge.desired.name));
  const optional = desired.bridges.filter(({ name, required }) => !required && !there.has(name));
  return [
    ...topology.problems.map((problem) =>
      failure('bridge', { subject: problem.object, ...wordsOf(problem) }),
    ),
    ...(configuration.entries.length === 0 ? [warning('bridge', { subject: null, ...BRIDGE.none() })] : []),
    ...optional.map(({ name }) => ok('bridge', name, BRIDGE.optional())),
    ...topology.bridges.flatMap((bridge) => checkBridge(bridge, findings)),
  ];
}

function checkBridge(bridge: Bridge, findings: Findings): Check[] {
  return [
    checkUp(bridge, findings),
    checkPorts(bridge, findings),
    ...checkChain(bridge, findings),
    ...checkTunnels(bridge, findings),
    ...tunnelLinks(bridge, findings.observed.links).map((link) => checkNeighSuppress(bridge, link, findings)),
    checkMac(bridge, findings),
    ...checkIpv6(bridge, findings),
    checkAgeing(bridge, findings),
  ];
}

/** The bridge forwards nothing while it is down, and zebra takes no neighbors of a device that is. */
function checkUp(bridge: Bridge, { observed }: Findings): Check {
  const { desired, ifIndex, domains, vlanAware } = bridge;
  const devices = new Set([ifIndex, ...[...domains.values()].map(({ device }) => device)]);
  const down = [...devices].flatMap((device) => {
    const link = observed.links.get(device);
    return link === undefined || link.up ? [] : [link.name];
  });
  if (down.length === 0) return ok('bridge', desired.name, BRIDGE.ok({ isVlanAware: vlanAware }));
  return failure('bridge', { subject: desired.name, ...BRIDGE.down({ names: down }), items: down });
}

function checkPorts(bridge: Bridge, { observed }: Findings): Check {
  const { desired, ports } = bridge;
  const { name } = desired;
  const excluded = excludedPorts(bridge, observed).map((link) => link.name);
  if (ports.length === 0) return warning('ports', { subject: name, ...PORTS.none({ name, excluded }) });
  const bare = ports.filter(({ ifIndex }) => !hasProgram(observed, ifIndex)).map((port) => port.name);
  if (bare.length === 0) return ok('ports', name, PORTS.ok({ count: ports.length, excluded }));
  return failure('ports', { subject: name, ...PORTS.unattached({ names: bare }), items: bare });
}

/** What another program does with a frame is unknown. It is known when hosts are forwarded and none was seen. */
function checkChain(bridge: Bridge, { rivals, hosts, desired }: Findings): Check[] {
  const subject = bridge.desired.name;
  const rivalsOf = (ifIndex: IfIndex): readonly Rival[] => rivals.get(ifIndex) ?? [];
  const shared = bridge.ports.filter(({ ifIndex }) => rivalsOf(ifIndex).length > 0);
  if (shared.length === 0) return [ok('chain', subject, CHAIN.ok())];
  const first = shared.flatMap(({ ifIndex }) => rivalsOf(ifIndex));
  const before = {
    rivals: [...new Set(first.map(({ name }) => name))],
    isTcx: first.some(({ kind }) => kind === 'tcx'),
    attach: desired.runtime.attach,
  };
  const forwarded = new Set(Array.from(hosts.forwarding.get(bridge.ifIndex) ?? [], ({ port }) => port));
  const seen = new Set(hosts.bindings.map(({ port }) => port));
  const isEnded = (ifIndex: IfIndex): boolean => forwarded.has(ifIndex) && !seen.has(ifIndex);
  const ended = shared.filter(({ ifIndex }) => isEnded(ifIndex)).map(({ name }) => name);
  const others = shared.filter(({ ifIndex }) => !isEnded(ifIndex)).map(({ name }) => name);
  return [
    ...(ended.length === 0
      ? []
      : [failure('chain', { subject, ...CHAIN.ended({ ...before, ports: ended }), items: ended })]),
    ...(others.length === 0
      ? []
      : [warning('chain', { subject, ...CHAIN.shared({ ...before, ports: others }), items: others })]),
  ];
}

export function checkTunnels(bridge: Bridge, { observed }: Pick<Findings, 'observed'>): Check[] {
  const { name } = bridge.desired;
  const tunnels = tunnelLinks(bridge, observed.links);
  if (tunnels.length === 0) return [failure('tunnel', { subject: name, ...TUNNEL.none({ name }) })];
  return [checkTunnelsUp(name, tunnels), ...tunnels.map(checkLearning)];
}

function checkTunnelsUp(subject: string, tunnels: readonly Link[]): Check {
  const down = tunnels.filter(({ up }) => !up).map(({ name }) => name);
  if (down.length === 0) return ok('tunnel', subject, TUNNEL.ok({ names: tunnels.map(({ name }) => name) }));
  return failure('tunnel', { subject, ...TUNNEL.down({ names: down }), items: down });
}

function checkLearning({ name, vxlan, bridgePort }: Link): Check {
  if (vxlan?.learning) return warning('learning', { subject: name, ...LEARNING.device({ name }) });
  if (bridgePort?.learning) return warning('learning', { subject: name, ...LEARNING.port({ name }) });
  return ok('learning', name, LEARNING.ok());
}

/** Where each VLAN has its own setting, that of the port does not matter (br_is_neigh_suppress_enabled). */
function checkNeighSuppress(bridge: Bridge, { ifIndex, name, bridgePort }: Link, findings: Findings): Check {
  if (bridge.vlanAware && bridgePort?.neighVlanSuppress) {
    const options = findings.vlanOptions.get(ifIndex) ?? [];
    const off = options
      .filter(({ neighSuppress }) => !neighSuppress)
      .flatMap(({ start, end }) => [...bridge.domains.keys()].filter((vlan) => start <= vlan && vlan <= end));
    if (off.length === 0) return ok('neigh-suppress', name, NEIGH_SUPPRESS.okByVlan());
    const items = off.map(String);
    return warning('neigh-suppress', {
      subject: name,
      ...NEIGH_SUPPRESS.offInVlans({ name, vlans: items }),
      items,
    });
  }
  if (bridgePort?.neighSuppress) return ok('neigh-suppress', name, NEIGH_SUPPRESS.ok());
  return warning('neigh-suppress', { subject: name, ...NEIGH_SUPPRESS.off({ name }) });
}

/** A bridge without an address of its own takes the lowest of its ports' (br_stp_recalculate_bridge_id). */
function checkMac(bridge: Bridge, { observed, devices }: Findings): Check {
  const { name } = bridge.desired;
  const mac = observed.links.get(bridge.ifIndex)?.mac;
  const members = [...observed.links.values()].filter(({ master }) => master === bridge.ifIndex);
  const isPinned =
    devices.get(bridge.ifIndex)?.macPinned ??
    !members.some((member) => mac !== undefined && member.mac === mac);
  if (isPinned) return ok('bridge-mac', name, BRIDGE_MAC.ok({ mac }));
  return warning('bridge-mac', { subject: name, ...BRIDGE_MAC.ofPort({ name, mac }) });
}

/** Off is a failure where hosts of that device use IPv6. The device of a VLAN without hosts may well have none. */
function checkIpv6(bridge: Bridge, { devices, plan }: Findings): Check[] {
  const learnsIpv6 = bridge.desired.learn.some((kind) => kind === 'na' || kind === 'ns');
  if (!learnsIpv6) return [];
  return [...bridge.domains.values()].map(({ device, deviceName: name }) => {
    if (!devices.get(device)?.disableIpv6) return ok('ipv6', name, IPV6.ok());
    const isNeeded = plan.decisions.some((decision) => decision.device === name && decision.ip.includes(':'));
    const complaint = { subject: name, ...IPV6.off({ name }) };
    return isNeeded ? failure('ipv6', complaint) : warning('ipv6', complaint);
  });
}

function checkAgeing(bridge: Bridge, { observed }: Findings): Check {
  const { name, maxAgeMs } = bridge.desired;
  const ageingMs = observed.links.get(bridge.ifIndex)?.bridge?.ageingTimeMs ?? 0;
  const ageing = { name, ageingMs, maxAgeMs };
  if (ageingMs === 0) return failure('ageing', { subject: name, ...AGEING.atOnce(ageing) });
  if (maxAgeMs !== null && maxAgeMs < ageingMs)
    return warning('ageing', { subject: name, ...AGEING.beyondMaxAge({ ...ageing, maxAgeMs }) });
  return ok('ageing', name, AGEING.ok(ageing));
}

/** The links of a bridge's tunnel ports. */
export function tunnelLinks(bridge: Bridge, links: ReadonlyMap<IfIndex, Link>): Link[] {
  return [...bridge.tunnelPorts].flatMap((ifIndex) => links.get(ifIndex) ?? []);
}

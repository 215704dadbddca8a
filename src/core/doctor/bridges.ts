// Bridges and their ports: what must be so for hosts to be heard, and for FRR to take them.

import type { IfIndex } from '../../base/address.ts';
import type { Link } from '../../netlink/link.ts';
import type { AttachMode } from '../desired.ts';
import { hasProgram } from '../observed.ts';
import type { Bridge } from '../topology.ts';
import { type Check, type Findings, failure, ok, type Rival, some, splitRemedy, warning } from './check.ts';

export function checkBridges(findings: Findings): Check[] {
  const { desired, topology } = findings;
  const checks: Check[] = topology.problems.map(({ object, message }) =>
    failure('bridge', { subject: object, ...splitRemedy(message) }),
  );
  if (desired.bridges.length === 0) {
    checks.push(
      warning('bridge', {
        subject: null,
        found: 'the configuration names no bridge',
        remedy: 'name the bridges under "bridges"',
      }),
    );
  }
  for (const { name, required } of desired.bridges) {
    const isThere = topology.bridges.some((bridge) => bridge.desired.name === name);
    if (!isThere && !required) checks.push(ok('bridge', name, 'not there, and not required'));
  }
  return [...checks, ...topology.bridges.flatMap((bridge) => checkBridge(bridge, findings))];
}

function checkBridge(bridge: Bridge, findings: Findings): Check[] {
  const name = bridge.desired.name;
  return [
    ok('bridge', name, bridge.vlanAware ? 'VLAN-aware' : 'there'),
    checkPorts(bridge, findings),
    ...checkChain(bridge, findings),
    ...checkTunnels(bridge, findings),
    checkMac(bridge, findings),
    ...checkIpv6(bridge, findings),
    checkAgeing(bridge, findings),
  ];
}

function checkPorts(bridge: Bridge, { observed }: Findings): Check {
  const subject = bridge.desired.name;
  const { ports } = bridge;
  if (ports.length === 0) {
    return warning('ports', {
      subject,
      found: 'no local port',
      remedy: `look at "ports" in the configuration, and at: bridge link show master ${subject}`,
    });
  }
  const bare = ports.filter(({ ifIndex }) => !hasProgram(observed, ifIndex)).map((port) => port.name);
  if (bare.length === 0) return ok('ports', subject, `all ${ports.length} attached`);
  return failure('ports', {
    subject,
    found: `not attached: ${some(bare)}`,
    remedy: 'snoopy reconcile',
    items: bare,
  });
}

/** What another program does with a frame cannot be known; that hosts are forwarded and none was heard can. */
function checkChain(bridge: Bridge, { rivals, hosts, desired }: Findings): Check[] {
  const subject = bridge.desired.name;
  const deaf: string[] = [];
  const shared: string[] = [];
  const names = new Map<string, Rival['kind']>();
  const rivalsOf = (ifIndex: IfIndex): readonly Rival[] => rivals.get(ifIndex) ?? [];
  const contested = bridge.ports.filter(({ ifIndex }) => rivalsOf(ifIndex).length > 0);
  if (contested.length === 0) return [ok('chain', subject, 'no program runs before ours')];
  const forwarded = new Set(Array.from(hosts.forwarding.get(bridge.ifIndex) ?? [], ({ port }) => port));
  const heard = new Set(hosts.bindings.map(({ port }) => port));
  for (const { ifIndex, name } of contested) {
    for (const rival of rivalsOf(ifIndex)) names.set(rival.name, rival.kind);
    (forwarded.has(ifIndex) && !heard.has(ifIndex) ? deaf : shared).push(name);
  }
  const before = some([...names.keys()]);
  const remedy = wayOut([...names.values()].includes('tcx'), desired.runtime.attach);
  const checks: Check[] = [];
  if (deaf.length > 0) {
    const found = `hosts behind ${some(deaf)} and none was heard: ${before} runs before ours and seems to end the chain`;
    checks.push(failure('chain', { subject, found, remedy, items: deaf }));
  }
  if (shared.length > 0) {
    const found = `${before} runs before ours on ${some(shared)}`;
    checks.push(warning('chain', { subject, found, remedy, items: shared }));
  }
  return checks;
}

/** A link of ours is the first when it is made; who came later may have asked for the place before it. */
function wayOut(isTcx: boolean, attach: AttachMode): string {
  if (attach === 'clsact') {
    const instead = isTcx ? 'let that program end with TCX_NEXT' : 'give that filter a pref above 10';
    return `set "runtime.attach: tcx" (Linux 6.6), which runs first, or ${instead}`;
  }
  return 'bpftool net show; let that program end with TCX_NEXT, or attach it after snoopy';
}

export function checkTunnels(bridge: Bridge, { observed }: Pick<Findings, 'observed'>): Check[] {
  const subject = bridge.desired.name;
  const tunnels = tunnelLinks(bridge, observed.links);
  if (tunnels.length === 0) {
    return [
      failure('tunnel', {
        subject,
        found: 'no VXLAN port',
        remedy: `ip link add vxlan100 type vxlan id 100 local ADDRESS dstport 4789 nolearning; ip link set vxlan100 master ${subject} up; bridge link set dev vxlan100 learning off neigh_suppress on`,
      }),
    ];
  }
  return [
    checkTunnelsUp(subject, tunnels),
    ...tunnels.map(checkLearning),
    ...tunnels.map(checkNeighSuppress),
  ];
}

function checkTunnelsUp(subject: string, tunnels: readonly Link[]): Check {
  const names = tunnels.map(({ name }) => name);
  const down = tunnels.filter(({ up }) => !up).map(({ name }) => name);
  if (down.length === 0) return ok('tunnel', subject, some(names));
  const found = `${some(down)} is down`;
  return failure('tunnel', { subject, found, remedy: `ip link set ${down[0]} up`, items: down });
}

function checkLearning({ name, vxlan, bridgePort }: Link): Check {
  if (vxlan?.learning) {
    const found = 'the VXLAN device learns';
    const remedy = `create it with "nolearning": ip link set ${name} type vxlan nolearning`;
    return warning('learning', { subject: name, found, remedy });
  }
  if (bridgePort?.learning) {
    const remedy = `bridge link set dev ${name} learning off`;
    return warning('learning', { subject: name, found: 'the bridge learns from the tunnel', remedy });
  }
  return ok('learning', name, 'off');
}

function checkNeighSuppress({ name, bridgePort }: Link): Check {
  if (bridgePort?.neighSuppress) return ok('neigh-suppress', name, 'on');
  const remedy = `bridge link set dev ${name} neigh_suppress on`;
  return warning('neigh-suppress', { subject: name, found: 'off', remedy });
}

/** A bridge without an address of its own takes the lowest of its ports' (br_stp_recalculate_bridge_id). */
function checkMac(bridge: Bridge, { observed, devices }: Findings): Check {
  const subject = bridge.desired.name;
  const mac = observed.links.get(bridge.ifIndex)?.mac;
  const members = [...observed.links.values()].filter(({ master }) => master === bridge.ifIndex);
  const isPinned =
    devices.get(bridge.ifIndex)?.macPinned ??
    !members.some((member) => mac !== undefined && member.mac === mac);
  if (isPinned) return ok('bridge-mac', subject, mac ?? 'none');
  const found = `${mac ?? 'its MAC'} is that of a port`;
  return warning('bridge-mac', { subject, found, remedy: `ip link set ${subject} address ${mac ?? 'MAC'}` });
}

/** Off is a failure where hosts of that device speak IPv6. The device of a VLAN without hosts may well have none. */
function checkIpv6(bridge: Bridge, { devices, plan }: Findings): Check[] {
  const learnsIpv6 = bridge.desired.learn.some((kind) => kind === 'na' || kind === 'ns');
  if (!learnsIpv6) return [];
  return [...bridge.domains.values()].map(({ device, deviceName }) => {
    if (!devices.get(device)?.disableIpv6) return ok('ipv6', deviceName, 'on');
    const isNeeded = plan.decisions.some(
      (verdict) => verdict.device === deviceName && verdict.ip.includes(':'),
    );
    const complaint = {
      subject: deviceName,
      found: 'disable_ipv6 is 1',
      remedy: `sysctl -w net.ipv6.conf.${sysctlName(deviceName)}.disable_ipv6=0, or learn [arp] alone`,
    };
    return isNeeded ? failure('ipv6', complaint) : warning('ipv6', complaint);
  });
}

/** sysctl(8) takes a slash for a dot within a name. */
function sysctlName(device: string): string {
  return device.replaceAll('.', '/');
}

function checkAgeing(bridge: Bridge, { observed }: Findings): Check {
  const subject = bridge.desired.name;
  const ageingMs = observed.links.get(bridge.ifIndex)?.bridge?.ageingTimeMs ?? 0;
  const { maxAgeMs } = bridge.desired;
  const found = `the bridge forgets a MAC after ${ageingMs / 1000} s, max_age is ${maxAgeMs === null ? 'never' : `${maxAgeMs / 1000} s`}`;
  if (ageingMs === 0) {
    const remedy = `ip link set ${subject} type bridge ageing_time 30000`;
    return failure('ageing', { subject, found, remedy });
  }
  if (maxAgeMs !== null && maxAgeMs < ageingMs) {
    const remedy = `raise max_age above ${ageingMs / 1000}s, or: ip link set ${subject} type bridge ageing_time ${maxAgeMs / 10}`;
    return warning('ageing', { subject, found, remedy });
  }
  return ok('ageing', subject, found);
}

/** The links of a bridge's tunnel ports. */
export function tunnelLinks(bridge: Bridge, links: ReadonlyMap<IfIndex, Link>): Link[] {
  return [...bridge.tunnelPorts].flatMap((ifIndex) => links.get(ifIndex) ?? []);
}

// The warnings of a run. Pure.

import type { Mac } from '../base/address.ts';
import { distinct } from '../base/group.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import type { Neighbor } from '../netlink/neighbor.ts';
import { countByPort, limitedSince, NEARLY_FULL } from './binding-counts.ts';
import type { Configuration } from './desired.ts';
import { findUnnamed } from './entries.ts';
import type { HostPlan } from './neighbors/plan.ts';
import { hasLostPins, type Observed, type ObservedHosts } from './observed.ts';
import type { Scope } from './plan.ts';
import type { Topology } from './topology.ts';
import type { Warning } from './warning.ts';

/** Warnings about the state before the first step. */
export function warningsOfState(
  configuration: Configuration,
  observed: Observed,
  { whole }: Scope,
): Warning[] {
  const warnings: Warning[] = [];
  if (configuration.entries.length === 0) {
    warnings.push({ kind: 'no-bridge', isSetUp: observed.datapath.loadReason !== 'absent' });
  }
  const unnamed = whole ? findUnnamed(configuration, observed.links) : [];
  if (unnamed.length > 0) warnings.push({ kind: 'unnamed', bridges: unnamed });
  if (hasLostPins(observed)) warnings.push({ kind: 'lost-pins' });
  const ports = portsOfOthers(observed);
  if (ports.length > 0) {
    const { bpffs, pinDir } = configuration.runtime;
    warnings.push({ kind: 'other-program', ports, directory: `${bpffs}/${pinDir}` });
  }
  return warnings;
}

/** Ports with a program of ours other than the pinned one, although the pins are complete. */
function portsOfOthers({ attachments, datapath, links }: Observed): string[] {
  if (datapath.loadReason !== null) return [];
  return [...attachments].flatMap(([ifIndex, { filterProgramId, strays }]) =>
    (filterProgramId === null || filterProgramId === datapath.programId) && strays.length === 0
      ? []
      : [links.get(ifIndex)?.name ?? String(ifIndex)],
  );
}

/** Warnings from the ring's records and from the decisions. `damaged`: records of the ring were skipped. */
export function warningsOf(hosts: HostPlan, changes: readonly Change[], damaged: boolean): Warning[] {
  const warnings: Warning[] = damaged ? [{ kind: 'damaged-ring' }] : [];
  const freezes = new Map<string, Set<Mac>>();
  for (const change of changes) {
    if (change.kind !== 'duplicate') continue;
    const id = bindingId(change);
    freezes.set(id, new Set([...(freezes.get(id) ?? []), change.mac, change.oldMac]));
  }
  for (const { state, ip, bridge, vlan, candidate, moved } of hosts.decisions) {
    if (state !== 'frozen') continue;
    const macs = [...(freezes.get(bindingId(candidate)) ?? macsOf(moved, candidate.entry))];
    warnings.push({ kind: 'duplicate', ip, bridge, vlan, macs });
  }
  for (const full of hosts.fullPorts) warnings.push({ kind: 'full-port', ...full });
  return warnings;
}

/** The MACs of an address that was frozen because this node and another one took it from each other. */
function macsOf(moved: Binding | null, entry: Neighbor | undefined): Mac[] {
  return moved === null || entry?.mac === undefined ? [] : [moved.mac, entry.mac];
}

/** How many ports a warning names. */
const NAMED_PORTS = 3;

/** A warning when limits have cost something since the last run, with the ports that they cost most. */
export function warningsOfLimits(
  { datapath }: Pick<Observed, 'datapath'>,
  { portStates }: Pick<ObservedHosts, 'portStates'>,
  topology: Topology,
): Warning[] {
  const ports = topology.bridges
    .flatMap((bridge) => bridge.ports)
    .map(({ ifIndex, name }) => {
      const count = limitedSince(datapath.ports.get(ifIndex), portStates.get(ifIndex));
      return { name, count };
    })
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
  return ports.length === 0 ? [] : [{ kind: 'limited', ports: ports.slice(0, NAMED_PORTS) }];
}

/** A warning when the table is nearly full: a full table keeps every port from learning, whichever port filled it. */
export function warningsOfTable(
  bindings: readonly Binding[],
  maxBindings: number,
  topology: Topology,
): Warning[] {
  if (bindings.length < NEARLY_FULL * maxBindings) return [];
  const names = new Map(
    topology.bridges.flatMap(({ ports }) => ports).map((port) => [port.ifIndex, port.name]),
  );
  const ports = [...countByPort(bindings)]
    .sort(([, a], [, b]) => b - a)
    .slice(0, NAMED_PORTS)
    .map(([port, count]) => ({ name: names.get(port) ?? String(port), count }));
  return [{ kind: 'full-table', count: bindings.length, max: maxBindings, ports }];
}

/** The warnings of several passes, each once, in their order: that of a full port as the last pass has it. */
export function distinctWarnings(warnings: readonly Warning[]): Warning[] {
  return distinct(warnings, (warning) =>
    warning.kind === 'full-port' ? `${warning.kind} ${warning.port}` : JSON.stringify(warning),
  );
}

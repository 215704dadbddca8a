// What a run warns of. Pure.

import type { Mac } from '../base/address.ts';
import type { Binding } from '../datapath/records/binding.ts';
import { bindingId } from '../datapath/records/binding-key.ts';
import type { Change } from '../datapath/records/change.ts';
import { countByPort, NEARLY_FULL } from './binding-counts.ts';
import type { Desired } from './desired.ts';
import type { HostPlan } from './neighbors/plan.ts';
import { hasLostPins, type Observed } from './observed.ts';
import type { Topology } from './topology.ts';
import type { Warning } from './warning.ts';

/** What is to be seen before anything is done. */
export function warningsOfState(desired: Desired, observed: Observed): Warning[] {
  const warnings: Warning[] = [];
  if (desired.bridges.length === 0) {
    warnings.push({ kind: 'no-bridge', isSetUp: observed.datapath.loadReason !== 'absent' });
  }
  if (hasLostPins(observed)) warnings.push({ kind: 'lost-pins' });
  const ports = portsOfOthers(observed);
  if (ports.length > 0) {
    const { bpffs, pinDir } = desired.runtime;
    warnings.push({ kind: 'other-program', ports, directory: `${bpffs}/${pinDir}` });
  }
  return warnings;
}

/** Ports with a filter of ours whose program is not the one that is pinned, though that one is complete. */
function portsOfOthers({ attachments, datapath, links }: Observed): string[] {
  if (datapath.loadReason !== null) return [];
  return [...attachments].flatMap(([ifIndex, { filterProgramId }]) =>
    filterProgramId === null || filterProgramId === datapath.programId
      ? []
      : [links.get(ifIndex)?.name ?? String(ifIndex)],
  );
}

/** What the records of the ring and the decisions show. `damaged`: records of the ring were skipped. */
export function warningsOf(hosts: HostPlan, changes: readonly Change[], damaged: boolean): Warning[] {
  const warnings: Warning[] = damaged ? [{ kind: 'damaged-ring' }] : [];
  const freezes = new Map<string, Set<Mac>>();
  for (const change of changes) {
    if (change.kind !== 'duplicate') continue;
    const id = bindingId(change);
    freezes.set(id, new Set([...(freezes.get(id) ?? []), change.mac, change.oldMac]));
  }
  for (const { state, ip, bridge, vlan, claim } of hosts.decisions) {
    if (state !== 'frozen') continue;
    const macs = [...(freezes.get(bindingId(claim)) ?? [])];
    warnings.push({ kind: 'duplicate', ip, bridge, vlan, macs });
  }
  for (const { port, limit } of hosts.fullPorts) warnings.push({ kind: 'full-port', port, limit });
  return warnings;
}

/** How many ports a warning names. */
const NAMED_PORTS = 3;

/** That the table is full, or soon will be: then no port learns, whichever filled it. */
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

// A warning -> its words: what is so, what it means, what to do.

import { some } from '../base/text.ts';
import { describeWeakness } from '../base/trust.ts';
import { addEntries } from '../core/doctor/wording-entries.ts';
import type { HostAddress, Warning } from '../core/warning.ts';

/** One line. */
export function formatWarning(warning: Warning): string {
  switch (warning.kind) {
    case 'no-bridge':
      return warning.isSetUp
        ? 'The configuration names no bridge: what earlier runs set up is removed; to keep it, name the bridges under "bridges"'
        : 'The configuration names no bridge: nothing is learned; name the bridges under "bridges"';
    case 'unnamed': {
      const { bridges } = warning;
      const [names, have, it] = bridges.length === 1 ? ['Bridge', 'has', 'it'] : ['Bridges', 'have', 'them'];
      return (
        `${names} ${some(bridges.map((name) => `"${name}"`))} ${have} a tunnel port, but the configuration does not name ` +
        `${it}: nothing is learned there; ${addEntries(bridges)}`
      );
    }
    case 'lost-pins':
      return (
        'Programs of snoopy are attached, but nothing is pinned here: the pins were lost, or this run looks in another ' +
        'place; if it runs in a network namespace, use nsenter --net (ip netns exec hides bpffs), and the ' +
        'runtime.pin_dir of the other runs'
      );
    case 'other-program':
      return (
        `Ports ${list(warning.ports)} had a snoopy program other than the one pinned in "${warning.directory}": an ` +
        'upgrade was interrupted, or runs with another runtime.pin_dir use the same ports; use one runtime.pin_dir for ' +
        'each network namespace'
      );
    case 'recovered':
      return warning.count === 1
        ? '1 neighbor from an earlier run had no pinned binding: its host is treated as just seen'
        : `${warning.count} neighbors from an earlier run had no pinned binding: their hosts are treated as just seen`;
    case 'damaged-ring':
      return 'The ring of changes was damaged: its records were skipped; no binding is lost';
    case 'duplicate':
      return (
        `Duplicate address ${where(warning)}: ${warning.macs.join(' and ') || 'two MACs'} claim it in turn, so it is ` +
        `frozen until its hold time ends; find the two hosts, then: snoopy reconcile --unfreeze ${warning.ip}`
      );
    case 'limited': {
      const ports = warning.ports.map(({ name, count }) => `"${name}" (${count})`).join(', ');
      return (
        `Limits have rejected messages on ${ports} since the last run: hosts above the rate are probed by the next runs, ` +
        'hosts above the number are not learned; raise limits.new_bindings_per_second or limits.bindings_per_port if ' +
        'they belong there'
      );
    }
    case 'full-port': {
      const { port, count, limit } = warning;
      const relation = count > limit ? `above its limit of ${limit}` : 'its limit';
      return `Port "${port}" has ${count} bindings, ${relation}: it learns no further address; see limits.bindings_per_port`;
    }
    case 'full-table': {
      const most = warning.ports.map(({ name, count }) => `"${name}" (${count})`).join(', ');
      return (
        `The table has ${warning.count} of ${warning.max} bindings, most of them on ${most}: when it is full, no port ` +
        'learns a new host; see runtime.max_bindings and limits.bindings_per_port'
      );
    }
    case 'kept': {
      const from = warning.claimantPort === null ? '' : ` on port "${warning.claimantPort}"`;
      return (
        `${warning.claimant}${from} claims ${where(warning)}: its owner ${warning.owner} on port ` +
        `"${warning.ownerPort}" still answers and keeps it; find out why both have this address`
      );
    }
    case 'unverified':
      return `zebra did not answer, so what was written is not verified: ${warning.message}; a later run verifies it`;
    case 'unprobed':
      return warning.count === 1
        ? '1 address is claimed by another MAC: its owner could not be probed and keeps it; the next run probes again'
        : `${warning.count} addresses are claimed by other MACs: their owners could not be probed and keep them; the next run probes again`;
    case 'not-frozen':
      return `Address ${warning.ip} is not frozen on any bridge: --unfreeze did nothing for it`;
    case 'untrusted-config':
      return `A run will refuse the configuration "${warning.path}": ${describeWeakness(warning.weakness)}; ${warning.weakness.fix}`;
    default:
      return warning satisfies never;
  }
}

function where({ ip, bridge, vlan }: HostAddress): string {
  return `${ip} on "${bridge}"${vlan === 0 ? '' : ` VLAN ${vlan}`}`;
}

function list(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(', ');
}

// A commented configuration to begin with, for the bridges of a node. Pure.

import { entryLine, type TunnelBridge } from '../core/entries.ts';
import { escapeGlob } from '../core/glob.ts';
import type { Link } from '../netlink/link.ts';

const HEAD = `\
# Configuration of snoopy(8). snoopy.yaml(5) describes every key. Check before you act:
#
#   snoopy validate                           # is the file valid, and what does it expand to?
#   snoopy reconcile --check --diff           # what would a run do?
#   systemctl enable --now snoopy-reconcile.timer
version: 1
`;

const TAIL = `\
# What all bridges share. For example:
# defaults:
#   subnets: auto                # the bridge's own prefixes; any if it has no address
#   max_age: 20m

# metrics:
#   textfile: /var/lib/prometheus/node-exporter/snoopy.prom
`;

/** The text names these bridges. Without any it has a glob, which serves the bridges of EVPN that appear later. */
export function starterConfig(bridges: readonly TunnelBridge[]): string {
  return `${HEAD}\n${bridges.length === 0 ? serveAll() : serve(bridges)}\n${TAIL}`;
}

function serveAll(): string {
  return `\
# No bridge of this node has a tunnel port now. The glob serves every bridge as soon as it has one.
bridges:
  - name: "*"
`;
}

function serve(bridges: readonly TunnelBridge[]): string {
  return `\
# The bridges of this node with a tunnel port. To serve bridges that appear later too, write a glob, such as "br*".
bridges:
${bridges.map(entryOf).join('')}`;
}

function entryOf({ bridge, ports }: TunnelBridge): string {
  const uplinks = ports.filter(isUplink).map(({ name }) => JSON.stringify(escapeGlob(name)));
  const note =
    uplinks.length === 0
      ? ''
      : `    # ports: {exclude: [${uplinks.join(', ')}]}   # if the hosts behind it are not on this node\n`;
  return `  ${entryLine(bridge.name)}\n${note}`;
}

/** True for a port that may lead to other nodes: a physical device (which has no kind), or one on top of it. */
function isUplink({ kind }: Link): boolean {
  return kind === undefined || kind === 'bond' || kind === 'team' || kind === 'vlan';
}

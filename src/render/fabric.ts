// What a node knows of the fabric (`status --all`) -> text, below its report of status.

import { formatAge } from '../base/units.ts';
import type { FabricReport, RemoteGroup } from '../core/fabric-report.ts';
import { alignRows, count, joinLines, paint, printable, type RenderOptions, type Row } from './style.ts';

/** The VNIs, and the addresses of other nodes by next hop. */
export function renderFabric(report: FabricReport | undefined, { color }: RenderOptions): string {
  if (report === undefined) return '';
  const { node, vnis, local, remote } = report;
  const lines = vnis.flatMap(({ vni, vtep, bridge }) => {
    const groups = remote.filter((group) => group.vni === vni);
    const here = local.filter((group) => group.vni === vni).reduce((sum, group) => sum + group.count, 0);
    const there = groups.reduce((sum, group) => sum + group.count, 0);
    const where = [bridge ?? 'no bridge', ...(vtep === null ? [] : [vtep])].map(printable).join(', ');
    return [
      `VNI ${vni} (${where}): ${here} advertised, ${there} of ${count(groups.length, 'next hop')}`,
      ...groups.flatMap((group) => renderGroup(group, color)),
    ];
  });
  return joinLines([`fabric: this node is ${printable(node.name)}`, ...lines]);
}

function renderGroup({ place, count: number, digest, entries = [] }: RemoteGroup, color: boolean): string[] {
  const rows = entries.map(({ ip, mac, age }): Row => ({ tone: 'plain', cells: [ip, mac, formatAge(age)] }));
  return [
    `  from ${printable(place)}: ${count(number, 'address', 'addresses')}${paint(`, digest ${digest}`, 'quiet', color)}`,
    ...alignRows(rows, color).map((line) => `    ${line}`),
  ];
}

// The report of `status` -> text: bridges, their ports, and the hosts by VLAN.

import { formatAge } from '../base/units.ts';
import type { BindingReport, BridgeReport, PortReport, StatusReport } from '../core/report.ts';
import { LOAD_DUE } from '../core/summary.ts';
import {
  alignRows,
  count,
  formatTally,
  joinLines,
  paint,
  printable,
  type RenderOptions,
  type Row,
  type Tone,
} from './style.ts';

/** Length of a MAC as text. */
const MAC_WIDTH = 17;
const MIN_ADDRESS_WIDTH = 15;

/** The report of `status` as text; a line is no longer than the terminal is wide, if names allow. */
export function renderStatus(report: StatusReport, options: RenderOptions): string {
  const lines: string[] = [];
  if (!report.loaded)
    lines.push('Nothing is loaded: no run has been here yet. Start with `snoopy reconcile`.');
  else if (report.reason !== null) lines.push(`Due: ${LOAD_DUE[report.reason]}.`);
  for (const bridge of report.bridges) lines.push(...renderBridge(bridge, report, options));
  if (report.loaded) lines.push(...renderFigures(report));
  const errors = report.errors.map(({ message }): Row => ({ tone: 'bad', cells: ['error', message] }));
  lines.push(...alignRows(errors, options.color));
  return joinLines(lines);
}

function renderBridge(bridge: BridgeReport, report: StatusReport, options: RenderOptions): string[] {
  const name = printable(bridge.name);
  if (!bridge.present) return [`${name}: ${paint('absent', 'notable', options.color)}`];
  const ports = report.ports.filter((port) => port.bridge === bridge.name);
  const bindings = report.bindings.filter((binding) => binding.bridge === bridge.name);
  const summary = [
    count(ports.length, 'port'),
    count(bindings.length, 'host'),
    count(bridge.neighbors, 'neighbor'),
  ].join(', ');
  const lines = [`${name}: ${summary}`, ...renderPorts(ports, options)];
  for (const group of groupByVlan(bindings)) lines.push(...renderVlan(group, options));
  return lines;
}

function renderPorts(ports: readonly PortReport[], options: RenderOptions): string[] {
  const cells = ports.map((port) => [
    port.name,
    port.attached ? 'attached' : 'not attached',
    `${port.bindings} of ${count(port.limit, 'host')}`,
    ...(port.limited === 0 ? [] : [`${port.limited} rejected for its limits`]),
  ]);
  return indent(
    2,
    alignRows(
      cells.map((row): Row => ({ tone: 'plain', cells: row })),
      options.color,
    ),
  );
}

/** The bindings of each VLAN, in order of VLAN and address. */
function groupByVlan(bindings: readonly BindingReport[]): readonly (readonly BindingReport[])[] {
  const groups = new Map<number, BindingReport[]>();
  for (const binding of bindings) {
    const group = groups.get(binding.vlan);
    if (group === undefined) groups.set(binding.vlan, [binding]);
    else group.push(binding);
  }
  return [...groups.entries()].sort(([a], [b]) => a - b).map(([, group]) => group);
}

function renderVlan(bindings: readonly BindingReport[], options: RenderOptions): string[] {
  const [first] = bindings;
  if (first === undefined) return [];
  const domain = first.vlan === 0 ? 'untagged' : `VLAN ${first.vlan}`;
  const device = first.device === null ? ', no device' : ` on ${printable(first.device)}`;
  return [
    `  ${domain}${device}`,
    ...indent(4, renderBindings(bindings, { ...options, width: options.width - 4 })),
  ];
}

function renderBindings(bindings: readonly BindingReport[], options: RenderOptions): string[] {
  const rows = bindings.map((binding) => ({
    ip: binding.ip,
    rest: [binding.mac, printable(binding.port ?? '-'), formatAge(binding.age)],
    state: binding.source === 'static' ? `${binding.state}, static` : binding.state,
    tone: toneOf(binding),
    because: binding.because,
  }));
  const widest = (texts: readonly string[]): number =>
    texts.reduce((most, text) => Math.max(most, text.length), 0);
  const portWidth = widest(rows.map(({ rest }) => rest[1] ?? ''));
  const ageWidth = widest(rows.map(({ rest }) => rest[2] ?? ''));
  const stateWidth = widest(rows.map(({ state }) => state));
  const others = MAC_WIDTH + portWidth + ageWidth + stateWidth + 4 * 2;
  const addressWidth = Math.min(
    widest(rows.map(({ ip }) => ip)),
    Math.max(MIN_ADDRESS_WIDTH, options.width - others),
  );
  const lines: string[] = [];
  for (const { ip, rest, state, tone, because } of rows) {
    const [mac = '', port = '', age = ''] = rest;
    const tail = `${mac}  ${port.padEnd(portWidth)}  ${age.padStart(ageWidth)}  `;
    // An address that is too long for its column has a line to itself.
    const isLong = ip.length > addressWidth;
    if (isLong) lines.push(ip);
    lines.push(`${(isLong ? '' : ip).padEnd(addressWidth)}  ${tail}${paint(state, tone, options.color)}`);
    if (because !== '') lines.push(`  ${paint(printable(because), 'quiet', options.color)}`);
  }
  return lines;
}

function toneOf({ state }: BindingReport): Tone {
  switch (state) {
    case 'installed':
      return 'good';
    case 'waiting':
    case 'remote':
      return 'plain';
    case 'frozen':
    case 'homeless':
      return 'bad';
    default:
      return state satisfies never;
  }
}

function renderFigures({ ring, counters }: StatusReport): string[] {
  const { sightings, created, moved, duplicates, ignored, rejected } = counters;
  const pending = ring.pending ? ', changes not read yet' : '';
  return [
    `seen: ${count(sightings, 'sighting')}, ${created} new, ${moved} moved, ${duplicates} frozen, ${ignored} ignored`,
    `rejected: ${formatTally(rejected)}`,
    `ring: ${ring.dropped} dropped${pending}`,
  ];
}

function indent(spaces: number, lines: readonly string[]): string[] {
  return lines.map((line) => ' '.repeat(spaces) + line);
}

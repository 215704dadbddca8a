// The report of `status` -> text: bridges, their ports, and the hosts by VLAN.

import { encodeIp, type IpAddress } from '../base/address.ts';
import { formatProblem } from '../base/errors.ts';
import { groupBy } from '../base/group.ts';
import { formatAge } from '../base/units.ts';
import { EVERYTHING, formatFilter, type HostFilter } from '../core/filter.ts';
import { describeLoadDue, LOAD_REASONS } from '../core/load-reasons.ts';
import type { BindingReport, BridgeReport, PortReport, StatusReport } from '../core/report.ts';
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
  wrap,
} from './style.ts';

/** Length of a MAC as text. */
const MAC_WIDTH = 17;
/** Indent of a host, in columns. */
const HOST_INDENT = 4;
const NOT_LOADED = `Nothing is loaded: ${LOAD_REASONS.absent.effect}. Go on with \`snoopy reconcile\`.`;

/** The report of `status` as text. Lines fit the width of the terminal, as far as names allow. */
export function renderStatus(
  report: StatusReport,
  options: RenderOptions,
  filter: HostFilter = EVERYTHING,
): string {
  const lines: string[] = [];
  if (!report.loaded) lines.push(...wrap(NOT_LOADED, options.width));
  else if (report.reason !== null)
    lines.push(...wrap(`Due: ${describeLoadDue(report.reason)}.`, options.width));
  const columns = columnsOf(report.bindings, options.width - HOST_INDENT);
  const ports = groupBy(report.ports, ({ bridge }) => bridge);
  const bindings = groupBy(report.bindings, ({ bridge }) => bridge);
  for (const bridge of report.bridges) {
    const own = { ports: ports.get(bridge.name) ?? [], bindings: bindings.get(bridge.name) ?? [] };
    lines.push(...renderBridge(bridge, own, columns, options));
  }
  const nothing = renderNothing(report, filter);
  if (nothing !== null) lines.push(nothing);
  // The figures are for the whole node, so they do not fit a filter.
  if (report.loaded && formatFilter(filter) === '') lines.push(...renderFigures(report, options));
  if (report.frr.state === 'silent') {
    const message = wrap(`FRR: ${printable(report.frr.message)}`, options.width);
    lines.push(...message.map((line) => paint(line, 'notable', options.color)));
  }
  const errors = report.errors.map((error): Row => ({ tone: 'bad', cells: ['error', formatProblem(error)] }));
  lines.push(...alignRows(errors, options.color));
  return joinLines(lines);
}

/** A line for a filter that nothing matches; null when something does, or without a filter. */
export function renderNothing({ bridges }: StatusReport, filter: HostFilter): string | null {
  const words = formatFilter(filter);
  return bridges.length > 0 || words === '' ? null : `Nothing matches ${printable(words)}.`;
}

function renderBridge(
  bridge: BridgeReport,
  { ports, bindings }: { readonly ports: readonly PortReport[]; readonly bindings: readonly BindingReport[] },
  columns: Columns,
  options: RenderOptions,
): string[] {
  const name = printable(bridge.name);
  if (!bridge.present) return [`${name}: ${paint('absent', 'notable', options.color)}`];
  const hasRoutes = bindings.some(({ advertised }) => advertised !== null);
  const summary = [
    count(ports.length, 'port'),
    count(bindings.length, 'host'),
    count(bridge.neighbors, 'neighbor'),
    ...(hasRoutes ? [`${bindings.filter(({ advertised }) => advertised).length} advertised`] : []),
  ].join(', ');
  const vlans = [...groupBy(bindings, ({ vlan }) => vlan)].sort(([a], [b]) => a - b);
  return [
    `${name}: ${summary}`,
    ...renderPorts(ports, options),
    ...vlans.flatMap(([vlan, hosts]) => [headOf(vlan, hosts), ...renderHosts(hosts, columns, options)]),
  ];
}

function renderPorts(ports: readonly PortReport[], options: RenderOptions): string[] {
  const cells = ports.map((port) => [
    port.name,
    port.attached ? 'attached' : 'not attached',
    `${port.bindings} of ${count(port.limit, 'host')}`,
    ...(port.limited === 0
      ? []
      : [
          `${port.limited} rejected for its limits${port.limitedSince === 0 ? '' : ` (${port.limitedSince} new)`}`,
        ]),
  ]);
  return indent(
    2,
    alignRows(
      cells.map((row): Row => ({ tone: 'plain', cells: row })),
      options.color,
    ),
  );
}

function headOf(vlan: number, hosts: readonly BindingReport[]): string {
  const device = hosts[0]?.device ?? null;
  return `  ${vlan === 0 ? 'untagged' : `VLAN ${vlan}`}${device === null ? ', no device' : ` on ${printable(device)}`}`;
}

/** Column widths, the same for the hosts of all bridges and VLANs. That of a MAC is constant. */
interface Columns {
  readonly address: number;
  readonly port: number;
  readonly age: number;
  readonly state: number;
  /** 0: FRR was not queried. */
  readonly route: number;
  /** Width of a line. */
  readonly width: number;
}

/** An address too long for the space that the other columns leave gets a line of its own. */
function columnsOf(bindings: readonly BindingReport[], width: number): Columns {
  const widest = (textOf: (binding: BindingReport) => string): number =>
    bindings.reduce((most, binding) => Math.max(most, textOf(binding).length), 0);
  const [port, age, state, route] = [portOf, ageOf, stateOf, routeOf].map(widest);
  const others = { port: port ?? 0, age: age ?? 0, state: state ?? 0, route: route ?? 0 };
  const taken = [MAC_WIDTH, ...Object.values(others)].reduce((sum, column) => sum + column + 2, 0);
  const address = Math.min(
    widest(({ ip }) => ip),
    Math.max(0, width - taken + (others.route === 0 ? 2 : 0)),
  );
  return { address, ...others, width };
}

function portOf({ port }: BindingReport): string {
  return printable(port ?? '-');
}

function ageOf({ age }: BindingReport): string {
  return formatAge(age);
}

function stateOf({ state, source }: BindingReport): string {
  // The report's `homeless` is older than the term.
  const term = state === 'homeless' ? 'no-device' : state;
  return source === 'static' ? `${term}, static` : term;
}

/** Empty for a host without a neighbor: its state is enough. */
function routeOf({ state, advertised }: BindingReport): string {
  if (advertised === true) return 'advertised';
  return advertised === false && state === 'installed' ? 'not advertised' : '';
}

function renderHosts(
  bindings: readonly BindingReport[],
  columns: Columns,
  { color }: RenderOptions,
): string[] {
  const lines: string[] = [];
  for (const binding of inOrder(bindings)) {
    const { ip, mac, advertised, because, hindrance } = binding;
    const isLong = ip.length > columns.address;
    if (isLong) lines.push(ip);
    const head = [
      (isLong ? '' : ip).padEnd(columns.address),
      mac,
      portOf(binding).padEnd(columns.port),
      ageOf(binding).padStart(columns.age),
      '',
    ].join('  ');
    const state = stateOf(binding);
    const route = routeOf(binding);
    const gap = route === '' ? '' : ' '.repeat(columns.state - state.length + 2);
    const toned = `${paint(state, toneOf(binding), color)}${gap}${paint(route, advertised === true ? 'good' : 'notable', color)}`;
    const note = [because, hindrance].filter((text) => text !== '').join('; ');
    const length = head.length + columns.state + (columns.route === 0 ? 0 : 2 + columns.route);
    if (note !== '' && length + 2 + note.length <= columns.width) {
      const padding = ' '.repeat(length + 2 - head.length - state.length - gap.length - route.length);
      lines.push(`${head}${toned}${padding}${paint(printable(note), 'quiet', color)}`);
    } else {
      const below = wrap(printable(note), columns.width - 2);
      lines.push(`${head}${toned}`, ...below.map((line) => `  ${paint(line, 'quiet', color)}`));
    }
  }
  return indent(HOST_INDENT, lines);
}

/** IPv4 before IPv6, each by value. */
function inOrder(bindings: readonly BindingReport[]): readonly BindingReport[] {
  const keyOf = (ip: IpAddress): string =>
    (ip.includes(':') ? '6' : '4') + Buffer.from(encodeIp(ip)).toString('hex');
  return bindings
    .map((binding) => ({ binding, key: keyOf(binding.ip) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ binding }) => binding);
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

function renderFigures({ ring, counters, hints }: StatusReport, { width }: RenderOptions): string[] {
  const { sightings, created, moved, duplicates, ignored, rejected } = counters;
  const pending = ring.pending ? ', changes not read yet' : '';
  return [
    `seen: ${count(sightings, 'sighting')}, ${created} new, ${moved} moved, ${duplicates} frozen, ${ignored} ignored, ${count(counters.hints, 'hint')}`,
    `rejected: ${formatTally(rejected)}`,
    `hints kept: ${formatTally(hints)}`,
    `ring: ${ring.dropped} dropped${pending}`,
  ].flatMap((line) => wrap(line, width));
}

function indent(spaces: number, lines: readonly string[]): string[] {
  return lines.map((line) => ' '.repeat(spaces) + line);
}

// The result of a run and the state after it -> the text format of Prometheus.

import type { NeighborCount, Outcome, RunReport, StatusReport } from '../core/report.ts';

export interface Metrics {
  readonly version: string;
  /** Seconds since the epoch, like all times here. */
  readonly writtenAt: number;
  /** 0: never, as far as is known. */
  readonly succeededAt: number;
  readonly run: RunReport;
  /** The state after the run; null when it could not be read. */
  readonly stock: Stock | null;
}

export interface Stock {
  readonly status: StatusReport;
  readonly neighbors: readonly NeighborCount[];
  readonly maxBindings: number;
  readonly ringBytes: number;
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

const BINDING_STATES = ['installed', 'waiting', 'remote', 'frozen', 'homeless'] as const;
const CHANGE_KINDS = ['add', 'replace', 'remove'] as const;

/** The textfile: every family with its help and type, always in the same order. */
export function renderMetrics({ version, writtenAt, succeededAt, run, stock }: Metrics): string {
  const families = [
    gauge('snoopy_build_info', 'Version of snoopy.', [[{ version }, 1]]),
    gauge(
      'snoopy_last_run_timestamp_seconds',
      'When this file was written, by a run of all bridges.',
      writtenAt,
    ),
    gauge(
      'snoopy_last_success_timestamp_seconds',
      'When a run of all bridges last succeeded; 0: not known.',
      succeededAt,
    ),
    gauge('snoopy_last_run_success', 'Whether the last run of all bridges succeeded.', Number(run.ok)),
    ...runFamilies(run),
    ...(stock === null ? [] : stockFamilies(stock)),
  ];
  return families.join('');
}

function runFamilies(run: RunReport): string[] {
  const { durations, errors, warnings, remaining, steps, neighbors, probes, announcements, hints, ring } =
    run;
  const outcomes = [...(steps ?? []), ...(neighbors?.changes ?? [])].map(({ outcome }) => outcome);
  const codes = [...errors.map(({ code }) => code), ...outcomes.flatMap(failureCode)].sort();
  const changes = neighbors?.changes.filter(({ outcome }) => outcome.kind === 'applied');
  return [
    gauge(
      'snoopy_last_run_duration_seconds',
      'Time of the last run of all bridges by what it was spent on.',
      Object.entries(durations).map(([phase, seconds]) => [{ phase }, seconds]),
    ),
    gauge(
      'snoopy_last_run_errors',
      'Errors of the last run of all bridges by code.',
      [...new Set(codes)].map((code) => [{ code }, codes.filter((other) => other === code).length]),
    ),
    gauge('snoopy_last_run_warnings', 'Warnings of the last run of all bridges.', warnings?.length),
    gauge('snoopy_last_run_steps', 'Steps of the last run of all bridges on the data path.', steps?.length),
    gauge(
      'snoopy_last_run_remaining_actions',
      'Steps still due after the last run of all bridges.',
      remaining?.length,
    ),
    gauge(
      'snoopy_last_run_neighbor_changes',
      'Neighbors that the last run of all bridges wrote or removed.',
      changes && CHANGE_KINDS.map((kind) => [{ kind }, changes.filter((one) => one.kind === kind).length]),
    ),
    gauge('snoopy_last_run_probes', 'Silent hosts that the last run of all bridges probed.', probes?.sent),
    gauge(
      'snoopy_last_run_hints',
      'Hints: hosts that the last run of all bridges probed, and learned.',
      hints && [
        [{ outcome: 'probed' }, hints.probed],
        [{ outcome: 'learned' }, hints.learned],
      ],
    ),
    gauge(
      'snoopy_last_run_announcements',
      'Addresses that the last run of all bridges announced to the hosts here.',
      announcements?.sent,
    ),
    gauge('snoopy_last_run_ring_records', 'Changes that the last run of all bridges read.', ring?.records),
  ];
}

function failureCode(outcome: Outcome): string[] {
  return outcome.kind === 'failed' ? [outcome.code] : [];
}

function stockFamilies({ status, neighbors, maxBindings, ringBytes }: Stock): string[] {
  const { bridges, ports, bindings, hints, counters, ring } = status;
  const byBridge = (count: (bridge: string) => number): Sample[] =>
    bridges.map(({ name }) => [{ bridge: name }, count(name)]);
  const portsBy = (isMeant: (port: StatusReport['ports'][number]) => boolean): Sample[] =>
    byBridge((bridge) => ports.filter((port) => port.bridge === bridge && isMeant(port)).length);
  const tally = new Map<string, number>();
  for (const { bridge, state } of bindings) {
    const id = `${state} ${bridge}`;
    tally.set(id, (tally.get(id) ?? 0) + 1);
  }
  return [
    gauge(
      'snoopy_bridge_present',
      'Whether a configured bridge is there.',
      bridges.map(({ name, present }) => [{ bridge: name }, Number(present)]),
    ),
    gauge(
      'snoopy_ports',
      'Ports that are learned from.',
      portsBy(() => true),
    ),
    gauge(
      'snoopy_ports_attached',
      'Ports with the program attached.',
      portsBy(({ attached }) => attached),
    ),
    gauge(
      'snoopy_ports_full',
      'Ports with as many bindings as they may have.',
      portsBy((port) => port.limit > 0 && port.bindings >= port.limit),
    ),
    gauge(
      'snoopy_bindings',
      'Addresses of hosts, learned and static, by what became of them.',
      bridges.flatMap(({ name }) =>
        BINDING_STATES.map((state): Sample => [{ bridge: name, state }, tally.get(`${state} ${name}`) ?? 0]),
      ),
    ),
    gauge('snoopy_bindings_limit', 'Bindings that the table has room for.', maxBindings),
    gauge(
      'snoopy_neighbors',
      'Neighbors in the kernel that are written by snoopy, by state.',
      neighbors.map(({ bridge, state, count }) => [{ bridge, state }, count]),
    ),
    gauge(
      'snoopy_hints',
      'Addresses that something suggests are here, by what does.',
      Object.entries(hints).map(([kind, number]) => [{ kind }, number]),
    ),
    gauge('snoopy_ring_size_bytes', 'Size of the ring of changes.', ringBytes),
    gauge('snoopy_ring_pending', 'Whether changes wait to be read.', Number(ring.pending)),
    counter('snoopy_ring_dropped_total', 'Changes lost to a full ring.', ring.dropped),
    counter('snoopy_sightings_total', 'Messages accepted.', counters.sightings),
    counter('snoopy_ignored_total', 'Messages that are not learned from.', counters.ignored),
    counter('snoopy_hints_total', 'Messages that only suggest that a host is here.', counters.hints),
    counter(
      'snoopy_rejected_total',
      'Messages rejected, by reason.',
      Object.entries(counters.rejected).map(([reason, value]) => [{ reason }, value]),
    ),
    counter('snoopy_bindings_created_total', 'Addresses seen for the first time.', counters.created),
    counter('snoopy_bindings_moved_total', 'Addresses seen with another MAC or port.', counters.moved),
    counter('snoopy_duplicates_total', 'Addresses frozen as duplicates.', counters.duplicates),
  ];
}

export function gauge(name: string, help: string, value: readonly Sample[] | number | undefined): string {
  return family(name, 'gauge', help, value);
}

function counter(name: string, help: string, value: readonly Sample[] | number | undefined): string {
  return family(name, 'counter', help, value);
}

/** Nothing for a family without a sample. */
function family(
  name: string,
  type: string,
  help: string,
  value: readonly Sample[] | number | undefined,
): string {
  const samples: readonly Sample[] = typeof value === 'number' ? [[{}, value]] : (value ?? []);
  if (samples.length === 0) return '';
  const lines = samples.map(([labels, number]) => `${name}${formatLabels(labels)} ${number}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** Escapes what the text format requires: backslash, quote and end of line. */
function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

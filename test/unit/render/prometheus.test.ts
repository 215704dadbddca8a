// The textfile: its text, and what must never be in it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APPLIED } from '../../../src/core/report.ts';
import { type Metrics, renderMetrics, type Stock } from '../../../src/render/prometheus.ts';
import { assertGolden } from '../golden.ts';
import { busy, ip, NOT_LOADED, QUIET, STATUS, TROUBLED } from './reports.ts';

const STOCK: Stock = {
  status: STATUS,
  neighbors: [
    { bridge: 'vmbr0', state: 'noarp', count: 12 },
    { bridge: 'vmbr0', state: 'stale', count: 0 },
  ],
  maxBindings: 65_536,
  ringBytes: 1_048_576,
};

const METRICS: Metrics = {
  version: '1.2.3',
  writtenAt: 1_700_000_060.25,
  succeededAt: 1_700_000_060.25,
  run: busy(APPLIED, false),
  stock: STOCK,
};

/** The value of a series; undefined where the series is missing. */
function metricOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

test('the textfile of a run', () => {
  assertGolden('test/unit/render/snapshots/metrics.prom', renderMetrics(METRICS));
});

test('the textfile of a failed run, and of a run that broke off', () => {
  const failed = renderMetrics({ ...METRICS, run: TROUBLED, succeededAt: 1_700_000_000 });
  assert.equal(metricOf(failed, 'snoopy_last_run_success'), 0);
  assert.equal(metricOf(failed, 'snoopy_last_success_timestamp_seconds'), 1_700_000_000);
  assert.equal(metricOf(failed, 'snoopy_last_run_errors{code="bridge_missing"}'), 1);
  assert.equal(metricOf(failed, 'snoopy_last_run_errors{code="attach_failed"}'), 2);
  assert.equal(metricOf(failed, 'snoopy_last_run_remaining_actions'), 2);
  assert.equal(metricOf(failed, 'snoopy_last_run_neighbor_changes{kind="add"}'), 0, 'it was skipped');

  const errors = [
    { code: 'netlink_failed', object: 'x', operation: 'read x', cause: 'EIO', fix: 'run again' },
  ] as const;
  const run = { ok: false, errors, durations: QUIET.durations };
  const brokenOff = renderMetrics({ ...METRICS, run, succeededAt: 0, stock: null });
  assertGolden('test/unit/render/snapshots/metrics-broken-off.prom', brokenOff);
});

test('a name is escaped, and cannot add lines', () => {
  const name = 'a"b\\c\nsnoopy_last_run_success 1';
  const bridges = STATUS.bridges.map((bridge) => ({ ...bridge, name }));
  const text = renderMetrics({ ...METRICS, stock: { ...STOCK, status: { ...STATUS, bridges } } });
  assert.ok(text.includes('snoopy_bridge_present{bridge="a\\"b\\\\c\\nsnoopy_last_run_success 1"} 1\n'));
  assert.equal(text.match(/^snoopy_last_run_success /gm)?.length, 1);
});

test('the number of series does not grow with hosts and ports', () => {
  const [binding] = STATUS.bindings;
  const [port] = STATUS.ports;
  assert.ok(binding !== undefined && port !== undefined);
  const bindings = Array.from({ length: 500 }, (_, n) => ({
    ...binding,
    ip: ip(`10.0.${n >> 8}.${n & 255}`),
  }));
  const ports = Array.from({ length: 500 }, (_, n) => ({ ...port, name: `tap${n}` }));
  const many = { ...STOCK, status: { ...STATUS, bindings, ports } };
  const text = renderMetrics({ ...METRICS, stock: many });
  assert.equal(text.split('\n').length, renderMetrics(METRICS).split('\n').length);
  assert.equal(metricOf(text, 'snoopy_bindings{bridge="vmbr0",state="installed"}'), 500);
  assert.equal(metricOf(text, 'snoopy_ports{bridge="vmbr0"}'), 500);
});

test('every family is present when nothing is pinned', () => {
  const names = (text: string): string[] => text.match(/^# TYPE .*$/gm) ?? [];
  const text = renderMetrics({ ...METRICS, stock: { ...STOCK, status: NOT_LOADED } });
  assert.deepEqual(names(text), names(renderMetrics(METRICS)));
});

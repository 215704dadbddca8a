// The report of the audit as text and for Prometheus.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type AuditReport, audit } from '../../../src/core/audit/audit.ts';
import { Collection } from '../../../src/core/audit/collection.ts';
import { readDocument } from '../../../src/core/audit/document.ts';
import { FINDING_IDS } from '../../../src/core/audit/wording.ts';
import { renderAudit } from '../../../src/render/audit.ts';
import { renderAuditMetrics } from '../../../src/render/audit-metrics.ts';
import { renderJson } from '../../../src/render/json.ts';
import { FabricModel, type ModelOptions, START } from '../../lib/fabric-model.ts';
import { assertGolden, ROOT } from '../golden.ts';

const OPTIONS = { color: false, diff: false, verbose: false, width: 80 };
const FABRIC: ModelOptions = {
  seed: 11,
  nodes: 20,
  vnis: 2,
  hosts: 2,
  window: 60,
  faults: 22,
  changes: 6,
  settle: 5,
};

function collect(options: ModelOptions, later = 0): Collection {
  const collection = new Collection();
  const model = new FabricModel(options);
  for (const node of model.nodes)
    collection.add(
      readDocument(JSON.parse(JSON.stringify(model.document(node, node.at + later))), node.name),
    );
  return collection;
}

function troubled(): AuditReport {
  return audit(collect(FABRIC), 5);
}

/** The same fabric an hour later, with fewer faults. */
function compared(): AuditReport {
  return audit(collect({ ...FABRIC, faults: 0 }, 3600), 5, collect({ ...FABRIC, window: 2 }));
}

test('text of a fabric with every fault', () => {
  const report = troubled();
  const found = new Set([...report.findings, ...report.moving].map(({ id }) => id));
  const rest = FINDING_IDS.filter((id) => !found.has(id));
  assert.deepEqual(rest, ['undecided', 'old-report'], 'this fabric has every other finding');
  const text = renderAudit(report, OPTIONS);
  assertGolden('test/unit/render/snapshots/audit.txt', text);
  for (const line of text.split('\n').filter((one) => !/^ +on \S+/.test(one)))
    assert.ok(line.length <= 80, `wider than the terminal: ${line}`);
});

test('text with what has changed', () => {
  assertGolden('test/unit/render/snapshots/audit-since.txt', renderAudit(compared(), OPTIONS));
});

test('a sound fabric takes two lines', () => {
  const text = renderAudit(audit(collect({ ...FABRIC, faults: 0, changes: 0, window: 2 }), 5), OPTIONS);
  assert.match(
    text,
    /^20 nodes, reported within 1s: \d+ addresses in 2 VNIs\n0 failures, 0 warnings, 0 in motion\n$/,
  );
});

test('colored output is the same text, and names cannot send escape codes', () => {
  const report = troubled();
  const colored = renderAudit(report, { ...OPTIONS, color: true });
  const esc = String.fromCharCode(27);
  assert.ok(colored.includes(`${esc}[31m`));
  assert.equal(colored.replaceAll(new RegExp(`${esc}\\[\\d+m`, 'g'), ''), renderAudit(report, OPTIONS));
  const [first] = report.findings;
  assert.ok(first);
  const evil = { ...first, found: `${esc}[2J`, look: { node: `${esc}c`, command: `${esc}c` } };
  assert.ok(!renderAudit({ ...report, findings: [evil] }, OPTIONS).includes(esc));
});

test('many findings of one check are cut, and --verbose prints them', () => {
  const report = troubled();
  const [first] = report.findings;
  assert.ok(first);
  const findings = Array.from({ length: 30 }, () => first);
  const lines = (verbose: boolean): number =>
    renderAudit({ ...report, findings, moving: [] }, { ...OPTIONS, verbose }).split(first.look.command)
      .length - 1;
  assert.deepEqual([lines(false), lines(true)], [10, 30]);
  assert.match(renderAudit({ ...report, findings }, OPTIONS), /20 more two-owners: --verbose prints them/);
});

test('reports are valid by their schema', () => {
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
  ajv.addSchema(JSON.parse(readFileSync(`${ROOT}schema/report.schema.json`, 'utf8')), 'report');
  const validate = ajv.getSchema('report#/$defs/audit');
  const isStatus = ajv.getSchema('report#/$defs/fabric');
  assert.ok(validate && isStatus);
  for (const report of [troubled(), compared(), audit(new Collection(), 5)])
    assert.ok(validate(JSON.parse(renderJson(report))), ajv.errorsText(validate.errors));
  const model = new FabricModel({ ...FABRIC, faults: 0 });
  for (const node of model.nodes) {
    const { fabric } = JSON.parse(JSON.stringify(model.document(node))) as { fabric: unknown };
    assert.ok(isStatus(fabric), `the model is not like the product: ${ajv.errorsText(isStatus.errors)}`);
  }
});

test('the textfile has a series for every check, whatever is found', () => {
  const text = renderAuditMetrics(troubled(), START);
  assertGolden('test/unit/render/snapshots/audit.prom', text);
  const series = (metrics: string): number =>
    metrics.split('\n').filter((line) => /^snoopy_/.test(line)).length;
  assert.equal(series(text), series(renderAuditMetrics(audit(new Collection(), 5), START)));
  assert.equal(series(text), 4 + 2 * FINDING_IDS.length);
});

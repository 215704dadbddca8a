// The audit finds every fault that is planted in a fabric, and invents none, whatever moves while the reports are made.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { type AuditReport, audit } from '../../src/core/audit/audit.ts';
import { Collection } from '../../src/core/audit/collection.ts';
import { readDocument } from '../../src/core/audit/document.ts';
import type { Finding } from '../../src/core/audit/finding.ts';
import { FINDING_IDS } from '../../src/core/audit/wording.ts';
import type { Details } from '../../src/core/fabric-report.ts';
import { FabricModel, type ModelNode, type ModelOptions } from '../lib/fabric-model.ts';
import { check } from './property.ts';

const SETTLE = 5;

const anyFabric: fc.Arbitrary<ModelOptions> = fc.record({
  seed: fc.nat(),
  nodes: fc.integer({ min: 5, max: 9 }),
  vnis: fc.integer({ min: 1, max: 3 }),
  hosts: fc.integer({ min: 1, max: 4 }),
  window: fc.constantFrom(0, 2, 4, 20, 60),
  faults: fc.integer({ min: 0, max: 24 }),
  changes: fc.integer({ min: 0, max: 8 }),
  settle: fc.constant(SETTLE),
});

/** A gathering: the reports of all nodes, then again those of some. */
class Gathering {
  readonly collection = new Collection();
  readonly model: FabricModel;

  constructor(model: FabricModel, details: Details) {
    this.model = model;
    for (const node of model.nodes) this.add(node, node.at, details);
  }

  add(node: ModelNode, at: number, details: Details): void {
    const text = JSON.stringify(this.model.document(node, at, details));
    this.collection.add(readDocument(JSON.parse(text), node.name));
  }

  audit(): AuditReport {
    return audit(this.collection, SETTLE);
  }

  /**
   * Asks those that the audit names once more, as the playbook does: all within two seconds, later than the first time. An
   * answer may show a difference that was hidden before.
   */
  askAgain(first: AuditReport): AuditReport {
    let report = first;
    let when = Math.max(...this.model.nodes.map(({ at }) => at));
    for (let round = 0; round < 3 && report.again.length > 0; round++) {
      when += 30;
      for (const [i, { node: name, details }] of report.again.entries()) {
        const node = this.model.nodes.find((one) => one.name === name);
        if (node !== undefined) this.add(node, when + (i % 3), details);
      }
      report = this.audit();
    }
    return report;
  }
}

/** A finding by its parts: check, VNI, address and node. */
function partsOf({ id, vni, addresses, nodes }: Finding): string[] {
  const subjects = addresses.length === 0 ? [''] : addresses;
  return subjects.flatMap((ip) => nodes.map((node) => `${id}|${vni ?? ''}|${ip}|${node}`));
}

function sorted(parts: Iterable<string>): string[] {
  return [...new Set(parts)].sort();
}

/** What needs the addresses of other nodes, or another report. */
const OF_ROUTES = ['ghost', 'hole', 'wrong-next-hop', 'wrong-vni', 'wrong-mac'];

function isOfRoutes(part: string): boolean {
  return OF_ROUTES.includes(part.split('|')[0] ?? '');
}

it('every planted fault is found and none is invented, with all addresses in the reports', () => {
  check(anyFabric, 300, (options) => {
    const gathering = new Gathering(new FabricModel(options), 'all');
    const { expected, changing } = gathering.model;
    const first = gathering.audit();
    const found = first.findings.flatMap(partsOf);
    const moving = first.moving.flatMap(partsOf);
    assert.deepEqual(
      found.filter((part) => !expected.has(part as never)),
      [],
      'invented',
    );
    const missed = [...expected].filter((part) => !found.includes(part));
    assert.deepEqual(
      missed.filter((part) => !moving.includes(part) || !isOfRoutes(part)),
      [],
      'missed',
    );
    // What moves makes the group young that it comes to, and with it whatever is wrong there.
    if (options.window <= SETTLE && changing.size === 0) assert.deepEqual(missed, [], 'in motion');
    for (const { addresses } of first.moving)
      for (const ip of addresses)
        assert.ok(changing.has(ip) || missed.some((part) => part.includes(`|${ip}|`)), `${ip} does not move`);

    assert.deepEqual(sorted(gathering.askAgain(first).findings.flatMap(partsOf)), sorted(expected));
  });
});

it('the same with digests alone, and addresses only from the nodes that the audit asks again', () => {
  check(anyFabric, 300, (options) => {
    const gathering = new Gathering(new FabricModel(options), []);
    const { expected } = gathering.model;
    const first = gathering.audit();
    const found = first.findings.filter(({ id }) => id !== 'undecided').flatMap(partsOf);
    assert.deepEqual(
      found.filter((part) => !expected.has(part as never)),
      [],
      'invented',
    );
    const missed = [...expected].filter((part) => !found.includes(part));
    assert.deepEqual(
      missed.filter((part) => !isOfRoutes(part)),
      [],
      'missed',
    );

    assert.deepEqual(sorted(gathering.askAgain(first).findings.flatMap(partsOf)), sorted(expected));
  });
});

it('a sound fabric has no finding, and the order of the reports does not matter', () => {
  check(fc.tuple(anyFabric, fc.nat()), 100, ([options, rotation]) => {
    const model = new FabricModel({ ...options, faults: 0, changes: 0 });
    const nodes = [
      ...model.nodes.slice(rotation % model.nodes.length),
      ...model.nodes.slice(0, rotation % model.nodes.length),
    ];
    const collection = new Collection();
    for (const node of nodes) collection.add(readDocument(model.document(node), node.name));
    const { ok, findings, moving } = audit(collection, SETTLE);
    assert.deepEqual({ ok, findings, moving }, { ok: true, findings: [], moving: [] });
  });
});

it('two gatherings in one order: what both have is found, whatever the order leaves open; nothing is invented', () => {
  check(anyFabric, 200, (options) => {
    const model = new FabricModel(options);
    const collect = (later: number): Collection => {
      const collection = new Collection();
      for (const node of model.nodes)
        collection.add(readDocument(model.document(node, node.at + later), node.name));
      return collection;
    };
    // Nobody moves about the time of the second one.
    const { findings } = audit(collect(600), SETTLE, collect(0));
    assert.deepEqual(sorted(findings.flatMap(partsOf)), sorted(model.expected));
    // The same when both are given as reports.
    const both = new Collection();
    for (const later of [600, 0])
      for (const node of model.nodes)
        both.add(readDocument(model.document(node, node.at + later), node.name));
    assert.deepEqual(sorted(audit(both, SETTLE).findings.flatMap(partsOf)), sorted(model.expected));
  });
});

it('every check but two is planted: nodes that hide addresses are asked again, and all clocks are right', () => {
  const planted = new Set<string>();
  check(anyFabric, 100, (options) => {
    for (const part of new FabricModel(options).expected) planted.add(part.split('|')[0] ?? '');
  });
  assert.deepEqual(
    FINDING_IDS.filter((id) => !planted.has(id)),
    ['undecided', 'old-report'],
  );
});

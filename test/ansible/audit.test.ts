// The playbook audit.yml over twenty nodes with FRR in namespaces: one of them does not answer, others are wrong.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type AuditReport, summarize } from '../lib/audit.ts';
import { Fabric } from '../lib/fabric.ts';
import { Scope } from '../lib/scope.ts';
import { PRODUCT, Snoopy } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { Controller, type PlayResult } from './controller.ts';

const NODES = 20;
const NAMES = Array.from({ length: NODES }, (_, i) => `n${i + 1}`);

describe('twenty nodes', () => {
  const scope = new Scope();
  const nodes: Snoopy[] = [];
  let fabric: Fabric;
  let controller: Controller;
  let dir: string;

  before(async () => {
    fabric = await Fabric.start({ nodes: NODES, vms: 1 });
    controller = new Controller(scope);
    dir = controller.makeDir('audit');
    for (const [i, { node, frr }] of fabric.nodes.entries()) {
      const name = NAMES[i] ?? '';
      const snoopy = new Snoopy(fabric.scope, node.netns).beside(frr).named(name);
      nodes.push(snoopy);
      snoopy.reconcile();
      controller.addLocal(name, { snoopy_audit_node_command: snoopy.script() });
    }
    await everywhere(NODES);
  });
  after(() => {
    fabric?.close();
    scope.close();
  });

  /** Every host sends: the bridges age out a MAC in five minutes, and without runs its routes go with it. */
  function sendAll(): void {
    for (const { vms } of fabric.nodes) for (const vm of vms) vm.gratuitous();
  }

  /** Runs everywhere until every node has so many addresses. */
  async function everywhere(count: number): Promise<void> {
    sendAll();
    await until(
      `every node to have ${count} addresses`,
      () => {
        for (const snoopy of nodes) snoopy.reconcile();
        return fabric.nodes.map(({ frr }) => frr.arpCache(100).length);
      },
      (counts) => counts.every((one) => one === count),
      { timeoutMs: 120_000, everyMs: 1000 },
    );
  }

  function play(vars: object = {}): PlayResult {
    return controller.play(join(controller.collection, 'playbooks/audit.yml'), {
      vars: {
        // Every node is this machine, and the test is root already.
        ansible_become: false,
        snoopy_audit_dir: dir,
        snoopy_audit_command: [process.execPath, PRODUCT],
        snoopy_audit_settle: '5s',
        snoopy_audit_timeout: 60,
        ...vars,
      },
    });
  }

  function report(): AuditReport {
    return JSON.parse(readFileSync(join(dir, 'audit.json'), 'utf8')) as AuditReport;
  }

  function failureOf({ tasks }: PlayResult): string | undefined {
    const failed = tasks.find(
      ({ outcome, task }) => outcome === 'failed' && task === 'Fail for what was found',
    );
    return failed === undefined ? undefined : String(failed.result.msg);
  }

  test('a sound fabric: one report of each node, no finding', () => {
    const result = play({ snoopy_audit_keep: true });
    assert.equal(result.code, 0, result.stdout);
    assert.deepEqual(readdirSync(join(dir, 'now/1')).sort(), NAMES.map((name) => `${name}.json`).sort());
    const { ok, nodes: count, addresses, findings } = report();
    assert.deepEqual(
      { ok, count, addresses, findings },
      { ok: true, count: NODES, addresses: NODES, findings: [] },
    );
    assert.match(
      readFileSync(join(dir, 'audit.txt'), 'utf8'),
      /^20 nodes, reported within \d+[sm]: 20 addresses in 1 VNI\n/,
    );
    assert.ok(!result.tasks.some(({ result: { changed } }) => changed === true), 'nothing is changed');
  });

  test('a node whose FRR does not answer: it may lack anything, so the play fails as for holes', () => {
    const goOn = fabric.node(20).frr.pauseZebra();
    try {
      const result = play();
      assert.equal(result.code, 2, result.stdout);
      assert.match(failureOf(result) ?? '', /^n20: vtysh .* fails: no answer in 10 s$/);
      assert.equal(play({ snoopy_audit_fail: 'owners' }).code, 0);
    } finally {
      goOn();
    }
  });

  test('a ghost and a hole: only the nodes that they are about are asked again, and the play fails', async () => {
    const ghost = '10.1.5.99';
    const [vm] = fabric.node(5).vms;
    const { netns } = fabric.node(5).node;
    netns.run('ip', 'neigh', 'replace', ghost, 'lladdr', vm?.mac ?? '', 'dev', 'br0', 'nud', 'permanent');
    await everywhere(NODES + 1);
    netns.run('ip', 'link', 'set', 'br0', 'down');
    netns.run('ip', 'link', 'set', 'br0', 'up');
    await everywhere(NODES + 1);
    const { frr } = fabric.node(7);
    frr.configure('route-map NOTHING deny 10');
    frr.configure('router bgp 65000', 'address-family l2vpn evpn', 'neighbor 192.0.2.4 route-map NOTHING in');
    await until(
      'node 7 to lack the host of node 4',
      () => frr.routesTo('10.1.4.1').length,
      (count) => count === 0,
    );

    const result = play({ snoopy_audit_keep: true, snoopy_audit_textfile: join(dir, 'audit.prom') });
    assert.equal(result.code, 2, result.stdout);
    assert.deepEqual(
      report().findings.map(summarize),
      ['ghost 100 10.1.5.99 n5', 'hole 100 10.1.4.1 n7'],
      report()
        .findings.map(({ found }) => found)
        .join('\n'),
    );
    assert.match(
      failureOf(result) ?? '',
      /10\.1\.5\.99 .* whose kernel has no such neighbor; 10\.1\.4\.1 .* missing at n7/,
    );
    const { changes } = report();
    assert.equal(changes?.findings.new.length, 2);
    assert.match(
      readFileSync(join(dir, 'audit.prom'), 'utf8'),
      /^snoopy_audit_findings\{check="ghost",status="failure"\} 1$/m,
    );
    const asked = result.tasks.filter(({ task, outcome }) => task === 'Ask the node' && outcome === 'ok');
    assert.ok(asked.length > NODES && asked.length < 2 * NODES, `${asked.length} answers`);

    sendAll();
    assert.equal(play({ snoopy_audit_fail: 'owners' }).code, 0);
    sendAll();
    const lacking = { snoopy_audit_fail: 'never', snoopy_audit_textfile: join(dir, 'missing', 'audit.prom') };
    const unwritten = play(lacking);
    assert.equal(unwritten.code, 2, unwritten.stdout);
    assert.match(failureOf(unwritten) ?? '', /Cannot write the textfile .*missing\/audit\.prom.*: ENOENT/);
    // By now no run may have succeeded for five minutes, which is a finding at every node.
    const kept = report().findings.filter(({ id }) => id === 'ghost' || id === 'hole');
    assert.equal(kept.length, 2, 'what was found is not lost');
  });

  test('a node that cannot be reached, one that hangs and one that ends early are named, the others are audited', () => {
    writeFileSync(nodes[17]?.script() ?? '', '#!/bin/sh\nprintf \'{"version":1,"fabric":{\'\n');
    const broken = nodes[18]?.script() ?? '';
    writeFileSync(broken, '#!/bin/sh\nexec sleep 120\n');
    controller.addUnreachable('n20');
    const result = play({ snoopy_audit_fail: 'never', snoopy_audit_timeout: 45 });
    assert.equal(result.code, 0, result.stdout);
    const silent = report().findings.filter(({ id }) => id === 'no-report');
    assert.deepEqual(
      silent.map(({ nodes: [name] }) => name),
      ['n18', 'n19', 'n20'],
    );
    assert.equal(silent[0]?.found, 'n18: no complete report');
    assert.match(silent[1]?.found ?? '', /^n19: no answer in 45 s$/);
    const named = result.tasks.find(({ task }) => task === 'Name the nodes that did not answer');
    assert.equal(named?.result.msg, 'n18, n19, n20');
    assert.ok(existsSync(join(dir, 'now/1/n1.json')));
  });

  test('no report at all: the play fails, unless it only has to write the result', () => {
    for (const snoopy of nodes) writeFileSync(snoopy.script(), '#!/bin/sh\nexit 1\n');
    const result = play({ snoopy_audit_fail: 'owners' });
    assert.equal(result.code, 2, result.stdout);
    assert.equal(failureOf(result), 'No node has reported');
    assert.equal(play({ snoopy_audit_fail: 'never' }).code, 0);
  });
});

// Twenty nodes: all of them in one play by the module, some by the playbook rollout.yml, which stops at the first
// node that fails.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import { Scope } from '../lib/scope.ts';
import { buildPackages } from '../package/packages.ts';
import { Controller, hasChanged, type PlayOptions, type PlayResult, refusalOf } from './controller.ts';
import { BRIDGE, EvpnNode, HOST } from './evpn-node.ts';

const NODES = Array.from({ length: 20 }, (_, i) => `hv${String(i + 1).padStart(2, '0')}`);
/** The nodes of the rollout: each takes twenty seconds of the processors that all of them share. */
const SOME = NODES.slice(0, 8);
const CONFIG = { version: 1, bridges: [{ name: BRIDGE }] };

describe('twenty nodes', () => {
  const scope = new Scope();
  const nodes = new Map<string, EvpnNode>();
  let controller: Controller;
  let deb: string;
  let executable: string;

  before(async () => {
    controller = new Controller(scope);
    ({ deb } = buildPackages(scope, VERSION, { only: ['deb'] }));
    for (const name of NODES) {
      const node = await EvpnNode.boot(scope, name);
      controller.addNode(name, node.container);
      nodes.set(name, node);
      executable = node.putProduct();
    }
  });
  after(() => scope.close());

  function reconcile(options: PlayOptions = {}): PlayResult {
    const tasks = [{ 'snoopy.evpn.reconcile': { executable, config: CONFIG } }];
    const result = controller.play([{ hosts: 'evpn', gather_facts: false, tasks }], options);
    assert.equal(result.code, 0, result.stdout);
    assert.deepEqual(result.tasks.map(({ host }) => host).sort(), NODES);
    return result;
  }

  function rollout(variables: object = {}, limit: readonly string[] = SOME): PlayResult {
    // Their timers would take all of the machine; role.test.ts has the test of a timer.
    const vars = { snoopy_package: deb, snoopy_config: CONFIG, snoopy_timer_enabled: false, ...variables };
    return controller.play(join(controller.collection, 'playbooks/rollout.yml'), { vars, limit });
  }

  const attached = (among = NODES) => among.filter((name) => nodes.get(name)?.isAttached);
  const changed = (result: PlayResult) => NODES.filter((name) => hasChanged(result, name));

  test('the module in one play: check, apply, check, apply; then the neighbors', async () => {
    assert.deepEqual(changed(reconcile({ check: true })), NODES);
    assert.deepEqual(attached(), []);
    assert.deepEqual(changed(reconcile()), NODES);
    assert.deepEqual(attached(), NODES);
    assert.deepEqual(changed(reconcile({ check: true })), []);
    for (const node of nodes.values()) await node.announce();
    assert.deepEqual(changed(reconcile()), []);
    for (const [name, node] of nodes) assert.deepEqual(node.neighbors, [`${HOST.ip} ${HOST.mac}`], name);

    for (const name of SOME) {
      const { container } = nodes.get(name) as EvpnNode;
      writeFileSync(join(container.root, 'root/snoopy.yaml'), JSON.stringify(CONFIG));
      container.run('node', executable, 'remove', '--config', '/root/snoopy.yaml');
    }
    assert.deepEqual(attached(SOME), []);
  });

  test('a rollout whose first node fails changes no other node', () => {
    const result = rollout({ snoopy_config: { ...CONFIG, bridges: [{ name: BRIDGE }, { name: 'vmbr9' }] } });
    assert.equal(result.code, 2, result.stdout);
    assert.deepEqual(new Set(result.tasks.map(({ host }) => host)), new Set([NODES[0]]));
    const failed = result.tasks.find(({ outcome }) => outcome === 'failed');
    assert.match(String(failed?.result.msg), /vmbr9/);
    assert.deepEqual(attached(SOME), [NODES[0]]);
  });

  test('the whole rollout, one node first and then a quarter at a time', async () => {
    const result = rollout();
    assert.equal(result.code, 0, result.stdout);
    assert.deepEqual(attached(SOME), SOME);
    assert.deepEqual(batches(result), [1, 2, 2, 2, 1]);

    for (const name of SOME) {
      const node = nodes.get(name) as EvpnNode;
      await node.announce();
      node.container.run('systemctl', 'start', 'snoopy-reconcile.service');
      assert.deepEqual(node.neighbors, [`${HOST.ip} ${HOST.mac}`], name);
    }
  });

  test('repeated beside a listening run, it waits for that run, changes nothing and loses no neighbor', () => {
    const [name = ''] = NODES;
    const node = nodes.get(name) as EvpnNode;
    const neighbors = [`${HOST.ip} ${HOST.mac}`];
    const listener = node.container.netns.start(
      ...node.container.argv(['snoopy', 'reconcile', '--listen', '20s']),
    );
    const result = rollout({}, [name]);
    listener.kill();
    assert.equal(result.code, 0, result.stdout);
    assert.equal(hasChanged(result, name), false);
    assert.deepEqual(node.neighbors, neighbors);
    const before = result.tasks.find(({ task }) => task === 'Look at the neighbors before');
    assert.ok(before);
    const { ansible_facts } = before.result as { ansible_facts?: { snoopy_neighbors: object[] } };
    assert.equal(ansible_facts?.snoopy_neighbors.length, 1, 'the gate does not know the neighbor');
  });

  test('a node that cannot report its state is not changed', () => {
    const [name = ''] = NODES;
    const path = join((nodes.get(name) as EvpnNode).container.root, 'etc/snoopy/snoopy.yaml');
    const text = readFileSync(path);
    writeFileSync(path, 'version: [\n');
    const result = rollout({}, [name]);
    assert.match(refusalOf(result), /snoopy\.yaml:2:1: document: is not valid YAML/);
    writeFileSync(path, text);
  });

  test('a configuration that makes the first node lose a neighbor stops at the gate before the others', () => {
    const result = rollout({
      snoopy_config: { ...CONFIG, bridges: [{ name: BRIDGE, ports: { include: ['veth*'] } }] },
    });
    assert.equal(result.code, 2, result.stdout);
    assert.deepEqual(new Set(result.tasks.map(({ host }) => host)), new Set([NODES[0]]));
    const failed = result.tasks.find(({ outcome }) => outcome === 'failed');
    assert.match(String(failed?.result.msg), new RegExp(`neighbors lost: \\['${HOST.ip}'\\]`));
    assert.deepEqual(attached(SOME), SOME.slice(1));
  });

  test('removing snoopy from a node leaves nothing for the gate to compare', () => {
    const result = rollout({ snoopy_state: 'absent' }, SOME.slice(-1));
    assert.equal(result.code, 0, result.stdout);
    assert.deepEqual(attached(SOME), SOME.slice(1, -1));
  });
});

/** The size of each batch: the number of nodes for which the playbook's first task ran at a time. */
function batches({ tasks }: PlayResult): number[] {
  const sizes: number[] = [];
  let before = '';
  for (const { task } of tasks) {
    const isFirst = task === 'Look at the neighbors before';
    if (isFirst && before !== task) sizes.push(0);
    if (isFirst) sizes.push((sizes.pop() ?? 0) + 1);
    before = task;
  }
  return sizes;
}

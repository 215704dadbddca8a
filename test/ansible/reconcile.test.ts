// The module snoopy.evpn.reconcile on a node that is reached by ssh: modes, results, and failures.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { deepTest } from '../lib/depth.ts';
import { Background } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import type { Report } from '../lib/snoopy.ts';
import { Controller, type PlayOptions } from './controller.ts';
import { BRIDGE, EvpnNode, HOST, PORT } from './evpn-node.ts';

const CONFIG = { version: 1, bridges: [{ name: BRIDGE }] };
const NEIGHBOR = { bridge: BRIDGE, device: BRIDGE, vlan: 0, ...HOST, port: PORT, source: 'learned' };

interface ModuleResult {
  readonly changed: boolean;
  readonly failed: boolean;
  readonly msg?: string;
  readonly report: Report;
  readonly neighbors_changed: boolean;
  readonly diff: { readonly before: string; readonly after: string };
  readonly ansible_facts: { readonly snoopy_neighbors: readonly object[] };
  readonly warnings?: readonly string[];
}

describe('snoopy.evpn.reconcile', () => {
  const scope = new Scope();
  let controller: Controller;
  let node: EvpnNode;
  let executable: string;

  before(async () => {
    controller = new Controller(scope);
    node = await EvpnNode.boot(scope, 'node');
    executable = node.putProduct();
    controller.addNode('node', node.container);
  });
  after(() => scope.close());

  /** The result of one task with the module. */
  function reconcile(parameters: object, options: PlayOptions = {}): ModuleResult {
    const tasks = [{ 'snoopy.evpn.reconcile': { executable, ...parameters } }];
    const play = controller.play([{ hosts: 'node', gather_facts: false, tasks }], options);
    const [task] = play.tasks;
    assert.ok(task, play.stdout + play.stderr);
    assert.notEqual(task.outcome, 'unreachable', play.stdout);
    return { ...task.result, failed: task.outcome === 'failed' } as unknown as ModuleResult;
  }

  test('check, apply, check, apply: changed, changed, then unchanged', () => {
    const planned = reconcile({ config: CONFIG }, { check: true, diff: true });
    assert.equal(planned.changed, true, planned.msg);
    assert.match(planned.diff.after, new RegExp(`^attached ${BRIDGE} ${PORT}$`, 'm'));
    assert.equal(planned.diff.before, '');
    assert.equal(planned.report.check, true);
    assert.equal(node.isAttached, false, 'check mode has attached a program');

    assert.equal(reconcile({ config: CONFIG }).changed, true);
    assert.equal(node.isAttached, true);
    for (const check of [true, false]) {
      const again = reconcile({ config: CONFIG }, { check, diff: true });
      assert.equal(again.changed, false);
      assert.deepEqual([again.diff.before, again.diff.after], ['', '']);
      assert.deepEqual(again.ansible_facts.snoopy_neighbors, []);
    }
  });

  deepTest('neighbors are in the diff and in the facts, and are no change of the desired state', async () => {
    await node.announce();
    const planned = reconcile({ config: CONFIG }, { check: true, diff: true });
    assert.deepEqual([planned.changed, planned.neighbors_changed], [false, true], planned.msg);
    assert.match(planned.diff.after, new RegExp(`^${HOST.ip} dev ${BRIDGE} lladdr ${HOST.mac} nud noarp`));
    assert.deepEqual(planned.ansible_facts.snoopy_neighbors, []);
    assert.deepEqual(node.neighbors, [], 'check mode has written a neighbor');

    const applied = reconcile({ config: CONFIG });
    assert.deepEqual([applied.changed, applied.neighbors_changed], [false, true]);
    assert.deepEqual(applied.ansible_facts.snoopy_neighbors, [NEIGHBOR]);
    assert.deepEqual(node.neighbors, [`${HOST.ip} ${HOST.mac}`]);

    const later = reconcile({ config: CONFIG }, { check: true });
    assert.equal(later.neighbors_changed, false);
    assert.deepEqual(later.ansible_facts.snoopy_neighbors, [NEIGHBOR]);
  });

  deepTest('an inline configuration leaves no file behind', () => {
    // The name occurs only in the configuration, and in the log where Ansible records the arguments of its modules.
    const secret = 'br-nowhere-else';
    const config = { ...CONFIG, bridges: [...CONFIG.bridges, { name: secret, required: false }] };
    assert.equal(reconcile({ config }).failed, false);
    const search = ['grep', '-rl', '--exclude-dir=journal', secret, '/etc', '/root', '/run', '/tmp', '/var'];
    assert.equal(node.container.tryRun(search).stdout, '');
  });

  deepTest('a quoted MAC stays a MAC, even if it is all digits', () => {
    const mac = '52:54:00:12:34:56';
    const config = { version: 1, bridges: [{ name: BRIDGE, static: [{ ip: '10.1.0.9', mac }] }] };
    assert.equal(reconcile({ config }, { check: true }).failed, false);
    // What YAML 1.1 makes of it without quotes.
    const number = {
      version: 1,
      bridges: [{ name: BRIDGE, static: [{ ip: '10.1.0.9', mac: 41_135_309_096 }] }],
    };
    const refused = reconcile({ config: number }, { check: true });
    assert.equal(refused.failed, true);
    assert.match(refused.msg ?? '', /^config: bridges\[0\]\.static\[0\]\.mac.*"52:54:00:12:34:56"/);
  });

  deepTest('a file, and some of its bridges', () => {
    const path = join(node.container.root, 'etc/snoopy.yaml');
    writeFileSync(path, JSON.stringify({ ...CONFIG, bridges: [{ name: 'vmbr7' }, { name: BRIDGE }] }));
    const one = reconcile({ config_path: '/etc/snoopy.yaml', bridges: [BRIDGE] });
    assert.equal(one.failed, false, one.msg);
    assert.deepEqual(
      one.report.bridges.map(({ name }) => name),
      [BRIDGE],
    );
    const all = reconcile({ config_path: '/etc/snoopy.yaml' });
    assert.equal(all.failed, true);
    assert.match(all.msg ?? '', /vmbr7/);
    assert.equal(all.report.ok, false, 'the report is missing');
    assert.equal(all.report.errors[0]?.code, 'bridge_missing');
  });

  deepTest('a failure has its cause and the fix', () => {
    const gone = reconcile({ executable: '/opt/nothing' });
    assert.match(gone.msg ?? '', /Cannot find \/opt\/nothing.*role snoopy\.evpn\.snoopy/);
    const unreadable = reconcile({ config_path: '/etc/nothing.yaml' });
    assert.match(unreadable.msg ?? '', /Cannot read the configuration "\/etc\/nothing\.yaml": ENOENT/);
    const wrong = reconcile({ config: { version: 1, bridges: [{ nmae: BRIDGE }] } });
    assert.match(wrong.msg ?? '', /config: bridges\[0\]\.nmae.*`name`/);
    const usage = reconcile({ config: CONFIG, listen: 'soon' });
    assert.match(usage.msg ?? '', /^option '--listen.*soon.*500ms/);
    const both = reconcile({ config: CONFIG, config_path: '/etc/snoopy.yaml' });
    assert.match(both.msg ?? '', /mutually exclusive/);
    assert.equal(node.isAttached, true);
  });

  deepTest('a failed step or neighbor has its cause, and the report is kept', () => {
    const failed = (message: string) => ({ kind: 'failed', code: 'EPERM', message });
    const attach = { kind: 'attach', bridge: BRIDGE, port: PORT };
    const step = { action: attach, outcome: failed(`Cannot attach to port "${PORT}": EPERM`) };
    const entry = { mac: HOST.mac, state: 'noarp', protocol: 1, flags: [] };
    const change = { ip: HOST.ip, device: BRIDGE, before: null, after: entry };
    const refused = { ...change, outcome: failed(`Cannot write neighbor "${HOST.ip}": EINVAL`) };
    const document = {
      ...{ version: 1, ok: false, changed: false, check: false, warnings: [], errors: [], bridges: [] },
      ...{ steps: [], neighbors: { changed: false, total: 0, changes: [] }, remaining: [] },
    };
    const bindings = [{ ...NEIGHBOR, state: 'installed' }];
    const fake = '/opt/failing-snoopy';
    const run = (report: object): ModuleResult => {
      const answers = [JSON.stringify({ ...document, bindings }), JSON.stringify({ ...document, ...report })];
      const script = `#!/bin/sh\n[ "$1" = status ] && echo '${answers[0]}' && exit\necho '${answers[1]}'; exit 1\n`;
      writeFileSync(join(node.container.root, fake), script, { mode: 0o755 });
      return reconcile({ executable: fake });
    };
    const { msg } = run({ neighbors: { ...document.neighbors, changes: [refused] } });
    assert.equal(msg, refused.outcome.message);
    assert.equal(run({ steps: [step], remaining: [attach] }).msg, step.outcome.message);
    assert.equal(run({ remaining: [attach] }).msg, `still due: attach ${BRIDGE} ${PORT}`);
    const silent = run({});
    assert.match(silent.msg ?? '', /did not say why/);
    assert.deepEqual(silent.ansible_facts.snoopy_neighbors, [NEIGHBOR]);
  });

  deepTest('another run that holds the lock is a failure that says so, after lock_timeout', () => {
    const { container } = node;
    const path = join(container.root, 'etc/snoopy.yaml');
    writeFileSync(path, JSON.stringify(CONFIG));
    const listener = new Background(
      scope,
      container.argv([executable, 'reconcile', '--config', '/etc/snoopy.yaml', '--listen', '1m']),
    );
    const locked = reconcile({ config: CONFIG, lock_timeout: '100ms' });
    listener.kill();
    assert.equal(locked.failed, true);
    assert.match(locked.msg ?? '', /lock/);
  });

  deepTest('listen: the same run acts on a message that arrives after the program is attached', () => {
    node.container.run(executable, 'remove', '--config', '/etc/snoopy.yaml');
    assert.deepEqual(node.neighbors, []);
    const host = node.announceAgainAndAgain();
    const result = reconcile({ config: CONFIG, listen: '6s' });
    host.kill();
    assert.equal(result.failed, false, result.msg);
    assert.deepEqual(result.ansible_facts.snoopy_neighbors, [NEIGHBOR]);
    assert.deepEqual(node.neighbors, [`${HOST.ip} ${HOST.mac}`]);
  });
});

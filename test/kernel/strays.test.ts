// Programs of snoopy without a pin where a run looks: only their name, and the port that they are attached to, show them. A run
// may look a program up by its number only with CAP_SYS_ADMIN.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { BPF_F_BEFORE, BPF_TCX_INGRESS, tcxAttach, tcxPrograms } from '../../src/ffi/link.ts';
import { deepTest } from '../lib/depth.ts';
import { run } from '../lib/run.ts';
import { enterNetns } from '../lib/setns.ts';
import { Machine } from './machine.ts';
import { loadEnder, NEEDS_TCX } from './probe.ts';

const ELSEWHERE = { runtime: { pin_dir: 'elsewhere' }, bridges: [{ name: 'br0' }] };

/** A machine with the program on tap1, and what the kernel has there, first to run first. */
function attached(t: TestContext) {
  const machine = new Machine(t);
  machine.reconcile();
  enterNetns(machine.scope, machine.netns);
  const [port] = machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'tap1');
  const ifIndex = port?.ifindex ?? 0;
  return { machine, ifIndex, programs: () => tcxPrograms(ifIndex, BPF_TCX_INGRESS) };
}

describe('a program of snoopy whose pins are out of sight', NEEDS_TCX, () => {
  test('is replaced after a change of pin_dir, with a warning once', (t) => {
    const { machine, programs } = attached(t);
    const before = programs();
    assert.equal(before.length, 1);
    machine.snoopy.privileged().configure(ELSEWHERE);
    const report = machine.reconcile();
    assert.match(report.warnings.join(), /Programs of snoopy are attached, but nothing is pinned here/);
    assert.equal(programs().length, 1);
    assert.notDeepEqual(programs(), before);
    machine.assertIdle();
    assert.deepEqual(machine.reconcile().warnings, []);
  });

  deepTest(
    'stays without CAP_SYS_ADMIN, and fails nothing; doctor and the next run of root find it',
    async (t) => {
      const { machine, programs } = attached(t);
      machine.snoopy.configure(ELSEWHERE);
      machine.reconcile();
      assert.equal(programs().length, 2);
      await machine.host(1).announceAndWait();
      machine.reconcile();
      assert.equal(machine.macOf(machine.host(1).ip), machine.host(1).mac);
      assert.match(
        machine.snoopy.privileged().run('doctor', '--format', 'json').stdout,
        /another program of snoopy, whose pins are not here, is attached to tap1 as well/,
      );
      const report = machine.reconcile();
      assert.match(report.warnings.join(), /tap1.* had a snoopy program other than the one pinned/);
      assert.equal(programs().length, 1);
      machine.assertIdle();
    },
  );

  test('is detached by remove, also from a port that has left its bridge; a program of others stays', (t) => {
    const { machine, ifIndex, programs } = attached(t);
    tcxAttach(loadEnder(machine.scope), ifIndex, BPF_TCX_INGRESS, BPF_F_BEFORE);
    const [other] = programs();
    assert.equal(programs().length, 2);
    machine.run('ip', 'link', 'set', 'tap1', 'nomaster');
    const { bpffs } = machine.snoopy.privileged();
    run(['mount', '-t', 'bpf', 'bpf', bpffs]);
    machine.scope.defer(() => run(['umount', bpffs]));
    machine.remove();
    assert.deepEqual(programs(), [other]);
  });
});

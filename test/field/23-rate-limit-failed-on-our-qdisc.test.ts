// attach: auto beside programs that limit the rate of a port with a qdisc of their own. Their commands never fail because of
// snoopy, and snoopy goes on learning.
//
// Measured with clsact: "Exclusivity flag on, cannot modify", and the VM did not start; or the filter of snoopy was gone.
// openvswitch/ovs-issues #210: Open vSwitch deleted the ingress qdisc of libvirt's limit.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Machine } from '../kernel/machine.ts';
import { NEEDS_TCX } from '../kernel/probe.ts';
import { deepTest } from '../lib/depth.ts';
import { listFilters, listQdiscs } from '../lib/oracles.ts';
import { RATE_LIMITS, unlimit } from '../lib/rate-limit.ts';
import { PATIENCE, until } from '../lib/wait.ts';

/** What another program has at the ingress of a port. */
function theirs(machine: Machine): string {
  const { netns } = machine;
  const qdiscs = listQdiscs(netns, 'tap1').filter(({ kind }) => kind === 'ingress');
  const filters = listFilters(netns, 'tap1').filter(({ kind }) => kind !== 'bpf');
  // A policer says how long ago it was used.
  return JSON.stringify([qdiscs, filters.map(({ kind, pref, protocol }) => [kind, pref, protocol])]);
}

/** With TCX nothing is due after a limit; before Linux 6.6 a run attaches to the new qdisc. */
function runAfterLimit(machine: Machine): void {
  if (NEEDS_TCX.skip === undefined) machine.assertIdle();
  else machine.reconcile();
}

async function assertLearns(machine: Machine, ip: string): Promise<void> {
  const host = machine.host(1);
  host.announce(ip);
  await host.forwarded();
  machine.reconcile();
  assert.equal(machine.macOf(ip), host.mac, ip);
}

describe('a rate limit of another program on a port', () => {
  for (const [i, [name, limit]] of Object.entries(RATE_LIMITS).entries()) {
    const declare = i === 0 ? test : deepTest;
    declare(`${name}: set before, between and after runs, changed, and ended`, async (t) => {
      const machine = new Machine(t);
      limit(machine.netns, 'tap1');
      machine.reconcile();
      await assertLearns(machine, '10.1.0.11');
      limit(machine.netns, 'tap1');
      runAfterLimit(machine);
      await assertLearns(machine, '10.1.0.12');
      unlimit(machine.netns, 'tap1');
      runAfterLimit(machine);
      limit(machine.netns, 'tap1');
      machine.reconcile();
      await assertLearns(machine, '10.1.0.13');
      const before = theirs(machine);
      machine.remove();
      assert.equal(theirs(machine), before);
      assert.deepEqual(machine.attachedPrograms('tap1'), []);
    });

    declare(`${name}: set and changed while a run listens`, async (t) => {
      const machine = new Machine(t);
      machine.reconcile();
      // Longer than all commands take; in a guest they are slow.
      const listenS = 5 * PATIENCE;
      const listening = machine.snoopy.startReconcile('--listen', `${listenS}s`);
      await until(
        'the run to listen',
        () => machine.snoopy.run('reconcile', '--check', '--lock-timeout', '0s').code,
        (code) => code === 75,
      );
      for (let turn = 0; turn < 5; turn++) limit(machine.netns, 'tap1');
      await until(
        'the listening run to attach after the last limit',
        () => machine.attachedPrograms('tap1').length,
        (count) => count === 1,
      );
      const result = await listening.ended(2 * listenS * 1000);
      assert.equal(result.code, 0, result.stderr);
      await assertLearns(machine, '10.1.0.11');
    });
  }
});

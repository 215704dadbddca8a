// Least privilege: each command with exactly the capabilities that it needs, and with one less.
import assert from 'node:assert/strict';
import { chownSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { assertExit, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { deepTest } from '../lib/depth.ts';
import { listAttached, listQdiscs, neighborText } from '../lib/oracles.ts';
import type { Result } from '../lib/run.ts';
import { LEAST_CAPABILITIES, onlyWith, outputOf } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { sleepSync } from '../lib/wait.ts';

/** An unnamed user with only the capabilities that a test gives it. */
const OTHER = 65534;
const LOADING = ['net_admin', 'bpf', 'perfmon'] as const;

/** The user that runs snoopy: root or another one, with some capabilities. */
function wrapperOf(user: number, capabilities: readonly string[]): string[] {
  if (user === 0) return onlyWith(capabilities);
  const become = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
  const list = capabilities.map((name) => `+${name}`).join(',');
  return list === '' ? become : [...become, `--inh-caps=${list}`, `--ambient-caps=${list}`];
}

function runAs(
  machine: Machine,
  user: number,
  capabilities: readonly string[],
  command: string,
  ...args: string[]
): Result {
  return machine.netns.tryRun([...wrapperOf(user, capabilities), ...machine.snoopy.argv(command, ...args)]);
}

/** Everything that a run could have changed. */
function stateOf(machine: Machine): unknown {
  return {
    pins: listPins(machine.snoopy.bpffs),
    attached: listAttached(machine.netns),
    qdiscs: listQdiscs(machine.netns, 'tap1'),
    neighbors: neighborText(machine.netns, 'br0', /lladdr/),
  };
}

/** Asserts that a command exits with 77, names exactly these capabilities, and changes nothing. */
function assertRefused(
  machine: Machine,
  user: number,
  capabilities: readonly string[],
  missing: readonly string[],
  ...command: readonly [string, ...string[]]
): void {
  const before = stateOf(machine);
  const result = runAs(machine, user, capabilities, ...command);
  assertExit(result, 77);
  const named = new Set(result.stderr.match(/CAP_\w+/g));
  assert.deepEqual(
    [...named].sort(),
    missing.map((name) => `CAP_${name.toUpperCase()}`).sort(),
    outputOf(result),
  );
  assert.equal(result.stdout, '');
  assert.deepEqual(stateOf(machine), before, `${command.join(' ')} has changed something`);
}

function assertAllowed(
  machine: Machine,
  user: number,
  capabilities: readonly string[],
  ...command: readonly [string, ...string[]]
): Result {
  const result = runAs(machine, user, capabilities, ...command);
  assertExit(result, 0);
  return result;
}

function without(capabilities: readonly string[], name: string): string[] {
  return capabilities.filter((each) => each !== name);
}

for (const [who, user] of [
  ['root without the rest of its capabilities', 0],
  ['another user, which owns bpffs,', OTHER],
] as const) {
  describe(who, () => {
    for (const attach of ['clsact', 'tcx'] as const) {
      const declare = user === 0 && attach === 'tcx' ? test : deepTest;
      declare(`needs only these capabilities from the first run to the removal, by ${attach}`, async (t) => {
        const config = { runtime: { attach }, bridges: [{ name: 'br0', probe: { enabled: 'never' } }] };
        const machine = new Machine(t, { config });
        chownSync(machine.snoopy.bpffs, user, user);
        const host = machine.host(1);

        // Reading the pins is enough to look and to plan.
        assertAllowed(machine, user, [], 'status');
        assertAllowed(machine, user, [], 'reconcile', '--check');
        for (const name of LOADING) {
          assertRefused(machine, user, without(LOADING, name), [name], 'reconcile');
        }
        assertRefused(machine, user, [], LOADING, 'reconcile');
        assertAllowed(machine, user, LOADING, 'reconcile');

        // From here on the program and its maps exist.
        await host.announceAndWait();
        assertRefused(machine, user, without(LOADING, 'net_admin'), ['net_admin'], 'reconcile');
        assertAllowed(machine, user, ['net_admin'], 'reconcile');
        assert.deepEqual(machine.ownNeighbors(), [`${host.ip} ${host.mac}`]);
        const second = machine.addHost(2);
        assertAllowed(machine, user, ['net_admin'], 'reconcile', '--listen', '100ms');
        await second.announceAndWait();
        assertAllowed(machine, user, ['net_admin'], 'reconcile');
        assert.equal(machine.ownNeighbors().length, 2);

        assert.match(assertAllowed(machine, user, [], 'status').stdout, /10\.1\.0\.1 .*installed/);
        assertAllowed(machine, user, [], 'reconcile', '--check');
        assertRefused(machine, user, [], ['net_admin'], 'doctor');
        const doctor = runAs(machine, user, ['net_admin'], 'doctor');
        assert.match(doctor.stdout, /^ok +ports br0 .* all 2 attached$/m, outputOf(doctor));

        assertAllowed(machine, user, [], 'remove', '--check');
        assertRefused(machine, user, without(LOADING, 'net_admin'), ['net_admin'], 'remove');
        assertAllowed(machine, user, ['net_admin'], 'remove');
        assert.deepEqual(listPins(machine.snoopy.bpffs), []);
        assert.deepEqual(machine.ownNeighbors(), []);
        assert.equal(machine.isAttached('tap1'), false);
      });
    }

    deepTest('needs CAP_NET_RAW where hosts are probed', async (t) => {
      const probe = { after: '4s' };
      const machine = new Machine(t, { config: { bridges: [{ name: 'br0', probe }] } });
      chownSync(machine.snoopy.bpffs, user, user);
      const all = [...LOADING, 'net_raw'];
      assertAllowed(machine, user, all, 'reconcile');
      await machine.host(1).announceAndWait();
      assertAllowed(machine, user, ['net_admin'], 'reconcile');
      sleepSync(4_100);
      const unprobed = runAs(machine, user, ['net_admin'], 'reconcile');
      assertExit(unprobed, 1);
      assert.match(outputOf(unprobed), /CAP_NET_RAW/);
      const listen = ['reconcile', '--listen', '6s', '--format', 'json'] as const;
      const asked = assertAllowed(machine, user, ['net_admin', 'net_raw'], ...listen);
      assert.ok((JSON.parse(asked.stdout) as { probes: { sent: number } }).probes.sent > 0, outputOf(asked));
    });

    deepTest('needs the capability to load again where the pins are to be replaced', (t) => {
      const machine = new Machine(t);
      chownSync(machine.snoopy.bpffs, user, user);
      assertAllowed(machine, user, LOADING, 'reconcile');
      const runtime = { ring_size: '64KiB' };
      machine.snoopy.configure({ runtime, bridges: [{ name: 'br0' }] });
      assertRefused(machine, user, ['net_admin'], ['bpf', 'perfmon'], 'reconcile');
      assertAllowed(machine, user, LOADING, 'reconcile');
    });
  });
}

deepTest(
  'where only some of the hosts can be probed, a run without CAP_NET_RAW does everything else and reports that',
  async (t) => {
    const probe = { enabled: 'auto', after: '1s' };
    const machine = new Machine(t, {
      addresses: ['10.1.0.254/24'],
      config: { bridges: [{ name: 'br0', probe }] },
    });
    assertAllowed(machine, 0, LOADING, 'reconcile');
    await machine.host(1).announceAndWait();
    const result = runAs(machine, 0, LOADING, 'reconcile', '--listen', '2s');
    assertExit(result, 1);
    assert.match(result.stdout + result.stderr, /packet socket for probes.*CAP_NET_RAW/);
    assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
  },
);

deepTest('CAP_SYS_ADMIN, which includes those for eBPF, is needed only to mount bpffs', (t) => {
  const machine = new Machine(t);
  const bpffs = createTempDir(machine.scope, 'unmounted');
  machine.snoopy.configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
  assertRefused(machine, 0, LOADING, ['sys_admin'], 'reconcile');
  assertRefused(machine, 0, [], [...LOADING, 'sys_admin'], 'reconcile');
  assert.deepEqual(readdirSync(bpffs), []);
  const message = runAs(machine, 0, LOADING, 'reconcile').stderr;
  assert.ok(message.endsWith(`or mount bpffs by hand: mount -t bpf bpf ${bpffs}\n`), message);
  assertAllowed(machine, 0, ['net_admin', 'sys_admin'], 'reconcile');
  assert.ok(existsSync(`${bpffs}/snoopy/program`));
});

deepTest('pins of another user need CAP_DAC_OVERRIDE, even to read them', (t) => {
  const machine = new Machine(t);
  for (const command of ['status', 'doctor', 'reconcile', 'remove']) {
    assertRefused(machine, OTHER, [...LOADING, 'net_raw'], ['dac_override'], command);
  }
  assertAllowed(machine, OTHER, [...LOADING, 'dac_override'], 'reconcile');
  // They belong to that user now: root without the capability to read everything cannot open them.
  assertRefused(machine, 0, LOADING, ['dac_override'], 'reconcile');
  assertRefused(machine, 0, [], ['dac_override'], 'status');
});

test('root that has lost a capability is not advised to become root', (t) => {
  const machine = new Machine(t);
  const asRoot = runAs(machine, 0, ['net_admin'], 'reconcile');
  assert.match(
    asRoot.stderr,
    /^snoopy: Cannot start: the process lacks CAP_BPF and CAP_PERFMON; add CAP_BPF and CAP_PERFMON to the unit /,
  );
  const asOther = runAs(machine, OTHER, [], 'remove');
  assert.match(asOther.stderr, /lacks CAP_NET_ADMIN and CAP_DAC_OVERRIDE; run as root or with /);
});

test('the shipped unit leaves a run these capabilities and no more', () => {
  const unit = new URL('../../../packaging/systemd/snoopy-reconcile.service', import.meta.url);
  const set = /^CapabilityBoundingSet=(.*)$/m.exec(readFileSync(unit, 'utf8'))?.[1] ?? '';
  assert.deepEqual(
    set.split(' ').sort(),
    LEAST_CAPABILITIES.map((name) => `CAP_${name.toUpperCase()}`).sort(),
  );
});

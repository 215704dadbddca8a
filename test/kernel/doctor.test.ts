// doctor: a healthy node has no complaint, and each fault is found alone.

import assert from 'node:assert/strict';
import { closeSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BPF_F_BEFORE, BPF_TCX_INGRESS, tcxAttach } from '../../src/ffi/link.ts';
import { Container } from '../lib/container.ts';
import { deepTest } from '../lib/depth.ts';
import { type Check, complaintsOf } from '../lib/doctor.ts';
import { arpFrame, naFrame, nsFrame, rarpFrame } from '../lib/frames.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { enterNetns } from '../lib/setns.ts';
import { type Config, outputOf, PRODUCT, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';
import { assertExit, bpftool, Machine, TUNNEL } from './machine.ts';
import { loadEnder, NEEDS_TCX } from './probe.ts';

const MODULES = fileURLToPath(new URL('../../../node_modules', import.meta.url));

const CLSACT = { runtime: { attach: 'clsact' }, bridges: [{ name: 'br0' }] };

/** A healthy node: a tunnel, a host that was seen, and its neighbor. */
async function healthy(t: TestContext, config?: Config): Promise<Machine> {
  const machine = new Machine(t, { tunnel: true, ...(config === undefined ? {} : { config }) });
  machine.reconcile();
  await machine.host(1).announceAndWait();
  machine.reconcile();
  return machine;
}

/** Runs doctor without vtysh. `prefix` precedes its command line. */
function examine(machine: Machine, prefix: readonly string[] = []): { code: number; checks: Check[] } {
  const path = join(createTempDir(machine.scope, 'bin'), 'empty');
  mkdirSync(path);
  const argv = machine.snoopy.argv('doctor', '--format', 'json');
  const result = machine.netns.tryRun([...prefix, '/usr/bin/env', `PATH=${path}`, ...argv]);
  assert.ok(result.stdout.startsWith('{'), outputOf(result));
  const report = JSON.parse(result.stdout) as { ok: boolean; checks: Check[] };
  assert.equal(report.ok, !report.checks.some(({ status }) => status === 'failure'));
  assertExit(result, report.ok ? 0 : 1);
  for (const { id, status, remedy } of report.checks) assert.equal(remedy === null, status === 'ok', id);
  return { code: result.code, checks: report.checks };
}

/** `status id subject` of each check that is not ok. FRR's checks are left out: FRR is missing here. */
function complaints(machine: Machine, prefix: readonly string[] = []): string[] {
  return complaintsOf(examine(machine, prefix).checks.filter(({ id }) => id !== 'frr'));
}

function find(machine: Machine, id: string): Check {
  const found = examine(machine).checks.find((check) => check.id === id && check.status !== 'ok');
  assert.ok(found, `doctor has no complaint about ${id}`);
  return found;
}

test('a healthy node has every check, and only the missing FRR as a complaint', async (t) => {
  const machine = await healthy(t);
  const { code, checks } = examine(machine);
  assert.equal(code, 0);
  assert.deepEqual(
    checks.filter(({ status }) => status !== 'ok').map(({ id }) => id),
    ['frr'],
  );
  assert.deepEqual(
    checks.map(({ id, subject }) => (subject === null ? id : `${id} ${subject}`)),
    [
      'kernel',
      'capabilities',
      `bpffs ${machine.snoopy.bpffs}`,
      `pins ${machine.pins}`,
      'last-run',
      'due',
      'table',
      'ring',
      'gc-thresh',
      'unnamed',
      'bridge br0',
      'ports br0',
      'chain br0',
      `tunnel br0`,
      `learning ${TUNNEL}`,
      `neigh-suppress ${TUNNEL}`,
      'bridge-mac br0',
      'ipv6 br0',
      'ageing br0',
      'frr',
      'limits',
      'frozen',
      'hosts',
      'silent',
    ],
  );
});

test('before the first run no host counts as one that sends nothing', async (t) => {
  const machine = new Machine(t, { tunnel: true });
  machine.host(1).announce();
  await machine.host(1).forwarded();
  const { checks } = examine(machine);
  assert.deepEqual(
    checks.filter(({ id }) => id === 'silent' || id === 'pins').map(({ id, status }) => `${id} ${status}`),
    ['pins failure'],
  );
});

test('it changes nothing and consumes nothing', async (t) => {
  const machine = await healthy(t);
  machine.host(1).announce('10.1.0.99');
  const pins = run(['ls', '-lR', '--time-style=full-iso', machine.pins]);
  examine(machine);
  assert.equal(run(['ls', '-lR', '--time-style=full-iso', machine.pins]), pins);
  assert.deepEqual(machine.ownNeighbors(), ['10.1.0.1 02:00:00:00:00:01']);
  assert.equal(machine.reconcile().ring.records, 1);
});

describe('text', () => {
  test('has a line for each check, and below a complaint its meaning and the fix', async (t) => {
    const machine = await healthy(t);
    machine.run('bridge', 'link', 'set', 'dev', TUNNEL, 'neigh_suppress', 'off');
    const result = machine.snoopy.run('doctor');
    assert.match(result.stdout, /^ok {7}ports br0 .* all 1 attached$/m);
    const complaint = result.stdout.slice(result.stdout.indexOf('warning  neigh-suppress'));
    const [head = '', why = '', more = '', remedy = ''] = complaint.split('\n');
    assert.match(head, /^warning {2}neigh-suppress vxlan100 +off$/);
    assert.match(`${why}\n${more}`, /^ {9}why: .*\n {14}.*requests are flooded\.$/);
    assert.equal(remedy, `         fix: bridge link set dev ${TUNNEL} neigh_suppress on`);
    assert.match(result.stdout, /\n\d failures?, \d warnings?, \d+ ok\n$/);
  });
});

describe('the host', () => {
  test('nothing is pinned, and the kernel accepts the program', (t) => {
    const machine = new Machine(t, { tunnel: true });
    const { checks } = examine(machine);
    assert.equal(checks.find(({ id }) => id === 'kernel')?.status, 'ok');
    const found = checks.filter(({ status }) => status === 'failure').map(({ id }) => id);
    assert.deepEqual(found, ['pins', 'ports']);
    assert.equal(checks.find(({ id }) => id === 'pins')?.remedy, 'snoopy reconcile');
  });

  test('the kernel rejects the program', (t) => {
    const machine = new Machine(t, { tunnel: true });
    // Without CAP_PERFMON the verifier allows no access to packets through kernel pointers.
    const without = ['setpriv', '--bounding-set=-perfmon,-sys_admin'];
    const found = complaints(machine, without);
    assert.ok(found.includes('failure kernel'));
    assert.ok(found.includes('warning capabilities'), 'and the missing capability as its cause');
  });

  deepTest('a capability is missing that only part of the work needs', async (t) => {
    const machine = await healthy(t);
    assert.deepEqual(complaints(machine, ['setpriv', '--bounding-set=-net_raw']), ['warning capabilities']);
  });

  test('without the capabilities to look, doctor exits with 77 like every command', (t) => {
    const machine = new Machine(t);
    const argv = machine.snoopy.argv('doctor');
    const result = machine.netns.tryRun(['setpriv', '--bounding-set=-net_admin', ...argv]);
    assertExit(result, 77);
    assert.match(result.stderr, /CAP_NET_ADMIN/);
  });

  deepTest('bpffs is not mounted', async (t) => {
    const machine = await healthy(t);
    const bpffs = createTempDir(machine.scope, 'unmounted');
    machine.snoopy.configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
    assert.ok(complaints(machine).includes(`warning bpffs ${bpffs}`));
  });

  deepTest('only this process sees the bpffs', async (t) => {
    const scope = new Scope();
    t.after(() => scope.close());
    const container = await Container.boot(scope, 'node');
    container.run('mkdir', '-p', '/opt/node_modules', '/etc/snoopy');
    run(['cp', PRODUCT, `${container.root}/opt/snoopy.cjs`]);
    for (const name of ['koffi', '@koromix']) {
      run(['cp', '-a', `${MODULES}/${name}`, `${container.root}/opt/node_modules/`]);
    }
    writeFileSync(`${container.root}/etc/snoopy/snoopy.yaml`, 'version: 1\nbridges: []\n');
    const doctor = ['node', '/opt/snoopy.cjs', 'doctor', '--format', 'json'];
    const hidden = ['unshare', '--mount', 'sh', '-ec', 'mount -t bpf bpf /sys/fs/bpf; exec "$@"', 'sh'];
    const status = (argv: readonly string[]): string | undefined => {
      const { checks } = JSON.parse(container.tryRun(argv).stdout) as { checks: Check[] };
      return checks.find(({ id }) => id === 'bpffs')?.status;
    };
    assert.equal(status(doctor), 'ok');
    assert.equal(status([...hidden, ...doctor]), 'failure');
    // As ip netns exec does it: a run would mount bpffs where no later run finds it.
    const covered = ['unshare', '--mount', 'sh', '-ec', 'mount -t tmpfs none /sys/fs/bpf; exec "$@"', 'sh'];
    assert.equal(status([...covered, ...doctor]), 'failure');
    container.run('mkdir', '/run/bpf');
    const other = '/etc/snoopy/other.yaml';
    writeFileSync(
      `${container.root}${other}`,
      'version: 1\nruntime: {bpffs: /run/bpf, pin_dir: snoopy}\nbridges: []\n',
    );
    const apart = ['unshare', '--mount'];
    assert.equal(status([...apart, ...doctor, '--config', other]), 'failure');
    assert.equal(status([...doctor, '--config', other]), 'warning');
    for (const [wrapper, ...config] of [[covered], [apart, '--config', other]] as const)
      for (const check of [[], ['--check']]) {
        const argv = ['node', '/opt/snoopy.cjs', 'reconcile', ...config, ...check];
        const refused = container.tryRun([...wrapper, ...argv]);
        assert.equal(refused.code, 1, outputOf(refused));
        assert.match(refused.stderr, /Cannot mount bpffs .*process 1, .*nsenter --net/);
      }
    const sound = container.tryRun(['node', '/opt/snoopy.cjs', 'reconcile', '--config', other]);
    assert.equal(sound.code, 0, outputOf(sound));
  });

  deepTest('pins are lost while filters are attached, and pins belong to a newer snoopy', async (t) => {
    const machine = await healthy(t, CLSACT);
    const layout = `${machine.pins}/layout`;
    const [entry] = bpftool<{ readonly value: readonly string[] }[]>('map', 'dump', 'pinned', layout);
    const value = ['hex', '63', ...(entry?.value ?? []).slice(1).map((byte) => byte.replace('0x', ''))];
    run(['bpftool', 'map', 'update', 'pinned', layout, 'key', '0', '0', '0', '0', 'value', ...value]);
    const [newer, ...rest] = examine(machine).checks;
    assert.deepEqual([newer?.id, newer?.status, rest.length], ['pins', 'failure', 0]);
    assert.match(newer?.remedy ?? '', /upgrade snoopy/);
    run(['rm', '-r', machine.pins]);
    const lost = find(machine, 'pins');
    assert.match(lost.found, /programs of snoopy are attached/);
  });

  deepTest('the last run is long ago, or no run ever succeeded', async (t) => {
    const machine = await healthy(t);
    run(['touch', '--date=2 hours ago', `${machine.pins}/layout`]);
    assert.deepEqual(complaints(machine), ['warning last-run']);
    assert.match(find(machine, 'last-run').found, /2h ago/);
    machine.reconcile();
    assert.deepEqual(complaints(machine), []);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }, { name: 'br9' }] });
    run(['touch', '--date=2 hours ago', `${machine.pins}/layout`]);
    assertExit(machine.snoopy.reconcile(), 1);
    assert.deepEqual(complaints(machine), ['warning last-run', 'failure bridge br9']);
  });

  deepTest('a run that listens for long is no run of long ago', async (t) => {
    const machine = await healthy(t);
    const layout = `${machine.pins}/layout`;
    const ageMs = (): number => Date.now() - statSync(layout).mtimeMs;
    const age = (): string => run(['touch', '--date=2 hours ago', layout]);
    age();
    machine.snoopy.startReconcile('--listen', '4m');
    const noted = (): Promise<number> =>
      until('the time of a success', ageMs, (ms) => ms < 60_000, { timeoutMs: 150_000 });
    await noted();
    age();
    await noted();
    assert.deepEqual(complaints(machine), []);
  });

  deepTest('a run that cannot record the time of its success reports that, and does its work', async (t) => {
    // The times of its verification are others.
    const machine = await healthy(t, { bridges: [{ name: 'br0' }], frr: { verify: 'never' } });
    machine.host(1).announce('10.1.0.99');
    const inject = ['strace', '-f', '-o', '/dev/null', '-e', 'inject=utimensat:error=EPERM'];
    const argv = machine.snoopy.argv('reconcile', '--format', 'json');
    const result = withReport(machine.netns.tryRun([...inject, ...argv]));
    assertExit(result, 1);
    assert.deepEqual(
      result.report.errors.map(({ object, message }) => [object, message]),
      [
        [
          `${machine.pins}/layout`,
          `Cannot utime "${machine.pins}/layout": EPERM; run as root, or check the permissions there`,
        ],
      ],
    );
    assert.ok(machine.ownNeighbors().includes('10.1.0.99 02:00:00:00:00:01'));
  });

  deepTest('a table is full', async (t) => {
    const bridges = [{ name: 'br0', limits: { bindings_per_port: 2 } }];
    const machine = await healthy(t, { runtime: { max_bindings: 2 }, bridges });
    assert.deepEqual(complaints(machine), []);
    machine.host(1).announce('10.1.0.99');
    machine.reconcile();
    assert.deepEqual(complaints(machine), ['failure table', 'warning limits']);
  });

  deepTest('the limits of the ports add up to more than the table', async (t) => {
    const bridges = [{ name: 'br0', limits: { bindings_per_port: 100 } }];
    const machine = await healthy(t, { runtime: { max_bindings: 199 }, bridges });
    assert.deepEqual(complaints(machine), []);
    machine.addHost(2);
    machine.reconcile();
    assert.deepEqual(complaints(machine), ['warning table']);
  });

  deepTest('records of changes were dropped', async (t) => {
    const limits = { bindings_per_port: 1000, new_bindings_per_second: 1000 };
    const machine = new Machine(t, {
      tunnel: true,
      config: { runtime: { ring_size: '4KiB' }, bridges: [{ name: 'br0', limits }] },
    });
    machine.reconcile();
    for (let i = 1; i <= 100; i++) machine.host(1).announce(`10.1.1.${i}`);
    await machine.host(1).announceAndWait();
    machine.reconcile();
    assert.deepEqual(complaints(machine), ['warning ring']);
  });
});

describe('bridges', () => {
  /** A filter that takes every frame and ends the chain. */
  function addFilter(machine: Machine, port: string, pref: number): void {
    const where = ['dev', port, 'ingress', 'pref', String(pref)];
    machine.run('tc', 'filter', 'add', ...where, 'u32', 'match', 'u32', '0', '0', 'classid', '1:1');
  }

  deepTest('a required bridge is missing, and an optional one', async (t) => {
    const machine = await healthy(t);
    machine.snoopy.configure({
      bridges: [{ name: 'br0' }, { name: 'br8', required: false }, { name: 'br9' }],
    });
    assert.deepEqual(complaints(machine), ['failure bridge br9']);
  });

  deepTest('a port is not attached, and the next run would attach it', async (t) => {
    const machine = await healthy(t);
    machine.addHost(2);
    assert.deepEqual(complaints(machine), ['warning due', 'failure ports br0']);
    assert.deepEqual(find(machine, 'ports').items, ['tap2']);
    assert.deepEqual(find(machine, 'due').items, ['set-port tap2', 'attach tap2']);
  });

  deepTest('a filter before ours is a warning while hosts are seen, a failure when none is', async (t) => {
    const machine = await healthy(t, CLSACT);
    addFilter(machine, 'tap1', 1);
    assert.deepEqual(complaints(machine), ['warning chain br0']);
    assert.match(find(machine, 'chain').found, /filter u32 pref 1 runs before ours on tap1/);
    assert.match(find(machine, 'chain').remedy ?? '', /attach: auto/);
    const second = machine.addHost(2);
    machine.run('tc', 'qdisc', 'add', 'dev', 'tap2', 'clsact');
    addFilter(machine, 'tap2', 1);
    machine.reconcile();
    await second.announceAndWait();
    machine.reconcile();
    assert.deepEqual(complaints(machine), ['failure chain br0', 'warning chain br0']);
  });

  deepTest('a filter behind ours is no complaint', async (t) => {
    const machine = await healthy(t, CLSACT);
    addFilter(machine, 'tap1', 100);
    assert.deepEqual(complaints(machine), []);
  });

  deepTest(
    'a TCX program comes before all filters, or before ours by its own request',
    NEEDS_TCX,
    async (t) => {
      const machine = await healthy(t, CLSACT);
      enterNetns(machine.scope, machine.netns);
      const [port] = machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'tap1');
      const ender = loadEnder(machine.scope);
      const attach = (flags: number): number => tcxAttach(ender, port?.ifindex ?? 0, BPF_TCX_INGRESS, flags);
      const link = attach(0);
      // The host was seen before that program was attached.
      assert.deepEqual(complaints(machine), ['warning chain br0']);
      assert.match(find(machine, 'chain').found, /TCX program \d+ runs before ours on tap1/);
      assert.match(find(machine, 'chain').remedy ?? '', /attach: auto.*TCX_NEXT/);
      const second = machine.addHost(2);
      const [other] = machine.netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'tap2');
      tcxAttach(ender, other?.ifindex ?? 0, BPF_TCX_INGRESS);
      machine.reconcile();
      await second.announceAndWait();
      machine.reconcile();
      assert.deepEqual(complaints(machine), ['failure chain br0', 'warning chain br0']);
      assert.match(find(machine, 'chain').found, /^hosts behind tap2 and none was seen: TCX program/);

      machine.snoopy.configure({ runtime: { attach: 'tcx' }, bridges: [{ name: 'br0' }] });
      machine.reconcile();
      await second.announceAndWait();
      machine.reconcile();
      assert.deepEqual(complaints(machine), []);

      closeSync(link);
      attach(BPF_F_BEFORE);
      assert.deepEqual(complaints(machine), ['warning chain br0']);
      assert.match(find(machine, 'chain').remedy ?? '', /TCX_NEXT, or attach it after snoopy/);
    },
  );

  deepTest('a bridge has no tunnel, or its tunnel is down', async (t) => {
    const machine = await healthy(t);
    machine.run('ip', 'link', 'set', TUNNEL, 'down');
    assert.deepEqual(complaints(machine), ['failure tunnel br0']);
    machine.run('ip', 'link', 'del', TUNNEL);
    assert.deepEqual(complaints(machine), ['failure tunnel br0']);
  });

  deepTest('a bridge is down', async (t) => {
    const machine = await healthy(t);
    machine.run('ip', 'link', 'set', 'br0', 'down');
    // Its hosts wait: the bridge has forgotten their MACs.
    assert.deepEqual(complaints(machine), ['failure bridge br0', 'warning hosts br0']);
    const { found, remedy } = find(machine, 'bridge');
    assert.deepEqual([found, remedy], ['br0 is down', 'ip link set br0 up']);
  });

  deepTest('a tunnel learns, by its port or by its device, and suppresses nothing', async (t) => {
    const machine = await healthy(t);
    machine.run('bridge', 'link', 'set', 'dev', TUNNEL, 'learning', 'on', 'neigh_suppress', 'off');
    assert.deepEqual(complaints(machine), [`warning learning ${TUNNEL}`, `warning neigh-suppress ${TUNNEL}`]);
    assert.equal(find(machine, 'learning').remedy, `bridge link set dev ${TUNNEL} learning off`);
    machine.run('bridge', 'link', 'set', 'dev', TUNNEL, 'learning', 'off', 'neigh_suppress', 'on');
    machine.run('ip', 'link', 'set', TUNNEL, 'type', 'vxlan', 'learning');
    assert.deepEqual(complaints(machine), [`warning learning ${TUNNEL}`]);
  });

  deepTest('a bridge has the MAC of a port', async (t) => {
    const machine = await healthy(t);
    const [tunnel] = machine.netns.json<{ address: string }[]>('ip', '-json', 'link', 'show', TUNNEL);
    machine.run('ip', 'link', 'set', 'br0', 'address', tunnel?.address ?? '');
    machine.reconcile();
    assert.ok(complaints(machine).includes('warning bridge-mac br0'));
  });

  deepTest('IPv6 is off, which is a failure only where it is needed', async (t) => {
    const machine = await healthy(t);
    machine.netns.sysctl({ 'net/ipv6/conf/br0/disable_ipv6': 1 });
    assert.deepEqual(complaints(machine), ['warning ipv6 br0']);
    machine.snoopy.configure({ bridges: [{ name: 'br0', learn: ['arp'] }] });
    machine.reconcile();
    assert.deepEqual(complaints(machine), []);
    machine.snoopy.configure({ bridges: [{ name: 'br0' }] });
    machine.reconcile();
    machine.host(1).advertise();
    const found = () => complaints(machine);
    await until('an IPv6 host', found, (all) => all.includes('failure ipv6 br0'), { everyMs: 200 });
  });

  deepTest('a bridge ages out MACs at once, and max_age is below its ageing time', async (t) => {
    const machine = await healthy(t);
    machine.snoopy.configure({ bridges: [{ name: 'br0', max_age: '2m' }] });
    assert.deepEqual(complaints(machine), ['warning ageing br0']);
    machine.run('ip', 'link', 'set', 'br0', 'type', 'bridge', 'ageing_time', '0');
    assert.ok(complaints(machine).includes('failure ageing br0'));
  });
});

describe('hosts', () => {
  deepTest('a port has reached its limit', async (t) => {
    const limits = { bindings_per_port: 1 };
    const machine = await healthy(t, { bridges: [{ name: 'br0', limits }] });
    assert.deepEqual(complaints(machine), ['warning limits']);
    assert.deepEqual(find(machine, 'limits').items, ['tap1 (1 of 1)']);
  });

  deepTest('an address is frozen as a duplicate', async (t) => {
    const duplicates = { moves: 2, window: '1m', hold: '1h' };
    const machine = await healthy(t, { bridges: [{ name: 'br0', duplicates }] });
    const second = machine.addHost(2);
    machine.reconcile();
    for (let i = 0; i < 3; i++) {
      second.announce('10.1.0.1');
      machine.host(1).announce('10.1.0.1');
    }
    await second.forwarded();
    machine.reconcile();
    const frozen = find(machine, 'frozen');
    assert.equal(frozen.remedy, 'find the two hosts, then: snoopy reconcile --unfreeze 10.1.0.1');
    assert.deepEqual(frozen.items, ['10.1.0.1']);
  });

  deepTest(
    'a virtual router answers from another MAC than the one that it claims, as CARP does',
    async (t) => {
      const machine = await healthy(t);
      const virtual = { senderMac: '00:00:5e:00:01:07', senderIp: '10.1.0.254', targetIp: '10.1.0.254' };
      const { mac } = machine.host(1);
      machine.host(1).send(arpFrame({ operation: 'reply', source: mac, ...virtual }));
      machine.reconcile();
      assert.deepEqual(complaints(machine), ['warning virtual-router br0']);
      const { remedy } = find(machine, 'virtual-router');
      const entry = '{ip: "10.1.0.254", mac: "00:00:5e:00:01:07"}';
      assert.equal(remedy, `add it under "static": ${entry}`);
      machine.snoopy.configure({
        bridges: [{ name: 'br0', static: [JSON.parse(entry.replace(/(ip|mac):/g, '"$1":'))] }],
      });
      machine.reconcile();
      assert.equal(examine(machine).checks.filter(({ id }) => id === 'virtual-router').length, 0);
    },
  );

  test('a host whose MAC is forwarded has sent no message with its address', async (t) => {
    const machine = await healthy(t);
    const second = machine.addHost(2);
    machine.reconcile();
    second.send(rarpFrame(second.mac));
    await second.forwarded();
    machine.reconcile();
    assert.deepEqual(complaints(machine), ['warning silent br0']);
    assert.deepEqual(find(machine, 'silent').items, [`${second.mac} on tap2`]);
    await second.announceAndWait();
    machine.reconcile();
    assert.deepEqual(complaints(machine), []);
  });

  deepTest(
    'a host has sent a solicitation or an advertisement that is not learned from, and answers no probe',
    async (t) => {
      const machine = await healthy(t);
      const second = machine.addHost(2);
      machine.reconcile();
      const { mac } = second;
      const [asking, answering] = ['2001:db8::a', '2001:db8::b'];
      second.send(nsFrame({ source: asking, sourceMac: mac, target: '2001:db8::1' }));
      const unnamed = { target: answering, targetMac: null, source: mac, solicited: true };
      second.send(naFrame({ ...unnamed, destinationIp: '2001:db8::1', destination: machine.host(1).mac }));
      await second.forwarded();
      machine.reconcile();
      const checks = examine(machine).checks.filter(
        ({ id, status }) => id === 'hinted' && status === 'warning',
      );
      assert.deepEqual(checks.map(({ found }) => found).sort(), [
        `${asking}: its host has sent a Neighbor Solicitation, which is not learned from`,
        `${answering}: its host has sent an advertisement without its MAC`,
      ]);
    },
  );

  test('the bridge does not forward a host, with the reason', async (t) => {
    const machine = await healthy(t);
    const second = machine.addHost(2);
    machine.reconcile();
    await second.announceAndWait();
    second.forgetMac();
    machine.reconcile();
    const found = find(machine, 'hosts');
    assert.deepEqual(found.items, ['10.1.0.2']);
    assert.match(found.found, /^no neighbor for 10\.1\.0\.2: \w/);
  });
});

deepTest('an FRR without running daemons is a failure with the output of vtysh', async (t) => {
  const machine = await healthy(t);
  const bin = join(createTempDir(machine.scope, 'bin'), 'bin');
  mkdirSync(bin);
  symlinkSync('/bin/false', join(bin, 'vtysh'));
  const argv = machine.snoopy.argv('doctor', '--format', 'json');
  const result = machine.netns.tryRun(['/usr/bin/env', `PATH=${bin}`, ...argv]);
  assertExit(result, 1);
  const { checks } = JSON.parse(result.stdout) as { checks: Check[] };
  const frr = checks.find(({ id }) => id === 'frr');
  assert.deepEqual(
    [frr?.status, frr?.found],
    ['failure', 'vtysh -c "show evpn vni detail json" fails: it ended with 1'],
  );
});

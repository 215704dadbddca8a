// Runs at the same time: with each other, with a removal, with readers, and with a holder of the lock that hangs.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertExit, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { deepTest } from '../lib/depth.ts';
import { attachedPrograms, listAttached } from '../lib/oracles.ts';
import { type Background, parseJson } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { outputOf, type Report, withReport } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { makeTools, Site } from './site.ts';

const RUNS = 20;
const HOSTS = 8;

/** As long as twenty starts of Node on a busy machine take. */
const PATIENCE_MS = 60_000;

/** Starts runs at the same instant and returns how each ended. */
async function together(machine: Machine, count: number, ...args: string[]) {
  const started = Array.from({ length: count }, () => machine.snoopy.startReconcile(...args));
  return Promise.all(started.map((run) => run.ended(PATIENCE_MS)));
}

/** The kernel's notifications about neighbors since the start. */
async function watchNeighbors(machine: Machine): Promise<Background> {
  const monitor = machine.netns.start('ip', 'monitor', 'neigh');
  let tries = 0;
  await until(
    'ip monitor to report a neighbor',
    () => {
      // The kernel does not report what was there before: the first may come before the monitor.
      tries += 1;
      const mac = `02:00:00:00:99:${String(tries % 100).padStart(2, '0')}`;
      machine.run('ip', 'neigh', 'replace', '10.9.9.9', 'lladdr', mac, 'dev', 'br0');
      return monitor.stdout;
    },
    (text) => text.includes('10.9.9.9'),
  );
  return monitor;
}

describe(`${RUNS} runs at once`, () => {
  test('load once, attach once, write each neighbor once', async (t) => {
    const machine = new Machine(t, { hosts: HOSTS });
    const first = (await together(machine, RUNS, '--lock-timeout', '1m')).map(withReport);
    for (const run of first) assertExit(run, 0);
    const done = first.flatMap(({ report }) =>
      report.steps.map(({ action: { kind, port = '' }, outcome }) => `${kind} ${port} ${outcome.kind}`),
    );
    assert.deepEqual(
      done.filter((step) => /^(load|attach|set-port)/.test(step)).sort(),
      [
        'load  applied',
        ...machine.hosts.flatMap(({ port }) => [`attach ${port} applied`, `set-port ${port} applied`]),
      ].sort(),
    );
    assert.equal(first.filter(({ report }) => report.changed).length, 1, 'one run did everything');
    for (const { port } of machine.hosts) assert.equal(attachedPrograms(machine.netns, port).length, 1);

    for (const host of machine.hosts) await host.announceAndWait();
    const monitor = await watchNeighbors(machine);
    const second = (await together(machine, RUNS, '--lock-timeout', '1m')).map(withReport);
    for (const run of second) assertExit(run, 0);
    assert.equal(
      second.reduce((sum, { report }) => sum + report.ring.records, 0),
      HOSTS,
      'each record was read once',
    );
    const lines = machine.hosts.map((host) => `${host.ip} ${host.mac}`).sort();
    const written = second.flatMap(({ report }) => report.neighbors.changes);
    assert.deepEqual(written.map(({ ip, mac }) => `${ip} ${mac}`).sort(), lines);
    assert.deepEqual(machine.ownNeighbors(), lines);
    const writes = monitor.stdout
      .split('\n')
      .flatMap((line) => /^(?:Deleted )?10\.1\.0\.\d+ .*/.exec(line) ?? []);
    assert.equal(writes.length, HOSTS, `the kernel reports one write of each:\n${monitor.stdout}`);
    machine.assertIdle();
  });

  deepTest(
    'that do not wait exit with 75 unless they have the lock, and the next run has nothing to fix',
    async (t) => {
      const machine = new Machine(t, { hosts: 2 });
      machine.reconcile();
      for (const host of machine.hosts) await host.announceAndWait();
      // Part of each run comes before the lock. One run listens, which makes sure that they meet.
      const holder = await holdLock(machine);
      const runs = await together(machine, RUNS, '--lock-timeout', '0');
      for (const run of runs) {
        assertExit(run, 75);
        assert.ok(
          run.stderr.includes(`Cannot lock "${machine.pins}": process ${holder.pid} holds the lock`),
          outputOf(run),
        );
      }
      await holder.stop('SIGTERM');
      const free = await together(machine, RUNS, '--lock-timeout', '0s');
      for (const run of free) assert.ok([0, 75].includes(run.code), outputOf(run));
      assert.ok(
        free.some(({ code }) => code === 0),
        'none had the lock',
      );
      machine.assertIdle();
      assert.equal(machine.ownNeighbors().length, 2);
    },
  );
});

/** A run that holds the lock for as long as it listens. */
async function holdLock(machine: Machine): Promise<Background> {
  const holder = machine.snoopy.startReconcile('--listen', '50s');
  await until(
    'the lock to be held',
    () => machine.netns.tryRun(['flock', '--nonblock', machine.pins, 'true']).code,
    (code) => code !== 0,
  );
  return holder;
}

describe('a run that holds the lock', () => {
  test('is named when it hangs, and does no harm when it is killed', async (t) => {
    const machine = new Machine(t);
    machine.reconcile();
    const holder = await holdLock(machine);
    const busy = machine.snoopy.run('reconcile', '--lock-timeout', '100ms');
    assertExit(busy, 75);
    assert.ok(
      busy.stderr.includes(
        `Cannot lock "${machine.pins}": process ${holder.pid} holds the lock (waited 0.1 s); run again, or wait longer`,
      ),
      outputOf(busy),
    );
    process.kill(holder.pid, 'SIGSTOP');
    for (const args of [['reconcile'], ['reconcile', '--check'], ['remove']] as const) {
      const [command, ...rest] = args;
      const stuck = machine.snoopy.run(command, ...rest, '--lock-timeout', '100ms');
      assertExit(stuck, 75);
      assert.match(
        stuck.stderr,
        new RegExp(`process ${holder.pid} holds .* is stopped .*-CONT ${holder.pid}`),
      );
    }
    // A command that only reads does not wait for it.
    assertExit(machine.snoopy.run('status'), 0);
    await machine.host(1).announceAndWait();
    holder.kill();
    assert.equal(machine.reconcile('--lock-timeout', '0s').neighbors.changes.length, 1);
    machine.assertIdle();
  });

  deepTest(
    'is not named when its process is unknown, or has ended and left the lock to another',
    async (t) => {
      const machine = new Machine(t);
      machine.reconcile();
      // flock(1) passes its descriptor on and ends: no process has the number that took the lock.
      const heir = machine.netns.start(
        ...['sh', '-c', `exec 9<${machine.pins}; flock 9; echo held; exec sleep 50`],
      );
      await heir.printed(/held/);
      const result = machine.snoopy.run('reconcile', '--lock-timeout', '0s');
      assertExit(result, 75);
      assert.ok(
        result.stderr.includes(`Cannot lock "${machine.pins}": another run holds the lock`),
        outputOf(result),
      );
    },
  );
});

describe('a host that sends while a run withdraws its neighbor', () => {
  for (const [declare, why, leave, port] of [
    [test, 'because of its age', ({ machine }: Site) => machine.host(1).forgetMac(), 1],
    [deepTest, 'because its port is gone', ({ machine }: Site) => machine.host(1).unplug(), 2],
  ] as const) {
    declare(`${why} has it again after the next run, without another message`, async (t) => {
      const scope = new Scope();
      t.after(() => scope.close());
      const site = new Site(t, 0, makeTools(scope));
      const { machine } = site;
      const { ip, mac } = machine.host(1);
      site.set({ ...site.setting, bridge: { max_age: '1s' } });
      assertExit(await site.run('reconcile'), 0);
      await machine.host(1).announceAndWait();
      assertExit(await site.run('reconcile'), 0);
      assert.deepEqual(machine.ownNeighbors(), [`${ip} ${mac}`]);
      await sleep(1_100);
      leave(site);
      // By then the run has decided, and has yet to delete the binding.
      const injection = { at: 1, only: 'send netlink*', what: 'stop' } as const;
      const meanwhile = (): void => machine.host(port).announce(ip, mac);
      const launched = await site.run('reconcile', { counted: 'change', injection, meanwhile });
      assertExit(launched, 0);
      assert.deepEqual(
        withReport(launched).report.neighbors.changes.map(({ kind }) => kind),
        ['remove'],
      );
      const after = await site.run('reconcile');
      assertExit(after, 0);
      assert.deepEqual(machine.ownNeighbors(), [`${ip} ${mac}`], outputOf(after));
    });
  }
});

describe('a run and a removal at the same time', () => {
  deepTest('leave all or nothing, in any order, and the next run fixes what is left', async (t) => {
    const machine = new Machine(t, { hosts: 2 });
    const ends = new Set<string>();
    for (let turn = 0; turn < 12; turn++) {
      // Both orders, from both states, each time a little later.
      if (turn % 4 < 2) machine.reconcile();
      const offsetMs = (turn * 17) % 120;
      const run = (): Background => machine.snoopy.startReconcile('--lock-timeout', '20s');
      const remove = (): Background =>
        machine.netns.start(...machine.snoopy.argv('remove', '--format', 'json', '--lock-timeout', '20s'));
      const starts = turn % 2 === 0 ? [run, remove] : [remove, run];
      const started: Background[] = [];
      for (const start of starts) {
        started.push(start());
        await sleep(offsetMs);
      }
      for (const each of await Promise.all(started.map((one) => one.ended(PATIENCE_MS)))) assertExit(each, 0);
      const isThere = existsSync(`${machine.pins}/program`);
      ends.add(isThere ? 'all' : 'nothing');
      for (const { port } of machine.hosts) {
        const expected = isThere ? [machine.programId()] : [];
        assert.deepEqual(machine.attachedPrograms(port), expected, `turn ${turn}`);
      }
      if (!isThere) assert.deepEqual(listPins(machine.snoopy.bpffs), [], `turn ${turn}`);
    }
    assert.deepEqual([...ends].sort(), ['all', 'nothing'], 'only one of the two outcomes occurred');
    machine.reconcile();
    for (const host of machine.hosts) await host.announceAndWait();
    machine.reconcile();
    assert.equal(machine.ownNeighbors().length, 2);
    machine.assertIdle();
  });
});

describe('a run that begins when a removal has just deleted all pins', () => {
  deepTest('is independent of it: both succeed', async (t) => {
    const scope = new Scope();
    t.after(() => scope.close());
    const site = new Site(t, 0, makeTools(scope));
    const { machine } = site;
    machine.reconcile();
    const injection = { at: 1, only: `rmdir ${machine.pins}`, what: 'stop-after' } as const;
    let report: Report | undefined;
    const meanwhile = (): void => {
      report = machine.reconcile('--lock-timeout', '0');
    };
    const removal = await site.run('remove', { counted: 'change', injection, meanwhile });
    assertExit(removal, 0);
    assert.deepEqual(withReport(removal).report.remaining, []);
    assert.equal(report?.changed, true);
    assert.deepEqual(machine.attachedPrograms('tap1'), [machine.programId()]);
    machine.assertIdle();
  });
});

describe('a removal where nothing is pinned', () => {
  deepTest('takes the lock all the same, and leaves nothing of it behind', async (t) => {
    const machine = new Machine(t);
    machine.snoopy.configure({ runtime: { pin_dir: 'net/snoopy' }, bridges: [{ name: 'br0' }] });
    const nothing = machine.remove();
    assert.deepEqual([nothing.changed, nothing.steps], [false, []]);
    assert.deepEqual(listPins(machine.snoopy.bpffs), []);
    // Stopped in the middle of its work: when it has opened a socket to the kernel.
    const argv = machine.snoopy.argv('remove', '--format', 'json');
    const trace = ['strace', '-f', '-o', '/dev/null', '-e', 'inject=sendto:delay_enter=3000000:when=1'];
    const slow = machine.netns.start(...trace, ...argv);
    await until(
      'the removal to have the lock',
      () => listPins(machine.snoopy.bpffs),
      (pins) => pins.includes('net/snoopy'),
    );
    assertExit(machine.snoopy.run('reconcile', '--lock-timeout', '0s'), 75);
    machine.reconcile('--lock-timeout', '20s');
    assertExit(await slow.ended(PATIENCE_MS), 0);
    assert.deepEqual(attachedPrograms(machine.netns, 'tap1').length, 1);
    machine.assertIdle();
  });
});

interface Status {
  readonly ports: readonly { readonly name: string; readonly bindings: number }[];
  readonly bindings: readonly {
    readonly bridge: string;
    readonly vlan: number;
    readonly ip: string;
    readonly port: string;
    readonly source: string;
  }[];
  readonly errors: readonly unknown[];
}

describe('readers beside writers', () => {
  /** Everything at once: hosts come and age out, runs write and withdraw, now and then everything is removed. */
  function disturb(machine: Machine): Background[] {
    const speak = `
import random, socket, struct, time
s = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for _ in range(${HOSTS})]
for i, each in enumerate(s): each.bind(('e%d' % (i + 1), 0))
end = time.time() + 300
while time.time() < end:
    i = random.randrange(${HOSTS})
    mac = bytes([2, 0, 0, 0, 0, i + 1])
    ip = bytes([10, 1, i + 1, random.randrange(1, 200)])
    s[i].send(b'\\xff' * 6 + mac + b'\\x08\\x06' + struct.pack('>HHBBH', 1, 0x800, 6, 4, 1) + mac + ip + bytes(6) + ip)
    time.sleep(0.0005)
`;
    const [reconcile, remove] = ['reconcile', 'remove'].map((command) =>
      machine.snoopy
        .argv(command, '--lock-timeout', '20s')
        .map((word) => `'${word}'`)
        .join(' '),
    );
    const churn = `for i in $(seq 1000); do ${reconcile} || exit 9; [ $((i % 5)) = 0 ] && ${remove}; done`;
    return [machine.far.start('/usr/bin/python3', '-c', speak), machine.netns.start('sh', '-c', churn)];
  }

  deepTest('never fail, and see nothing twice', async (t) => {
    const limits = { bindings_per_port: 150, new_bindings_per_second: 2000 };
    const machine = new Machine(t, {
      hosts: HOSTS,
      config: { runtime: { max_bindings: 1024 }, bridges: [{ name: 'br0', max_age: '2s', limits }] },
    });
    machine.run('ip', 'link', 'set', 'br0', 'type', 'bridge', 'ageing_time', '100');
    machine.reconcile();
    const others = disturb(machine);
    let most = 0;
    for (let turn = 0; turn < 12; turn++) {
      const result = machine.snoopy.run('status', '--format', 'json');
      assertExit(result, 0);
      assert.equal(result.stderr, '');
      const { ports, bindings, errors } = parseJson<Status>(result.stdout, 'status');
      assert.deepEqual(errors, []);
      assert.equal(new Set(ports.map(({ name }) => name)).size, HOSTS, 'each port once');
      assert.equal(ports.length, HOSTS);
      const keys = bindings.map(({ bridge, vlan, ip }) => `${bridge} ${vlan} ${ip}`);
      assert.equal(new Set(keys).size, keys.length, 'each binding once');
      for (const { name, bindings: count } of ports) {
        assert.equal(bindings.filter(({ port }) => port === name).length, count, `those of ${name}`);
      }
      most = Math.max(most, bindings.length);
      const checked = machine.snoopy.run('reconcile', '--check', '--lock-timeout', '20s', '--format', 'json');
      assertExit(checked, 0);
      if (turn % 3 !== 0) continue;
      const doctor = machine.snoopy.run('doctor', '--format', 'json');
      assert.ok([0, 1].includes(doctor.code), outputOf(doctor));
      assert.equal(doctor.stderr, '');
      assert.doesNotMatch(doctor.stdout, /Internal error|Cannot /);
    }
    for (const other of others) assert.ok(other.running, `${other.argv.join(' ')}: ${other.stderr}`);
    for (const other of others) other.kill();
    assert.ok(most > HOSTS, `readers saw ${most} bindings at most: nothing happened beside them`);
  });
});

describe('two pin directories for the same bridge', () => {
  deepTest('take the ports from each other in turn, and each run reports it', async (t) => {
    const machine = new Machine(t);
    machine.snoopy.privileged();
    const bridges = [{ name: 'br0' }];
    const run = (directory: string): Report => {
      machine.snoopy.configure({ runtime: { pin_dir: directory }, bridges });
      return machine.reconcile();
    };
    assert.deepEqual(run('snoopy').warnings, []);
    assert.match(
      run('other').warnings.join('\n'),
      /nothing is pinned here.*runtime\.pin_dir of the other runs/,
    );
    for (const directory of ['snoopy', 'other', 'snoopy']) {
      const { changed, warnings } = run(directory);
      assert.equal(changed, true);
      assert.match(
        warnings.join('\n'),
        new RegExp(
          `Ports "tap1" had a snoopy program other than the one pinned in "${machine.snoopy.bpffs}/${directory}"`,
        ),
      );
      assert.equal(attachedPrograms(machine.netns, 'tap1').length, 1);
    }
    machine.assertIdle();
    assert.deepEqual(run('snoopy').warnings, []);
    assert.ok(listAttached(machine.netns));
  });
});

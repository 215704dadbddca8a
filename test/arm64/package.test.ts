// The life of the .deb on arm64, with pages of 4 KiB and of 16 KiB: installed, run, upgraded, removed and purged, in a
// container with systemd in a guest of that architecture.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import { listFilters, listQdiscs } from '../lib/oracles.ts';
import { parseJson, run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import type { Report } from '../lib/snoopy.ts';
import { until } from '../lib/wait.ts';
import { buildPackages, PackageMachine, type Packages, SERVICE, TIMER } from '../package/packages.ts';

const OLD = '0.0.1';
const NEW = '0.0.2';
const PINS = '/sys/fs/bpf/snoopy';
/** Addresses that a ring of 4 KiB has room for, and how often they are read until one of 16 KiB has wrapped. */
const HOSTS = 40;
const ROUNDS = 6;
const PAGE_SIZE = process.env['SNOOPY_GUEST'] === 'arm64-16k' ? 16_384 : 4_096;

const scope = new Scope();
let older: Packages;
let newer: Packages;
before(() => {
  older = buildPackages(scope, OLD, { only: ['deb'] });
  newer = buildPackages(scope, NEW, { only: ['deb'] });
});
after(() => scope.close());

test(`this is arm64 with pages of ${PAGE_SIZE / 1024} KiB`, () => {
  assert.equal(run(['uname', '-m']), 'aarch64\n');
  assert.equal(run(['getconf', 'PAGESIZE']), `${PAGE_SIZE}\n`);
});

for (const attach of ['tcx', 'clsact'] as const) {
  test(`attach: ${attach}: installs, learns, upgrades without a gap, and leaves nothing`, async (t) => {
    const machine = await PackageMachine.boot(t, { from: 'arm64' });
    const host = machine.addHost(1);
    await host.announceAndWait();
    const untouched = machine.inventory();

    // The ring is rounded up to a page.
    machine.dpkg('--install', machine.copyIn(older.deb));
    assert.equal(machine.run('snoopy', '--version'), `${VERSION}\n`);
    machine.configure(`runtime: {attach: ${attach}, ring_size: 4KiB}\nbridges: [{name: br0}]`);
    machine.run('systemctl', 'enable', '--quiet', '--now', TIMER);
    await machine.runsFor(host);
    assert.equal(machine.property(SERVICE, 'Result'), 'success');
    assert.equal(
      listQdiscs(machine.netns, host.port).some(({ kind }) => kind === 'clsact'),
      attach === 'clsact',
    );
    assert.equal(listFilters(machine.netns, host.port).length, attach === 'clsact' ? 1 : 0);
    const ring = machine.run('bpftool', '--json', 'map', 'show', 'pinned', `${PINS}/ring`);
    assert.equal(parseJson<{ max_entries: number }>(ring, 'bpftool').max_entries, PAGE_SIZE);

    // More records than the ring has room for, in several runs: its position wraps.
    machine.run('systemctl', 'stop', TIMER);
    for (let round = 1; round <= ROUNDS; round++) {
      const addresses = Array.from({ length: HOSTS }, (_, i) => `2001:db8:1::${round}:${i + 1}`);
      for (const ip of addresses) host.advertise(ip);
      const json = machine.run('snoopy', 'reconcile', '--format', 'json');
      const { ring, neighbors } = parseJson<Report>(json, 'snoopy reconcile');
      assert.deepEqual([ring.records, ring.dropped, neighbors.changes.length], [HOSTS, 0, HOSTS]);
    }
    const neighbors = machine.neighbors();
    assert.equal(neighbors.length, 1 + ROUNDS * HOSTS);
    assert.ok(neighbors.every(({ lladdr }) => lladdr === host.mac));

    machine.run('systemctl', 'start', TIMER);
    const program = machine.programOn(host);
    const watch = machine.netns.start('ip', 'monitor', 'neigh', 'dev', 'br0');
    const started = machine.property(SERVICE, 'ExecMainStartTimestampMonotonic');
    machine.dpkg('--install', machine.copyIn(newer.deb));
    assert.match(machine.run('dpkg-query', '--show', 'snoopy-evpn'), new RegExp(NEW));
    await until(
      'a run of the new version',
      () => machine.property(SERVICE, 'ExecMainStartTimestampMonotonic'),
      (now) => now !== started,
      { timeoutMs: 20_000 },
    );
    const second = machine.addHost(2);
    await machine.attached(second);
    assert.equal(machine.programOn(host), program);
    assert.deepEqual(machine.neighbors(), neighbors);
    assert.doesNotMatch((await watch.stop()).stdout, /Deleted/);

    machine.run('ip', 'link', 'delete', second.port);
    assert.match(machine.dpkg('--remove', 'snoopy-evpn'), /^detach .*tap1$/m);
    assert.deepEqual(machine.neighbors(), []);
    assert.equal(machine.programOn(host), undefined);
    assert.equal(existsSync(machine.container.path(PINS)), false);
    machine.dpkg('--purge', 'snoopy-evpn');
    assert.deepEqual(machine.differences(untouched), []);
  });
}

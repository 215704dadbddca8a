// The life of the .deb on arm64, with pages of 4 KiB and of 16 KiB: installed, run, upgraded, removed and purged, in a
// container with systemd in a guest of that architecture.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { VERSION } from '../../src/generated/version.ts';
import { listFilters } from '../lib/oracles.ts';
import { parseJson, run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import type { Report } from '../lib/snoopy.ts';
import { buildPackages, PackageMachine, type Packages, SERVICE, TIMER } from '../package/packages.ts';

const OLD = '0.0.1';
const NEW = '0.0.2';
const PINS = '/sys/fs/bpf/snoopy';
/** Addresses that a ring of 4 KiB has room for, and how often they are read until one of 16 KiB has wrapped. */
const HOSTS = 50;
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

test('the .deb installs, attaches and learns, upgrades without a gap, and leaves nothing', async (t) => {
  // Of the guest: with more neighbors the kernel deletes those that no run has renewed for some seconds.
  writeFileSync('/proc/sys/net/ipv6/neigh/default/gc_thresh1', String(2 * ROUNDS * HOSTS));
  const machine = await PackageMachine.boot(t, { from: 'arm64' });
  const host = machine.addHost(1);
  await host.announceAndWait();
  /** Whether the bridge still has the host would depend on how long all this takes here. */
  const forget = (): void => {
    machine.netns.tryRun(['bridge', 'fdb', 'del', host.mac, 'dev', host.port, 'master']);
  };
  forget();
  const untouched = machine.inventory();
  const configure = (attach: 'clsact' | 'tcx'): void =>
    machine.configure(
      `runtime: {attach: ${attach}, ring_size: 4KiB}\nbridges: [{name: br0, limits: {bindings_per_port: 1000}}]`,
    );

  machine.dpkg('--install', machine.copyIn(older.deb));
  assert.equal(machine.run('snoopy', '--version'), `${VERSION}\n`);
  machine.run('systemctl', 'enable', '--quiet', TIMER);
  configure('clsact');
  await machine.runsFor(host);
  assert.equal(machine.property(SERVICE, 'Result'), 'success');
  assert.equal(listFilters(machine.netns, host.port).length, 1);

  configure('tcx');
  machine.run('systemctl', 'start', SERVICE);
  assert.deepEqual(listFilters(machine.netns, host.port), []);
  const program = machine.programOn(host);
  assert.notEqual(program, undefined);
  const ring = machine.run('bpftool', '--json', 'map', 'show', 'pinned', `${PINS}/changes`);
  assert.equal(parseJson<{ max_entries: number }>(ring, 'bpftool').max_entries, PAGE_SIZE, 'a whole page');

  // More records than the ring has room for, in several runs: its position wraps.
  for (let round = 1; round <= ROUNDS; round++) {
    for (let i = 1; i <= HOSTS; i++) host.advertise(`2001:db8:1::${round}:${i}`);
    const json = machine.run('snoopy', 'reconcile', '--format', 'json');
    const { ring, neighbors } = parseJson<Report>(json, 'snoopy reconcile');
    assert.deepEqual([ring.records, ring.dropped, neighbors.changes.length], [HOSTS, 0, HOSTS]);
  }
  const neighbors = machine.neighbors();
  assert.equal(neighbors.length, 1 + ROUNDS * HOSTS);
  assert.ok(neighbors.every(({ lladdr }) => lladdr === host.mac));

  const watch = machine.netns.start('ip', 'monitor', 'neigh', 'dev', 'br0');
  machine.dpkg('--install', machine.copyIn(newer.deb));
  assert.match(machine.run('dpkg-query', '--show', 'snoopy-evpn'), new RegExp(NEW));
  // The timer, which was enabled, starts a run of the new version.
  const second = machine.addHost(2);
  await machine.attached(second);
  assert.equal(machine.property(TIMER, 'ActiveState'), 'active');
  assert.equal(machine.programOn(host), program);
  assert.deepEqual(machine.neighbors(), neighbors);
  assert.doesNotMatch((await watch.stop()).stdout, /Deleted/);

  second.unplug();
  const printed = machine.dpkg('--remove', 'snoopy-evpn');
  assert.match(printed, /^detach .*tap1$/m);
  assert.match(printed, new RegExp(`, ${neighbors.length} neighbor changes done$`, 'm'));
  assert.deepEqual(machine.neighbors(), []);
  assert.equal(machine.programOn(host), undefined);
  assert.equal(existsSync(machine.container.path(PINS)), false);
  machine.dpkg('--purge', 'snoopy-evpn');
  forget();
  assert.deepEqual(machine.differences(untouched), []);
});

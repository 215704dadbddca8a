// What a guest has made the bridge learn costs a run nothing: it asks for the MACs of its hosts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createTempDir } from '../lib/temp.ts';
import { Machine } from './machine.ts';

const FOREIGN = 200_000;
/** A dump of forwarding entries, and a request for one, as strace prints them: it takes their structure for another. */
const FDB_DUMP =
  /nlmsg_type=RTM_GETNEIGH, nlmsg_flags=NLM_F_REQUEST\|NLM_F_DUMP[^}]*\}, \{\w+_family=AF_BRIDGE/;
const LOOK_UP =
  /nlmsg_type=RTM_GETNEIGH, nlmsg_flags=NLM_F_REQUEST(?!\|NLM_F_DUMP)[^}]*\}, \{\w+_family=AF_BRIDGE/g;

test('a run beside 200,000 entries of a guest reads none of them', async (t) => {
  const machine = new Machine(t, { tunnel: true, hosts: 2 });
  machine.reconcile();
  const [host] = machine.hosts;
  assert.ok(host !== undefined);
  await host.announceAndWait();
  const macs = Array.from({ length: FOREIGN }, (_, i) => {
    const [a, b, c] = [i >> 16, (i >> 8) & 0xff, i & 0xff].map((byte) => byte.toString(16));
    return `fdb add 06:00:00:${a}:${b}:${c} dev tap2 master dynamic`;
  });
  const added = machine.netns.tryRun(['bridge', '-batch', '-'], { input: `${macs.join('\n')}\n` });
  assert.equal(added.code, 0, added.stderr);
  assert.ok(machine.run('bridge', 'fdb', 'show', 'br', 'br0').split('\n').length > FOREIGN);

  const report = machine.reconcile();
  assert.deepEqual(machine.ownNeighbors(), [`${host.ip} ${host.mac}`]);
  assert.equal(report.neighbors.total, 1);
  const requests = requestsOf(machine, 'reconcile');
  assert.doesNotMatch(requests, FDB_DUMP);
  assert.equal(requests.match(LOOK_UP)?.length, 1);
  assert.doesNotMatch(requestsOf(machine, 'status'), FDB_DUMP);
  assert.match(requestsOf(machine, 'doctor'), FDB_DUMP, 'doctor looks for hosts that are not known');
});

/** The netlink requests of a command, as strace prints them. */
function requestsOf(machine: Machine, command: string): string {
  const file = join(createTempDir(machine.scope, 'strace'), 'requests');
  const strace = ['strace', '-f', '-v', '-o', file, '-e', 'trace=sendto'];
  machine.netns.tryRun([...strace, ...machine.snoopy.argv(command)]);
  return readFileSync(file, 'utf8');
}

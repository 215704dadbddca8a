// From clsact to tcx and back: stopped before each call that changes something, the host is heard all the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertExit } from '../kernel/machine.ts';
import { Scope } from '../lib/scope.ts';
import { sleepSync } from '../lib/wait.ts';
import { makeTools, Site } from './site.ts';

test('at every instant of the change a program is attached, and what is said is heard', async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const site = new Site(t, 0, makeTools(scope));
  const [host] = site.machine.hosts;
  assert.ok(host);
  let spoken = 0;
  const deaf: string[] = [];
  /** The host speaks for an address that is new; a frame is in the other end of a veth within moments. */
  const hears = (when: string): void => {
    const ip = `10.9.${spoken >> 8}.${spoken & 255}`;
    spoken++;
    host.announce(ip);
    const deadline = performance.now() + 2_000;
    while (!site.bindings().includes(`${ip} ${host.mac}`)) {
      if (performance.now() > deadline) return void deaf.push(when);
      sleepSync(5);
    }
  };
  assertExit(await site.run('reconcile'), 0);

  // Between two calls that change something nothing changes: to look before each is to look at every instant.
  let isOver = [false, false];
  let stops = 0;
  for (let at = 1; isOver.includes(false); at++) {
    assert.ok(at < 100, 'a change takes more than 100 calls');
    const round: boolean[] = [];
    for (const attach of ['tcx', 'clsact'] as const) {
      site.set({ ...site.setting, attach });
      const mishap = { at, what: 'stop' } as const;
      const when = `before call ${at} on the way to ${attach}`;
      const landed = await site.run('reconcile', { counted: 'change', mishap, meanwhile: () => hears(when) });
      assertExit(landed, 0);
      if (landed.met) stops++;
      round.push(!landed.met);
      hears(`after ${when}`);
    }
    isOver = round;
  }

  assert.deepEqual(deaf, []);
  assert.ok(stops > 10, `the runs were stopped ${stops} times`);
  await site.assertIdle('reconcile');
  const known = Array.from({ length: spoken }, (_, i) => `10.9.${i >> 8}.${i & 255} ${host.mac}`);
  await site.assertWhole(known);
});

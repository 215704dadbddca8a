// From clsact to tcx and back: the run is stopped before each changing call, and a host's message is still seen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertExit } from '../kernel/machine.ts';
import { Scope } from '../lib/scope.ts';
import { sleepSync } from '../lib/wait.ts';
import { makeTools, Site } from './site.ts';

test('at every instant of the change a program is attached, and messages are seen', async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const site = new Site(t, 0, makeTools(scope));
  const [host] = site.machine.hosts;
  assert.ok(host);
  let announced = 0;
  const deaf: string[] = [];
  /** The host announces a new address; a frame reaches the other end of a veth within moments. */
  const assertSeen = (when: string): void => {
    const ip = `10.9.${announced >> 8}.${announced & 255}`;
    announced++;
    host.announce(ip);
    const deadline = performance.now() + 2_000;
    while (!site.bindings().includes(`${ip} ${host.mac}`)) {
      if (performance.now() > deadline) return void deaf.push(when);
      sleepSync(5);
    }
  };
  assertExit(await site.run('reconcile'), 0);

  // Nothing changes between two changing calls, so a check before each of them covers every instant.
  let isOver = [false, false];
  let stops = 0;
  for (let at = 1; isOver.includes(false); at++) {
    assert.ok(at < 100, 'a change takes more than 100 calls');
    const round: boolean[] = [];
    for (const attach of ['tcx', 'clsact'] as const) {
      site.set({ ...site.setting, attach });
      const injection = { at, what: 'stop' } as const;
      const when = `before call ${at} on the way to ${attach}`;
      const launched = await site.run('reconcile', {
        counted: 'change',
        injection,
        meanwhile: () => assertSeen(when),
      });
      assertExit(launched, 0);
      if (launched.met) stops++;
      round.push(!launched.met);
      assertSeen(`after ${when}`);
    }
    isOver = round;
  }

  assert.deepEqual(deaf, []);
  assert.ok(stops > 10, `the runs were stopped ${stops} times`);
  await site.assertIdle('reconcile');
  const known = Array.from({ length: announced }, (_, i) => `10.9.${i >> 8}.${i & 255} ${host.mac}`);
  await site.assertWhole(known);
});

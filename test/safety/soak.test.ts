// A soak: hosts come, move, change and are removed at random, with a run every two seconds, and nothing accumulates
// or is lost.
//
//   npm run soak                              an hour, the last quarter of it with FRR
//   SOAK_MINUTES=10 SOAK_SEED=7 npm run soak  ten minutes with a given seed
import { test } from 'node:test';
import { Fabric } from '../lib/fabric.ts';
import { Scope } from '../lib/scope.ts';
import { type Plan, Soak } from './soak-runner.ts';
import { joinNodes } from './soak-world.ts';

/** The part of a long soak that has FRR. */
const FRR_PART = 0.25;
/** The default length: as long as `npm test` can bear. */
const BRIEFLY: Plan = { phases: 2, activeTicks: 14 };
const LONG_PHASE_TICKS = 30;
const LONG_PHASE_MINUTES = 1.3;

const wanted = process.env['SOAK_MINUTES'];
const minutes = wanted === undefined ? null : Number(wanted);
/** The same events with every `npm test`, other ones with every long soak. */
const seed = Number(process.env['SOAK_SEED'] ?? (minutes === null ? 1 : Math.floor(Math.random() * 1e9)));
/** The second node's bridge has addresses of the hosts' subnets, so that silent hosts are probed there. */
const addresses: readonly (readonly string[])[] = [[], ['10.1.255.254/16', '2001:db8:1::ffff/64']];

function planOf(share: number): Plan {
  if (minutes === null) return BRIEFLY;
  return {
    phases: Math.max(2, Math.round((minutes * share) / LONG_PHASE_MINUTES)),
    activeTicks: LONG_PHASE_TICKS,
  };
}

// A machine that is busy with other work takes longer for the same steps.
const timeout = (minutes ?? 3) * 240_000 + 120_000;

test('the neighbors follow from the events at the hosts, and nothing grows', { timeout }, async (t) => {
  const scope = new Scope();
  t.after(() => scope.close());
  const nodes = joinNodes(scope, addresses);
  await new Soak(t, { scope, seed, nodes, fabric: null }).run(planOf(1 - FRR_PART));
});

if (minutes !== null) {
  test('with FRR the other node has the routes that follow from them', { timeout }, async (t) => {
    const fabric = await Fabric.start({ vms: 0, addresses: (number) => addresses[number - 1] ?? [] });
    t.after(() => fabric.close());
    const nodes = fabric.nodes.map(({ node }) => node);
    await new Soak(t, { scope: fabric.scope, seed, nodes, fabric }).run(planOf(FRR_PART));
  });
}

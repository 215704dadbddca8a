// A node without a configuration: what it lacks for a first run, and how to begin.

import { type Check, ok, type Unconfigured, warning } from './check.ts';
import type { CheckId } from './wording.ts';
import { CONFIGURATION, NODE } from './wording-entries.ts';

/** The checks of what a run finds. The others are of what it sets up, and of what it has seen. */
const OF_THE_NODE: ReadonlySet<CheckId> = new Set([
  'kernel',
  'capabilities',
  'bpffs',
  'gc-thresh',
  'glob',
  'bridge',
  'tunnel',
  'learning',
  'neigh-suppress',
  'bridge-mac',
  'ipv6',
  'ageing',
  'frr',
  'advertise-all-vni',
  'peers',
  'vni',
  'neighbor-device',
]);

/** What of these checks matters before the first run, after the missing configuration. */
export function beforeFirstRun(checks: readonly Check[], { path, node }: Unconfigured): Check[] {
  return [
    warning('configuration', { subject: null, ...CONFIGURATION.missing({ path }) }),
    ok('node', null, NODE.ok({ node })),
    ...checks.filter(({ id }) => OF_THE_NODE.has(id)),
  ];
}

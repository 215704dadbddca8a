// `status --all`: the report of status with all that this node knows of the fabric. Changes nothing, consumes nothing.

import { loadConfig } from '../config/config.ts';
import { describeFabric } from '../core/fabric.ts';
import type { Details } from '../core/fabric-report.ts';
import type { StatusReport } from '../core/report.ts';
import { VERSION } from '../generated/version.ts';
import { queryFabric } from '../host/frr-fabric.ts';
import { inspectNode, inspectVlanOptions } from '../host/inspect.ts';
import { type CommandOptions, type Environment, READ, withSession } from './environment.ts';
import { describeFrr, surveyAll, takeStock } from './status.ts';

/** Throws SnoopyError as `runStatus` does. `details`: the places whose addresses are listed. */
export function runFabricStatus(
  { config }: CommandOptions,
  details: Details,
  environment: Environment,
): StatusReport {
  const { now, users, wallClock } = environment;
  const configuration = loadConfig(config, users);
  return withSession(configuration, READ, environment, (session) => {
    const found = surveyAll(session, configuration, now);
    // After the kernel: a neighbor that went meanwhile is not taken for one that zebra has kept.
    const answer = queryFabric();
    const atMs = wallClock();
    const fabric = describeFabric({
      node: { ...inspectNode(session), atMs, snoopy: VERSION, details },
      ...found,
      vlanOptions: inspectVlanOptions(session.netlink, found.topology, found.observed),
      frr: answer.kind === 'answered' ? answer.frr : null,
    });
    const { report } = takeStock(session, found, { queryFrr: () => answer });
    return { ...report, frr: describeFrr(answer), fabric };
  });
}

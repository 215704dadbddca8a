// Finds what keeps routes from being advertised, and the fix, check by check. Changes nothing.

import { errnoOf, SnoopyError } from '../base/errors.ts';
import type { Users } from '../base/trust.ts';
import { loadConfig, parseConfig } from '../config/config.ts';
import { ConfigError } from '../config/problem.ts';
import type { Configuration } from '../core/desired.ts';
import { type Check, failure, type Unconfigured, wordsOf } from '../core/doctor/check.ts';
import { type DoctorReport, diagnose, reportOf } from '../core/doctor/diagnose.ts';
import { plan } from '../core/plan.ts';
import { mayHaveSegments } from '../core/topology.ts';
import { queryFrr } from '../host/frr.ts';
import { inspectDevices, inspectHost, inspectRivals, inspectVlanOptions } from '../host/inspect.ts';
import { observeCounters, observeRejections } from '../host/observe.ts';
import { pinDirectory } from '../host/pin-directory.ts';
import { type CommandOptions, type Environment, type Purpose, READ, withSession } from './environment.ts';
import { proposeConfig } from './init.ts';
import { survey } from './retrieve.ts';

/** Without CAP_NET_ADMIN the kernel does not list the TCX programs of a port. */
const INSPECT: Purpose = { ...READ, capabilities: ['CAP_NET_ADMIN'] };

const WHOLE = { whole: true } as const;

export interface DoctorOptions extends CommandOptions {
  /** True: no other path than the default one was given, and there may be no file yet. */
  readonly mayLackConfig: boolean;
}

/** Throws SnoopyError for an invalid configuration, or when the process may read nothing. */
export function runDoctor({ config, mayLackConfig }: DoctorOptions, environment: Environment): DoctorReport {
  const configuration = findConfig(config, mayLackConfig, environment.users);
  if (configuration !== null) return reportOf(checksOf(configuration, null, environment));
  const { text } = proposeConfig();
  const parsed = parseConfig(text, config);
  if ('problems' in parsed) throw new ConfigError(config, parsed.problems);
  const unconfigured = { path: config, node: environment.node };
  return { ...reportOf(checksOf(parsed.configuration, unconfigured, environment)), proposal: text };
}

/** Null: there is none, and there may be none. */
function findConfig(path: string, mayLack: boolean, users: Users): Configuration | null {
  try {
    return loadConfig(path, users);
  } catch (thrown) {
    if (mayLack && errnoOf(thrown) === 'ENOENT') return null;
    throw thrown;
  }
}

function checksOf(
  configuration: Configuration,
  unconfigured: Unconfigured | null,
  environment: Environment,
): Check[] {
  try {
    return examine(configuration, unconfigured, environment);
  } catch (thrown) {
    return [refusal(thrown, configuration)];
  }
}

function examine(
  configuration: Configuration,
  unconfigured: Unconfigured | null,
  environment: Environment,
): Check[] {
  const { now, wallClock } = environment;
  return withSession(configuration, INSPECT, environment, (session) => {
    const { netlink, pins } = session;
    const found = survey(session, configuration, [], now, { ...WHOLE, strays: 'ports', forwarding: 'whole' });
    const { desired, observed, topology } = found;
    return diagnose({
      configuration,
      ...found,
      due: plan(desired, topology, observed, WHOLE),
      counters: observeCounters(pins),
      rejections: observeRejections(pins),
      host: inspectHost(session, wallClock),
      devices: inspectDevices(topology, observed),
      vlanOptions: inspectVlanOptions(netlink, topology, observed),
      rivals: inspectRivals(netlink, topology, observed),
      frr: queryFrr({ mayHaveSegments: mayHaveSegments(topology) }),
      unconfigured,
    });
  });
}

/** Unusable pins and missing features of the host are findings; other errors end the command. */
function refusal(thrown: unknown, { runtime }: Configuration): Check {
  if (!(thrown instanceof SnoopyError) || !['unsupported', 'pin_unusable'].includes(thrown.code))
    throw thrown;
  const directory = pinDirectory(runtime);
  const complaint = wordsOf(thrown.problem);
  const isAboutPins = thrown.problem.object.startsWith(directory);
  return isAboutPins
    ? failure('pins', { subject: directory, ...complaint })
    : failure('kernel', { subject: null, ...complaint });
}

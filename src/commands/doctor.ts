// Finds what keeps routes from being advertised, and the fix, check by check. Changes nothing.

import { SnoopyError } from '../base/errors.ts';
import { loadConfig } from '../config/config.ts';
import type { Configuration } from '../core/desired.ts';
import { type Check, failure, wordsOf } from '../core/doctor/check.ts';
import { type DoctorReport, diagnose, reportOf } from '../core/doctor/diagnose.ts';
import { plan } from '../core/plan.ts';
import { queryFrr } from '../host/frr.ts';
import { inspectDevices, inspectHost, inspectRivals } from '../host/inspect.ts';
import { observeCounters, observeRejections } from '../host/observe.ts';
import { pinDirectory } from '../host/pin-directory.ts';
import { type CommandOptions, type Environment, type Purpose, READ, withSession } from './environment.ts';
import { survey } from './retrieve.ts';

/** Without CAP_NET_ADMIN the kernel does not list the TCX programs of a port. */
const INSPECT: Purpose = { ...READ, capabilities: ['CAP_NET_ADMIN'] };

const WHOLE = { whole: true } as const;

/** Throws SnoopyError for an invalid configuration, or when the process may read nothing. */
export function runDoctor({ config }: CommandOptions, environment: Environment): DoctorReport {
  const configuration = loadConfig(config, environment.users);
  try {
    return reportOf(examine(configuration, environment));
  } catch (thrown) {
    return reportOf([refusal(thrown, configuration)]);
  }
}

function examine(configuration: Configuration, environment: Environment): Check[] {
  const { now, wallClock } = environment;
  return withSession(configuration, INSPECT, environment, (session) => {
    const { netlink, pins } = session;
    const found = survey(session, configuration, [], now, WHOLE);
    const { desired, observed, topology } = found;
    return diagnose({
      configuration,
      ...found,
      due: plan(desired, topology, observed, WHOLE),
      counters: observeCounters(pins),
      rejections: observeRejections(pins),
      host: inspectHost(session, wallClock),
      devices: inspectDevices(topology, observed),
      rivals: inspectRivals(netlink, topology, observed),
      frr: queryFrr(),
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

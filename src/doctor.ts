// What would keep routes from being advertised, and the remedy, check by check. Changes nothing.

import { SnoopyError } from './base/errors.ts';
import { loadConfig } from './config/config.ts';
import type { Desired } from './core/desired.ts';
import { type Check, failure, wordsOf } from './core/doctor/check.ts';
import { type DoctorReport, diagnose, reportOf } from './core/doctor/diagnose.ts';
import { planHosts } from './core/neighbors/plan.ts';
import { plan } from './core/plan.ts';
import { resolveTopology } from './core/topology.ts';
import { askFrr } from './host/frr.ts';
import { inspectDevices, inspectHost, inspectRivals } from './host/inspect.ts';
import { observe, observeCounters, observeHosts } from './host/observe.ts';
import { pinDirectory } from './host/pin-directory.ts';
import { openSession } from './host/session.ts';
import type { Environment } from './reconcile.ts';

/** Throws SnoopyError for a configuration that is not valid, and where nothing may be read. */
export function runDoctor(options: { readonly config: string }, environment: Environment): DoctorReport {
  const desired = loadConfig(options.config, environment.users);
  try {
    return reportOf(examine(desired, environment));
  } catch (thrown) {
    return reportOf([refusal(thrown, desired)]);
  }
}

function examine(desired: Desired, { now, wallClock, users }: Environment): Check[] {
  const session = openSession(desired, {
    mode: 'read',
    lockTimeoutMs: 0,
    now,
    users,
    // The kernel tells nobody else which TCX programs a port has.
    capabilities: ['CAP_NET_ADMIN'],
  });
  try {
    const { netlink, runtime, pins } = session;
    const observed = observe(netlink, runtime, pins);
    const topology = resolveTopology(desired, observed);
    const hosts = observeHosts(netlink, pins, topology, observed, now);
    return diagnose({
      desired,
      topology,
      observed,
      hosts,
      plan: planHosts(topology, hosts, { protocol: runtime.neighborProtocol, whole: true }),
      due: plan(desired, topology, observed, { whole: true }),
      counters: observeCounters(pins),
      host: inspectHost(session, wallClock),
      devices: inspectDevices(topology, observed),
      rivals: inspectRivals(netlink, runtime, topology, observed),
      frr: askFrr(),
    });
  } finally {
    session.close();
  }
}

/** Pins that no run could use, and a host that lacks something, are findings; other errors are the command's. */
function refusal(thrown: unknown, { runtime }: Desired): Check {
  if (!(thrown instanceof SnoopyError) || !['unsupported', 'pin_unusable'].includes(thrown.code))
    throw thrown;
  const directory = pinDirectory(runtime);
  const complaint = wordsOf(thrown.problem);
  const isAboutPins = thrown.problem.object.startsWith(directory);
  return isAboutPins
    ? failure('pins', { subject: directory, ...complaint })
    : failure('kernel', { subject: null, ...complaint });
}

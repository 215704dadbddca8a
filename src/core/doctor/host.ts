// The host as a whole: kernel, capabilities, bpffs, pins, and how full they are.

import { formatAge } from '../../base/units.ts';
import { NTF_EXT_EXT_VALIDATED, NUD_NOARP } from '../../netlink/neighbor.ts';
import { type Action, summarize } from '../actions.ts';
import { NEARLY_FULL } from '../binding-counts.ts';
import { describeLoadDue } from '../load-reasons.ts';
import { hasLostPins } from '../observed.ts';
import { type Check, type Findings, failure, ok, some, warning } from './check.ts';

export function checkHost(findings: Findings): Check[] {
  return [
    checkKernel(findings),
    checkCapabilities(findings),
    checkBpffs(findings),
    checkPins(findings),
    checkLastRun(findings),
    checkDue(findings),
    checkTable(findings),
    checkRing(findings),
    checkGcThresholds(findings),
  ];
}

function checkKernel({ host }: Findings): Check {
  const found = `Linux ${host.kernel} with libbpf ${host.libbpf}`;
  if (host.loadFailure === null) return ok('kernel', null, `${found} takes the program`);
  const missing = missingToLoad(host).join(' and ');
  return failure('kernel', {
    subject: null,
    found: `${found} refuses the program: ${host.loadFailure}`,
    remedy:
      missing !== ''
        ? `run as root, or with ${missing}: only then the kernel itself is to blame`
        : 'boot Linux 5.8 or later, and install libbpf 1.1 or later (libbpf1)',
  });
}

function checkCapabilities({ host, desired }: Findings): Check {
  const asks = desired.bridges.some(({ probe }) => probe.enabled !== 'never');
  const toLoad = missingToLoad(host);
  const toAsk = asks ? host.missingCapabilities.filter((name) => name === TO_ASK) : [];
  if (toLoad.length + toAsk.length === 0) return ok('capabilities', null, 'all that a run needs');
  const missing = [...toLoad, ...toAsk].join(' and ');
  const without =
    toLoad.length > 0 ? 'the program cannot be loaded' : 'silent hosts are not asked for a sign of life';
  const never = toLoad.length > 0 ? '' : ', or set "probe: {enabled: never}"';
  return warning('capabilities', {
    subject: null,
    found: `${missing} missing: ${without}`,
    remedy: `run as root, or with ${missing}${never}`,
  });
}

/** What a run takes to ask for a sign of life; the others that may be missing it takes to load. */
const TO_ASK = 'CAP_NET_RAW';

function missingToLoad({ missingCapabilities }: Findings['host']): string[] {
  return missingCapabilities.filter((name) => name !== TO_ASK);
}

function checkBpffs({ observed, desired, host }: Findings): Check {
  const { bpffs } = desired.runtime;
  if (!observed.bpffsMounted) {
    return warning('bpffs', {
      subject: bpffs,
      found: 'not mounted; the next run does it',
      remedy: `mount -t bpf bpf ${bpffs}`,
    });
  }
  if (host.bpffsShared) return ok('bpffs', bpffs, 'mounted');
  return failure('bpffs', {
    subject: bpffs,
    found: 'another file system than the one that the first process of the system sees there',
    remedy: 'run snoopy in the mount namespace of the host: by nsenter --net instead of ip netns exec',
  });
}

function checkPins({ observed, desired }: Findings): Check {
  const subject = `${desired.runtime.bpffs}/${desired.runtime.pinDir}`;
  const { loadReason, programId } = observed.datapath;
  if (loadReason === null) return ok('pins', subject, `program ${programId} and its maps`);
  const found = hasLostPins(observed)
    ? 'nothing is pinned here, and filters of snoopy are attached'
    : describeLoadDue(loadReason);
  const complaint = { subject, found, remedy: 'snoopy reconcile' };
  return loadReason === 'absent' ? failure('pins', complaint) : warning('pins', complaint);
}

/** Longer than any interval that the documentation speaks of. */
const LATE_MS = 5 * 60_000;

function checkLastRun({ host }: Findings): Check {
  const age = host.lastSuccessAgeMs;
  const remedy = 'systemctl status snoopy-reconcile.timer snoopy-reconcile.service; then: snoopy reconcile';
  if (age === null) {
    const found = 'no run of all bridges has succeeded with these pins';
    return warning('last-run', { subject: null, found, remedy });
  }
  const found = `the last run that succeeded was ${formatAge(Math.max(0, age) / 1000)} ago`;
  return age > LATE_MS ? warning('last-run', { subject: null, found, remedy }) : ok('last-run', null, found);
}

/** Neighbors come and go with the hosts: what is due of them says nothing. */
function checkDue({ due }: Findings): Check {
  const items = due.map(nameOf);
  if (items.length === 0) return ok('due', null, 'a run would change nothing');
  return warning('due', {
    subject: null,
    found: `a run would do: ${some(items)}`,
    remedy: 'snoopy reconcile --check --diff shows it, snoopy reconcile does it',
    items,
  });
}

function nameOf(action: Action): string {
  const { kind, port, prefix, ip, path } = summarize(action);
  return [kind, port ?? prefix ?? ip ?? path].filter((part) => part !== undefined).join(' ');
}

function checkTable({ hosts, desired, topology }: Findings): Check {
  const { maxBindings } = desired.runtime;
  const found = `${hosts.bindings.length} of ${maxBindings} bindings`;
  if (hosts.bindings.length < NEARLY_FULL * maxBindings) {
    const ports = topology.bridges.flatMap((bridge) => bridge.ports.map(() => bridge.desired.limits));
    const together = ports.reduce((sum, limits) => sum + limits.bindingsPerPort, 0);
    if (together <= maxBindings) return ok('table', null, found);
    return warning('table', {
      subject: null,
      found: `${found}, and the limits of ${ports.length} ports add up to ${together}: some can take the room of others`,
      remedy: `raise runtime.max_bindings to ${together}, or lower limits.bindings_per_port`,
    });
  }
  const remedy = 'raise runtime.max_bindings; the next run carries the hosts over';
  const complaint = { subject: null, found, remedy };
  return hosts.bindings.length < maxBindings ? warning('table', complaint) : failure('table', complaint);
}

function checkRing({ counters }: Findings): Check {
  const found = `${counters.ringDropped} records dropped`;
  if (counters.ringDropped === 0) return ok('ring', null, found);
  return warning('ring', {
    subject: null,
    found,
    remedy: 'run more often, or raise runtime.ring_size',
  });
}

/**
 * Entries without NTF_EXT_EXT_VALIDATED are subject to garbage collection (neigh_forced_gc and
 * neigh_periodic_work of net/core/neighbour.c); with the flag none of the thresholds matter.
 */
function checkGcThresholds({ host, hosts, desired }: Findings): Check {
  const own = hosts.neighbors.filter(
    ({ protocol, state }) => protocol === desired.runtime.neighborProtocol && state === NUD_NOARP,
  );
  const isExempt = own.length > 0 && own.every(({ extFlags }) => (extFlags & NTF_EXT_EXT_VALIDATED) !== 0);
  if (isExempt) return ok('gc-thresh', null, 'this kernel keeps the neighbors without being asked again');
  if (host.gcThresholds === null) {
    return ok(
      'gc-thresh',
      null,
      'not to be read in this network namespace: see gc_thresh1..3 in the first one',
    );
  }
  for (const family of ['ipv4', 'ipv6'] as const) {
    const [first, soft, hard] = host.gcThresholds[family];
    const count = hosts.neighbors.filter(({ ip }) => ip.includes(':') === (family === 'ipv6')).length;
    if (count < first) continue;
    const sysctl = `net.${family}.neigh.default.gc_thresh`;
    const often = count < soft ? 'run at least every 30 s, or: ' : '';
    const complaint = {
      subject: family,
      found: `${count} neighbors, ${sysctl}1 to 3 are ${first}, ${soft} and ${hard}`,
      remedy: `${often}sysctl -w ${sysctl}1=${4 * count} ${sysctl}2=${8 * count} ${sysctl}3=${16 * count}`,
    };
    return count < hard ? warning('gc-thresh', complaint) : failure('gc-thresh', complaint);
  }
  return ok('gc-thresh', null, 'gc_thresh1 is above the number of neighbors');
}

// The node as a whole: kernel, capabilities, bpffs, pins, and how full they are.

import type { Problem } from '../../base/errors.ts';
import { type Action, summarize } from '../actions.ts';
import { NEARLY_FULL } from '../binding-counts.ts';
import { describeLoadDue } from '../load-reasons.ts';
import { isExposed, isOurs, isValidated } from '../neighbor-entry.ts';
import { hasLostPins, type Observed } from '../observed.ts';
import { type Check, type Findings, failure, ok, warning } from './check.ts';
import { BPFFS, CAPABILITIES, DUE, GC_THRESH, KERNEL, LAST_RUN, PINS, RING, TABLE } from './wording.ts';

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
  const versions = { kernel: host.kernel, libbpf: host.libbpf };
  if (host.loadFailure === null) return ok('kernel', null, KERNEL.ok(versions));
  const missing = missingToLoad(host).join(' and ');
  const words = KERNEL.refuses({ ...versions, because: whyRefused(host.loadFailure), missing });
  return failure('kernel', { subject: null, ...words });
}

/** The verifier's log follows the cause. */
function whyRefused({ cause, details }: Problem): string {
  return details === undefined ? cause : `${cause}: ${details}`;
}

function checkCapabilities({ host, desired }: Findings): Check {
  const sends = desired.bridges.some(
    ({ probe, announce }) => probe.enabled !== 'never' || announce !== 'never',
  );
  const toLoad = missingToLoad(host);
  const toSend = sends ? host.missingCapabilities.filter((name) => name === TO_SEND) : [];
  const missing = [...toLoad, ...toSend].join(' and ');
  if (missing === '') return ok('capabilities', null, CAPABILITIES.ok());
  const words = toLoad.length > 0 ? CAPABILITIES.toLoad({ missing }) : CAPABILITIES.toSend({ missing });
  return warning('capabilities', { subject: null, ...words });
}

/** The capability to send probes and announcements. The others that may be missing are for loading the program. */
const TO_SEND = 'CAP_NET_RAW';

function missingToLoad({ missingCapabilities }: Findings['host']): string[] {
  return missingCapabilities.filter((name) => name !== TO_SEND);
}

function checkBpffs({ observed, desired, host }: Findings): Check {
  const path = desired.runtime.bpffs;
  if (!host.hasMountPoint) return failure('bpffs', { subject: path, ...BPFFS.nowhere({ path }) });
  if (!host.bpffsShared) return failure('bpffs', { subject: path, ...BPFFS.hidden() });
  if (observed.bpffsMounted) return ok('bpffs', path, BPFFS.ok());
  if (!host.sharesMounts) return failure('bpffs', { subject: path, ...BPFFS.apart() });
  return warning('bpffs', { subject: path, ...BPFFS.unmounted({ path }) });
}

function checkPins({ observed, desired }: Findings): Check {
  const subject = `${desired.runtime.bpffs}/${desired.runtime.pinDir}`;
  const { loadReason, programId } = observed.datapath;
  if (loadReason === null) {
    const ports = portsWithStrays(observed);
    if (ports.length === 0) return ok('pins', subject, PINS.ok({ programId }));
    return warning('pins', { subject, ...PINS.strays({ ports }) });
  }
  const words = hasLostPins(observed) ? PINS.lost() : PINS.due({ because: describeLoadDue(loadReason) });
  const complaint = { subject, ...words };
  return loadReason === 'absent' ? failure('pins', complaint) : warning('pins', complaint);
}

function portsWithStrays({ attachments, links }: Observed): string[] {
  return [...attachments].flatMap(([ifIndex, { strays }]) =>
    strays.length === 0 ? [] : [links.get(ifIndex)?.name ?? String(ifIndex)],
  );
}

/** Longer than any interval that the documentation recommends. */
const LATE_MS = 5 * 60_000;

function checkLastRun({ host: { lastSuccessAgeMs } }: Findings): Check {
  if (lastSuccessAgeMs === null) return warning('last-run', { subject: null, ...LAST_RUN.never() });
  const run = { age: Math.max(0, lastSuccessAgeMs) / 1000 };
  return lastSuccessAgeMs > LATE_MS
    ? warning('last-run', { subject: null, ...LAST_RUN.late(run) })
    : ok('last-run', null, LAST_RUN.ok(run));
}

/** Neighbors come and go with the hosts, so a due change of a neighbor is normal. */
function checkDue({ due }: Findings): Check {
  const items = due.map(nameOf);
  if (items.length === 0) return ok('due', null, DUE.ok());
  return warning('due', { subject: null, ...DUE.due({ names: items }), items });
}

function nameOf(action: Action): string {
  const { kind, port, prefix, ip, path } = summarize(action);
  return [kind, port ?? prefix ?? ip ?? path].filter((part) => part !== undefined).join(' ');
}

function checkTable({ hosts, desired, topology }: Findings): Check {
  const fill = { count: hosts.bindings.length, max: desired.runtime.maxBindings };
  if (fill.count >= fill.max) return failure('table', { subject: null, ...TABLE.full(fill) });
  if (fill.count >= NEARLY_FULL * fill.max) return warning('table', { subject: null, ...TABLE.full(fill) });
  const limits = topology.bridges.flatMap((bridge) =>
    bridge.ports.map(() => bridge.desired.limits.bindingsPerPort),
  );
  const together = limits.reduce((sum, limit) => sum + limit, 0);
  if (together <= fill.max) return ok('table', null, TABLE.ok(fill));
  const words = TABLE.overcommitted({ ...fill, ports: limits.length, together });
  return warning('table', { subject: null, ...words });
}

function checkRing({ counters }: Findings): Check {
  const dropped = counters.ringDropped;
  if (dropped === 0) return ok('ring', null, RING.ok({ dropped }));
  return warning('ring', { subject: null, ...RING.dropped({ dropped }) });
}

/**
 * Entries without NTF_EXT_EXT_VALIDATED are subject to garbage collection (neigh_forced_gc and
 * neigh_periodic_work of net/core/neighbour.c); with the flag none of the thresholds matter.
 */
function checkGcThresholds({ host, hosts, desired }: Findings): Check {
  const own = hosts.neighbors.filter(
    (entry) => isOurs(entry, desired.runtime.neighborProtocol) && (isValidated(entry) || isExposed(entry)),
  );
  const isExempt = own.length > 0 && own.every(isValidated);
  if (isExempt) return ok('gc-thresh', null, GC_THRESH.exempt());
  if (host.gcThresholds === null) return ok('gc-thresh', null, GC_THRESH.unreadable());
  for (const family of ['ipv4', 'ipv6'] as const) {
    const thresholds = host.gcThresholds[family];
    const [first, soft, hard] = thresholds;
    const count = hosts.neighbors.filter(({ ip }) => ip.includes(':') === (family === 'ipv6')).length;
    if (count < first) continue;
    const data = { family, count, thresholds };
    const words = count < soft ? GC_THRESH.collected(data) : GC_THRESH.exceeded(data);
    const complaint = { subject: family, ...words };
    return count < hard ? warning('gc-thresh', complaint) : failure('gc-thresh', complaint);
  }
  return ok('gc-thresh', null, GC_THRESH.ok());
}

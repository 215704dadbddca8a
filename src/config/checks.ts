// Checks that a schema cannot express: addresses, ranges of durations and sizes, duplicate names.

import { isUnicastMac, parseIp, parseMac, parsePrefix } from '../base/address.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from '../base/units.ts';
import { globProblem, isGlob } from '../core/glob.ts';
import { isHostAddress } from '../core/learnable.ts';
import { type Finding, MAX_FINDINGS, type Path, quote } from './problem.ts';
import { child, itemsOf, numberOf, textOf, type YamlEntry, type YamlItem } from './yaml.ts';

const DAY_MS = 86_400_000;
const MIN_DURATION_MS = 100;
const MIN_RING_BYTES = 4096;
const MAX_RING_BYTES = 1 << 28;

type Report = (path: Path, item: YamlItem, wrong: string, allowed: string) => void;

/**
 * Problems of values whose form is right. Values of another form are left to the schema, so that the problems of both
 * are reported together.
 */
export function semanticFindings(root: YamlItem): Finding[] {
  const findings: Finding[] = [];
  const report: Report = (path, { at }, wrong, allowed) => {
    if (findings.length < MAX_FINDINGS) findings.push({ path, at, wrong, allowed });
  };
  checkRuntime(child(root, 'runtime'), ['runtime'], report);
  checkSettings(child(root, 'defaults'), ['defaults'], report);
  const bridges = itemsOf(child(root, 'bridges'));
  for (const [index, bridge] of bridges.entries()) {
    const path = ['bridges', index];
    checkSettings(bridge, path, report);
    if (isGlob(textOf(child(bridge, 'name')) ?? '')) checkGlobEntry(bridge, path, report);
    checkStatics(child(bridge, 'static'), [...path, 'static'], report);
  }
  checkBridgeNames(bridges, report);
  checkPath(child(child(root, 'metrics'), 'textfile'), ['metrics', 'textfile'], report);
  return findings;
}

function checkRuntime(runtime: YamlItem | undefined, path: Path, report: Report): void {
  checkPath(child(runtime, 'bpffs'), [...path, 'bpffs'], report);
  const ring = child(runtime, 'ring_size');
  const bytes = parseSize(textOf(ring) ?? '');
  if (ring === undefined || bytes === undefined) return;
  const isPowerOfTwo = bytes > 0 && Number.isInteger(Math.log2(bytes));
  if (!isPowerOfTwo || bytes < MIN_RING_BYTES || bytes > MAX_RING_BYTES) {
    const range = `from ${formatSize(MIN_RING_BYTES)} to ${formatSize(MAX_RING_BYTES)}`;
    report([...path, 'ring_size'], ring, `is ${textOf(ring)}`, `a power of two ${range}`);
  }
}

function checkPath(item: YamlEntry | undefined, path: Path, report: Report): void {
  const text = textOf(item);
  if (item === undefined || text === undefined || text === '') return;
  const isSafe = !text.includes('\0') && !text.split('/').includes('..');
  if (!text.startsWith('/') || !isSafe)
    report(path, item, `is ${quote(text)}`, 'an absolute path without ".."');
  else if (text.endsWith('/'))
    report(path, item, `is ${quote(text)}`, 'an absolute path without "/" at its end');
}

function checkBridgeNames(bridges: readonly YamlItem[], report: Report): void {
  const first = new Map<string, number>();
  for (const [index, bridge] of bridges.entries()) {
    const item = child(bridge, 'name');
    const name = textOf(item);
    if (item === undefined || name === undefined) continue;
    const path = ['bridges', index, 'name'];
    const earlier = first.get(name);
    if (earlier !== undefined) {
      report(path, item, `is ${quote(name)}, like bridges[${earlier}].name`, 'each bridge once');
    } else if (isGlob(name)) {
      const problem =
        globProblem(name) ?? (hasOnlyNameCharacters(name) ? undefined : 'no bridge has such a name');
      if (problem !== undefined)
        report(path, item, `is ${quote(name)}: ${problem}`, 'a shell glob such as br*');
    } else if (name !== '' && !isInterfaceName(name)) {
      const allowed = 'a name of 1 to 15 bytes without "/", ":" and white space, or a shell glob such as br*';
      report(path, item, `is ${quote(name)}`, allowed);
    }
    first.set(name, earlier ?? index);
  }
}

/** A glob may match no bridge or several: none has to be there, and an address is provisioned on one bridge only. */
function checkGlobEntry(entry: YamlItem, path: Path, report: Report): void {
  const required = child(entry, 'required');
  if (required?.node.kind === 'scalar' && required.node.value === true)
    report([...path, 'required'], required, 'cannot be true for a glob, which may match no bridge', 'false');
  const statics = child(entry, 'static');
  if (statics !== undefined && itemsOf(statics).length > 0) {
    const allowed = 'static entries in an entry with the name of one bridge';
    report([...path, 'static'], statics, 'a glob cannot have static entries', allowed);
  }
}

/** True for a name that the kernel accepts for an interface (dev_valid_name) and that has no control characters. */
function isInterfaceName(name: string): boolean {
  return name !== '.' && name !== '..' && Buffer.byteLength(name) <= 15 && hasOnlyNameCharacters(name);
}

function hasOnlyNameCharacters(name: string): boolean {
  return [...name].every(
    (char) => char > ' ' && char !== '\u007f' && char !== '/' && char !== ':' && !/\s/.test(char),
  );
}

function checkSettings(settings: YamlItem | undefined, path: Path, report: Report): void {
  for (const key of ['include', 'exclude']) {
    for (const [index, item] of itemsOf(child(child(settings, 'ports'), key)).entries()) {
      const glob = textOf(item);
      const problem = glob === undefined ? undefined : globProblem(glob);
      if (glob === undefined || problem === undefined) continue;
      report(
        [...path, 'ports', key, index],
        item,
        `is ${quote(glob)}: ${problem}`,
        'a shell glob such as tap*',
      );
    }
  }
  for (const [index, item] of itemsOf(child(settings, 'subnets')).entries()) {
    const text = textOf(item);
    if (text === undefined || parsePrefix(text) !== undefined) continue;
    const allowed = 'a prefix such as 192.168.1.0/24 or 2001:db8::/64';
    report([...path, 'subnets', index], item, `is ${quote(text)}`, allowed);
  }
  const duplicates = child(settings, 'duplicates');
  const probe = child(settings, 'probe');
  checkDuration(child(settings, 'max_age'), [...path, 'max_age'], 30 * DAY_MS, report);
  checkDuration(child(duplicates, 'window'), [...path, 'duplicates', 'window'], DAY_MS, report);
  checkDuration(child(duplicates, 'hold'), [...path, 'duplicates', 'hold'], 30 * DAY_MS, report);
  checkDuration(child(probe, 'after'), [...path, 'probe', 'after'], 30 * DAY_MS, report);
  const source = child(probe, 'source');
  const text = textOf(source);
  if (source !== undefined && text !== undefined && text !== 'auto') {
    const ip = parseIp(text);
    // A probe from 0.0.0.0 does not name its sender, which RFC 9161 allows; one from :: would be Duplicate Address
    // Detection.
    if (ip === undefined || (ip !== '0.0.0.0' && !isHostAddress(ip))) {
      report([...path, 'probe', 'source'], source, `is ${quote(text)}`, 'auto or the address of a host');
    }
  }
}

function checkDuration(item: YamlEntry | undefined, path: Path, maxMs: number, report: Report): void {
  const text = textOf(item);
  const ms = parseDuration(text ?? '');
  if (item === undefined || ms === undefined || (ms >= MIN_DURATION_MS && ms <= maxMs)) return;
  const range = `from ${formatDuration(MIN_DURATION_MS)} to ${formatDuration(maxMs)}`;
  report(path, item, `is ${text}`, `a duration ${range}`);
}

function checkStatics(statics: YamlItem | undefined, path: Path, report: Report): void {
  const first = new Map<string, number>();
  for (const [index, entry] of itemsOf(statics).entries()) {
    const ipItem = child(entry, 'ip');
    const text = textOf(ipItem);
    if (ipItem !== undefined && text !== undefined) {
      const ip = parseIp(text);
      const ipPath = [...path, index, 'ip'];
      if (ip === undefined) {
        report(ipPath, ipItem, `is ${quote(text)}`, 'an IPv4 or IPv6 address');
      } else if (!isHostAddress(ip)) {
        report(ipPath, ipItem, `is ${quote(text)}, which no host can have`, 'the unicast address of a host');
      } else {
        const vlan = numberOf(child(entry, 'vlan')) ?? 0;
        const earlier = first.get(`${vlan} ${ip}`);
        const wrong = `is ${ip} in VLAN ${vlan}, like static[${earlier}]`;
        if (earlier !== undefined)
          report(ipPath, ipItem, wrong, 'each address once in a VLAN, with a list of MACs');
        first.set(`${vlan} ${ip}`, earlier ?? index);
      }
    }
    const macItem = child(entry, 'mac');
    checkMac(macItem, [...path, index, 'mac'], report);
    for (const [at, item] of itemsOf(macItem).entries()) checkMac(item, [...path, index, 'mac', at], report);
  }
}

function checkMac(item: YamlItem | undefined, path: Path, report: Report): void {
  const text = textOf(item);
  if (item === undefined || text === undefined) return;
  const mac = parseMac(text);
  if (mac !== undefined && isUnicastMac(mac)) return;
  const why = mac === undefined ? '' : ', which no host can have';
  report(path, item, `is ${quote(text)}${why}`, 'a unicast MAC such as "52:54:00:12:34:56"');
}

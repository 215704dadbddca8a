// The words of `doctor`: why each check matters, and each finding with its fix.

import type { Mac } from '../../base/address.ts';
import { some } from '../../base/text.ts';
import { formatAge } from '../../base/units.ts';
import type { AttachMode } from '../desired.ts';

/** Why each check matters. */
export const WHY = {
  kernel: 'The kernel must load the program; otherwise nothing is learned.',
  capabilities: 'A run skips the steps for which it lacks a capability.',
  bpffs: 'The program, its maps and the hosts stay in bpffs between runs; each run must find them there.',
  pins: 'The pinned program learns the hosts. Program and maps must be of this version.',
  'last-run': 'Between runs no neighbor is written and none is removed.',
  due: 'A change that is due means that the node differs from the configuration.',
  configuration: 'Without one, no bridge is served.',
  node: 'snoopy runs on Node.js.',
  unnamed: 'Nothing is learned on a bridge that the configuration does not name.',
  glob: 'A glob serves the bridges with a tunnel port that match it.',
  bridge: 'Hosts are learned only on bridges that exist and that the configuration names.',
  ports: 'Hosts are seen only on attached ports.',
  chain: 'A program that runs before ours can end the chain; our program does not see those frames.',
  tunnel: 'FRR makes routes for a VNI, and the VNI of a bridge is that of its VXLAN port.',
  learning: 'MACs behind the tunnel must come from FRR; MACs learned from frames conflict with them.',
  'neigh-suppress':
    'When it is on, the bridge answers ARP and ND from its neighbors; when it is off, requests are flooded.',
  'bridge-mac':
    'A bridge without a MAC of its own uses that of a port; when the MAC changes, all neighbors are lost.',
  ipv6: 'With IPv6 off on the neighbor device the kernel takes no IPv6 neighbors.',
  ageing: 'FRR withdraws the route of a host whose MAC the bridge has forgotten.',
  frr: 'zebra turns neighbors into routes, and bgpd advertises them.',
  'advertise-all-vni': 'Without it bgpd advertises no VNI of zebra.',
  peers: 'Routes are sent only to established EVPN peers.',
  vni: 'zebra takes neighbors only for the VNIs that it knows.',
  'neighbor-device': 'zebra takes the neighbors of a VNI from one device only, its SVI.',
  table: 'When the table is full, no new host is learned.',
  ring: 'A dropped record only delays a change: the next run reads the host from the table.',
  limits: 'A port at its limit learns no further address.',
  'gc-thresh':
    'Above gc_thresh1 this kernel deletes neighbors that are not rewritten; above gc_thresh3 it refuses new ones.',
  frozen: 'A frozen address has no neighbor until its hold time is over (RFC 9161, section 3.7).',
  'virtual-router': 'The address of a virtual router is learned only from its own MAC.',
  hosts: 'A host without a neighbor has no MAC/IP route.',
  silent: 'A host is learned from its own ARP and ND messages; one that sends none has no MAC/IP route.',
  hinted: 'A message that only suggests an address is not learned from; its host is probed, and must answer.',
  advertised: 'A neighbor that zebra does not advertise gives no route.',
} as const;

export type CheckId = keyof typeof WHY;

/** A finding of a check: keys of the report. */
interface Words {
  readonly found: string;
  readonly remedy: string;
}

interface Named {
  readonly name: string;
}

interface Names {
  readonly names: readonly string[];
}

export const KERNEL = {
  ok: (versions: Versions) => `${nameKernel(versions)} loads the program`,
  refuses: ({
    because,
    missing,
    ...versions
  }: Versions & { readonly because: string; readonly missing: string }) => ({
    found: `${nameKernel(versions)} does not load the program: ${because}`,
    remedy:
      missing === ''
        ? 'boot Linux 5.8 or later, and install libbpf 1.1 or later (libbpf1)'
        : `run as root, or with ${missing}: the kernel loads the program only with these`,
  }),
};

interface Versions {
  readonly kernel: string;
  readonly libbpf: string;
}

function nameKernel({ kernel, libbpf }: Versions): string {
  return `Linux ${kernel} with libbpf ${libbpf}`;
}

export const CAPABILITIES = {
  ok: () => 'all that a run needs',
  toLoad: ({ missing }: { readonly missing: string }) => ({
    found: `${missing} missing: the program cannot be loaded`,
    remedy: `run as root, or with ${missing}`,
  }),
  toSend: ({ missing }: { readonly missing: string }) => ({
    found: `${missing} missing: no host is probed, and no address is announced`,
    remedy: `run as root, or with ${missing}, or set "probe: {enabled: never}" and "announce: never"`,
  }),
};

const JOIN_MOUNTS =
  'run snoopy in the mount namespace of the node: use nsenter --net instead of ip netns exec';

export const BPFFS = {
  ok: () => 'mounted',
  unmounted: ({ path }: { readonly path: string }) => ({
    found: 'not mounted; the next run mounts it',
    remedy: `mount -t bpf bpf ${path}`,
  }),
  nowhere: ({ path }: { readonly path: string }) => ({
    found: 'the directory does not exist',
    remedy: `mkdir -p ${path}; the next run mounts bpffs there`,
  }),
  hidden: () => ({
    found: 'not the file system that process 1 sees there',
    remedy: JOIN_MOUNTS,
  }),
  apart: () => ({
    found: 'not mounted, and a mount in this mount namespace may end with this program',
    remedy: JOIN_MOUNTS,
  }),
};

export const PINS = {
  ok: ({ programId }: { readonly programId: number | null }) => `program ${programId} and its maps`,
  lost: () => ({
    found: 'nothing is pinned here, and programs of snoopy are attached',
    remedy: 'snoopy reconcile',
  }),
  due: ({ because }: { readonly because: string }) => ({ found: because, remedy: 'snoopy reconcile' }),
  strays: ({ ports }: { readonly ports: readonly string[] }) => ({
    found: `another program of snoopy, whose pins are not here, is attached to ${ports.join(', ')} as well`,
    remedy:
      'snoopy reconcile (as root, with CAP_SYS_ADMIN), which detaches it; use one runtime.pin_dir, and one bpffs',
  }),
};

const CHECK_TIMER =
  'systemctl status snoopy-reconcile.timer snoopy-reconcile.service; then: snoopy reconcile';

export const LAST_RUN = {
  ok: describeLastRun,
  never: () => ({ found: 'no run of all bridges has succeeded with these pins', remedy: CHECK_TIMER }),
  late: (run: { readonly age: number }) => ({ found: describeLastRun(run), remedy: CHECK_TIMER }),
};

/** `age` is in seconds. */
function describeLastRun({ age }: { readonly age: number }): string {
  return `the last run that succeeded was ${formatAge(age)} ago`;
}

export const DUE = {
  ok: () => 'a run would change nothing',
  due: ({ names }: Names) => ({
    found: `a run would do: ${some(names)}`,
    remedy: 'snoopy reconcile --check --diff shows it, snoopy reconcile does it',
  }),
};

interface Fill {
  readonly count: number;
  readonly max: number;
}

export const TABLE = {
  ok: describeFill,
  overcommitted: ({
    ports,
    together,
    ...fill
  }: Fill & { readonly ports: number; readonly together: number }) => ({
    found: `${describeFill(fill)}, and the limits of ${ports} ports add up to ${together}: one port can use up the room of another`,
    remedy: `raise runtime.max_bindings to ${together}, or lower limits.bindings_per_port`,
  }),
  full: (fill: Fill) => ({
    found: describeFill(fill),
    remedy: 'raise runtime.max_bindings; the next run migrates the bindings',
  }),
};

function describeFill({ count, max }: Fill): string {
  return `${count} of ${max} bindings`;
}

export const RING = {
  ok: ({ dropped }: { readonly dropped: number }) => `${dropped} records dropped`,
  dropped: ({ dropped }: { readonly dropped: number }) => ({
    found: `${dropped} records dropped`,
    remedy: 'run more often, or raise runtime.ring_size',
  }),
};

interface Thresholds {
  readonly family: 'ipv4' | 'ipv6';
  readonly count: number;
  readonly thresholds: readonly [number, number, number];
}

export const GC_THRESH = {
  ok: () => 'gc_thresh1 is above the number of neighbors',
  exempt: () => "this kernel does not delete snoopy's neighbors",
  unreadable: () => 'not checked: only the initial network namespace has gc_thresh1 to 3',
  collected: (data: Thresholds) => {
    const { found, remedy } = describeThresholds(data);
    return { found, remedy: `run at least every 30 s, or: ${remedy}` };
  },
  exceeded: describeThresholds,
};

function describeThresholds({ family, count, thresholds: [first, soft, hard] }: Thresholds): Words {
  const sysctl = `net.${family}.neigh.default.gc_thresh`;
  return {
    found: `${count} neighbors, ${sysctl}1 to 3 are ${first}, ${soft} and ${hard}`,
    remedy: `sysctl -w ${sysctl}1=${4 * count} ${sysctl}2=${8 * count} ${sysctl}3=${16 * count}`,
  };
}

export const BRIDGE = {
  ok: ({ isVlanAware }: { readonly isVlanAware: boolean }) => (isVlanAware ? 'VLAN-aware' : 'there'),
  optional: () => 'not there, and not required',
  none: () => ({
    found: 'the configuration names no bridge',
    remedy: 'name the bridges under "bridges"; snoopy init prints entries for those of this node',
  }),
  down: describeDown,
};

function describeDown({ names }: Names): { readonly found: string; readonly remedy: string } {
  return {
    found: `${some(names)} ${names.length === 1 ? 'is' : 'are'} down`,
    remedy: `ip link set ${names[0] ?? ''} up`,
  };
}

export const PORTS = {
  ok: ({ count, excluded }: { readonly count: number } & Excluded) =>
    `all ${count} attached${describeExcluded({ excluded })}`,
  none: ({ name, excluded }: Named & Excluded) => ({
    found: `no local port${describeExcluded({ excluded })}`,
    remedy: `check "ports" in the configuration, and: bridge link show master ${name}`,
  }),
  unattached: ({ names }: Names) => ({
    found: `not attached: ${some(names)}`,
    remedy: 'snoopy reconcile',
  }),
};

interface Excluded {
  /** The ports that `ports` leaves out. */
  readonly excluded: readonly string[];
}

function describeExcluded({ excluded }: Excluded): string {
  return excluded.length === 0 ? '' : `; left out by "ports": ${some(excluded)}`;
}

interface Rivals {
  readonly ports: readonly string[];
  readonly rivals: readonly string[];
  readonly isTcx: boolean;
  readonly attach: AttachMode;
}

export const CHAIN = {
  ok: () => 'no program runs before ours',
  ended: (data: Rivals) => ({
    found: `hosts behind ${some(data.ports)} and none was seen: ${some(data.rivals)} runs before ours and seems to end the chain`,
    remedy: fixChain(data),
  }),
  shared: (data: Rivals) => ({
    found: `${some(data.rivals)} runs before ours on ${some(data.ports)}`,
    remedy: fixChain(data),
  }),
};

/** Our link is the first when it is created. A program that is attached later may request the place before it. */
function fixChain({ isTcx, attach }: Rivals): string {
  if (attach !== 'clsact' && isTcx)
    return 'bpftool net show; let that program end with TCX_NEXT, or attach it after snoopy';
  const instead = isTcx ? 'let that program end with TCX_NEXT' : 'give that filter a pref above 10';
  return attach === 'clsact'
    ? `set "runtime.attach: auto", which runs first from Linux 6.6 on, or ${instead}`
    : instead;
}

export const TUNNEL = {
  ok: ({ names }: Names) => some(names),
  none: ({ name }: Named) => ({
    found: 'no VXLAN port',
    remedy: `take ${name} out of the configuration if its hosts are in no VNI; else: ip link add vxlan100 type vxlan id 100 local ADDRESS dstport 4789 nolearning; ip link set vxlan100 master ${name} up; bridge link set dev vxlan100 learning off neigh_suppress on`,
  }),
  down: describeDown,
};

export const LEARNING = {
  ok: () => 'off',
  device: ({ name }: Named) => ({
    found: 'the VXLAN device learns',
    remedy: `create it with "nolearning": ip link set ${name} type vxlan nolearning`,
  }),
  port: ({ name }: Named) => ({
    found: 'the bridge learns from the tunnel',
    remedy: `bridge link set dev ${name} learning off`,
  }),
};

export const NEIGH_SUPPRESS = {
  ok: () => 'on',
  okByVlan: () => 'on for each VLAN with a neighbor device',
  off: ({ name }: Named) => ({ found: 'off', remedy: `bridge link set dev ${name} neigh_suppress on` }),
  offInVlans: ({ name, vlans }: Named & { readonly vlans: readonly string[] }) => ({
    found: `set for each VLAN, and off in VLAN ${some(vlans)}`,
    remedy: `bridge vlan set dev ${name} vid ${vlans[0] ?? 'VLAN'} neigh_suppress on`,
  }),
};

export const BRIDGE_MAC = {
  ok: ({ mac }: { readonly mac: Mac | undefined }) => mac ?? 'none',
  ofPort: ({ name, mac }: Named & { readonly mac: Mac | undefined }) => ({
    found: `${mac ?? 'its MAC'} is that of a port`,
    remedy: `ip link set ${name} address ${mac ?? 'MAC'}`,
  }),
};

export const IPV6 = {
  ok: () => 'on',
  /** sysctl(8) takes a slash for a dot within a name. */
  off: ({ name }: Named) => ({
    found: 'disable_ipv6 is 1',
    remedy: `sysctl -w net.ipv6.conf.${name.replaceAll('.', '/')}.disable_ipv6=0, or learn [arp] alone`,
  }),
};

interface Ageing extends Named {
  readonly ageingMs: number;
  readonly maxAgeMs: number | null;
}

export const AGEING = {
  ok: describeAgeing,
  atOnce: (ageing: Ageing) => ({
    found: describeAgeing(ageing),
    remedy: `ip link set ${ageing.name} type bridge ageing_time 30000`,
  }),
  /** `ageing_time` is in 1/100 s. */
  beyondMaxAge: (ageing: Ageing & { readonly maxAgeMs: number }) => ({
    found: describeAgeing(ageing),
    remedy: `raise max_age above ${ageing.ageingMs / 1000}s, or: ip link set ${ageing.name} type bridge ageing_time ${ageing.maxAgeMs / 10}`,
  }),
};

function describeAgeing({ ageingMs, maxAgeMs }: Ageing): string {
  const maxAge = maxAgeMs === null ? 'never' : `${maxAgeMs / 1000} s`;
  return `the bridge forgets a MAC after ${ageingMs / 1000} s, max_age is ${maxAge}`;
}

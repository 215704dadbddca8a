// Reports to render: small, but with one of everything.

import { type IpAddress, type Mac, parseIp, parseMac } from '../../../src/base/address.ts';
import type { Problem } from '../../../src/base/errors.ts';
import {
  APPLIED,
  type BindingReport,
  type Counters,
  type Durations,
  failedBy,
  type NeighborChangeReport,
  type NeighborEntry,
  type Outcome,
  type ReconcileReport,
  type RemoveReport,
  type StatusReport,
} from '../../../src/core/report.ts';

const COUNTERS: Counters = {
  sightings: 40,
  ignored: 2,
  hints: 5,
  created: 3,
  moved: 1,
  duplicates: 0,
  rejected: { spoofed: 2, subnet: 0, rate_limit: 1 },
};

const DURATIONS: Durations = {
  config: 0.004,
  lock: 0.002,
  observe: 0.01,
  plan: 0.0005,
  apply: 0,
  verify: 0,
  drain: 0.012,
  confirm: 0,
  decide: 0.001,
  write: 0.003,
  frr: 0,
  probe: 0,
  listen: 0,
  metrics: 0.02,
};

export function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new RangeError(text);
  return parsed;
}

export function mac(text: string): Mac {
  const parsed = parseMac(text);
  if (parsed === undefined) throw new RangeError(text);
  return parsed;
}

function entry(address: string): NeighborEntry {
  return { mac: mac(address), state: 'noarp', protocol: 115, flags: [] };
}

export function change(
  kind: NeighborChangeReport['kind'],
  address: string,
  outcome: Outcome = APPLIED,
): NeighborChangeReport {
  return {
    kind,
    device: 'vmbr0',
    bridge: 'vmbr0',
    vlan: 0,
    ip: ip(address),
    mac: mac('02:00:00:00:01:10'),
    port: kind === 'remove' ? null : 'tap100i0',
    before: kind === 'add' ? null : entry(kind === 'replace' ? '02:00:00:00:01:99' : '02:00:00:00:01:10'),
    after: kind === 'remove' ? null : entry('02:00:00:00:01:10'),
    because: kind === 'remove' ? 'no binding' : kind === 'add' ? 'new' : 'the MAC changed',
    outcome,
  };
}

export const QUIET: ReconcileReport = {
  version: 1,
  ok: true,
  changed: false,
  check: false,
  steps: [],
  neighbors: { changed: false, total: 12, changes: [] },
  ring: { records: 0, dropped: 0 },
  probes: { sent: 0 },
  announcements: { sent: 0 },
  confirms: { sent: 0, answered: 0 },
  hints: { probed: 0, learned: 0 },
  frr: { verified: 0, missing: 0, renewed: 0 },
  counters: COUNTERS,
  bridges: [
    {
      name: 'vmbr0',
      present: true,
      ports: ['tap100i0', 'tap101i0', 'tap102i0'],
      bindings: 10,
      neighbors: 10,
    },
    { name: 'vmbr1', present: true, ports: ['veth1', 'veth2'], bindings: 2, neighbors: 2 },
  ],
  durations: DURATIONS,
  remaining: [],
  warnings: [],
  errors: [],
};

/** A run that changed nothing, and has probed hosts. */
export const PROBING: ReconcileReport = {
  ...QUIET,
  probes: { sent: 2 },
  announcements: { sent: 1 },
  hints: { probed: 3, learned: 0 },
  frr: { verified: 12, missing: 4, renewed: 4 },
};

/** A run with one of each step and change; `outcome` is the one for those that succeed. */
export function busy(outcome: Outcome, check: boolean): ReconcileReport {
  return {
    ...QUIET,
    changed: true,
    check,
    steps: [
      { action: { kind: 'mount', path: '/sys/fs/bpf' }, outcome },
      { action: { kind: 'load', reason: 'absent' }, outcome },
      { action: { kind: 'set-prefix', bridge: 'vmbr0', prefix: 'allow any' }, outcome },
      { action: { kind: 'set-prefix', bridge: 'vmbr0', prefix: 'deny 192.168.1.1/32' }, outcome },
      { action: { kind: 'set-static', bridge: 'vmbr1', ip: '192.168.1.53' }, outcome },
      {
        action: { kind: 'set-static', bridge: 'vmbr1', ip: '192.168.1.53', mac: '52:54:00:00:00:53' },
        outcome,
      },
      { action: { kind: 'set-port', bridge: 'vmbr0', port: 'tap100i0' }, outcome },
      { action: { kind: 'attach', bridge: 'vmbr0', port: 'tap100i0', as: 'tcx' }, outcome },
      { action: { kind: 'attach', bridge: 'vmbr1', port: 'veth1', as: 'filter' }, outcome },
      { action: { kind: 'detach', port: 'tap7', as: 'stray' }, outcome },
      { action: { kind: 'drop-port', port: '#17' }, outcome },
    ],
    neighbors: {
      changed: true,
      total: 12,
      changes: [
        change('add', '192.168.1.10', outcome),
        change('add', '2001:db8:1:2:3:4:5:6', outcome),
        change('replace', '192.168.1.11', outcome),
        change('remove', '192.168.1.12', outcome),
      ],
    },
    ring: { records: 3, dropped: 1 },
  };
}

const NOT_ATTACHED: Problem = {
  code: 'attach_failed',
  object: 'tap100i0',
  operation: 'attach to port "tap100i0"',
  cause: 'EPERM',
  fix: 'run as root or with CAP_NET_ADMIN and CAP_BPF',
  errno: 'EPERM',
};
const BRIDGE_MISSING: Problem = {
  code: 'bridge_missing',
  object: 'vmbr9',
  operation: 'use bridge "vmbr9"',
  cause: 'it does not exist',
  fix: 'create it, remove it from the configuration, or set "required: false"',
};
const FAILED: Outcome = failedBy(NOT_ATTACHED);

export const TROUBLED: ReconcileReport = {
  ...QUIET,
  ok: false,
  changed: true,
  steps: [
    { action: { kind: 'attach', bridge: 'vmbr0', port: 'tap100i0' }, outcome: FAILED },
    { action: { kind: 'attach', bridge: 'vmbr0', port: 'tap101i0' }, outcome: APPLIED },
  ],
  neighbors: {
    changed: false,
    total: 12,
    changes: [
      change('add', '192.168.1.10', {
        kind: 'skipped',
        because: 'another owner wrote an entry meanwhile; the next run decides',
      }),
    ],
  },
  bridges: [...QUIET.bridges, { name: 'vmbr9', present: false, ports: [], bindings: 0, neighbors: 0 }],
  remaining: [
    { kind: 'attach', bridge: 'vmbr0', port: 'tap100i0' },
    { kind: 'set-port', bridge: 'vmbr0', port: 'tap102i0' },
  ],
  warnings: [{ kind: 'duplicate', ip: ip('192.168.1.14'), bridge: 'vmbr0', vlan: 0, macs: [] }],
  errors: [NOT_ATTACHED, BRIDGE_MISSING],
};

/** The first run on a large host. */
export function large(): ReconcileReport {
  const names = Array.from({ length: 250 }, (_, index) => `tap${index}i0`);
  return {
    ...QUIET,
    changed: true,
    steps: names.flatMap((port) => [
      { action: { kind: 'set-port' as const, bridge: 'vmbr0', port }, outcome: APPLIED },
      { action: { kind: 'attach' as const, bridge: 'vmbr0', port }, outcome: APPLIED },
    ]),
    neighbors: {
      changed: true,
      total: 250,
      changes: names.map((_, index) => change('add', `10.0.0.${index}`)),
    },
    bridges: [{ name: 'vmbr0', present: true, ports: names, bindings: 250, neighbors: 250 }],
  };
}

export const REMOVED: RemoveReport = {
  version: 1,
  ok: true,
  changed: true,
  check: false,
  steps: [
    { action: { kind: 'detach', bridge: 'vmbr0', port: 'tap100i0' }, outcome: APPLIED },
    { action: { kind: 'unpin', path: '/sys/fs/bpf/snoopy' }, outcome: APPLIED },
  ],
  neighbors: { changed: true, total: 0, changes: [change('remove', '192.168.1.10')] },
  remaining: [],
  errors: [],
};

export const NOTHING_TO_REMOVE: RemoveReport = {
  ...REMOVED,
  changed: false,
  steps: [],
  neighbors: { changed: false, total: 0, changes: [] },
};

function binding(address: string, over: Partial<BindingReport>): BindingReport {
  return {
    bridge: 'vmbr0',
    device: 'vmbr0',
    vlan: 0,
    ip: ip(address),
    mac: mac('02:00:00:00:01:10'),
    port: 'tap100i0',
    source: 'learned',
    state: 'installed',
    age: 12,
    because: '',
    advertised: null,
    hindrance: '',
    neighbor: 'noarp',
    ...over,
  };
}

export const STATUS: StatusReport = {
  version: 1,
  ok: true,
  loaded: true,
  reason: null,
  bridges: [
    ...QUIET.bridges.slice(0, 1),
    { name: 'vmbr9', present: false, ports: [], bindings: 0, neighbors: 0 },
  ],
  ports: [
    {
      name: 'tap100i0',
      bridge: 'vmbr0',
      attached: true,
      bindings: 4,
      limit: 64,
      limited: 0,
      limitedSince: 0,
    },
    {
      name: 'longest-name-15',
      bridge: 'vmbr0',
      attached: false,
      bindings: 1,
      limit: 1,
      limited: 17,
      limitedSince: 3,
    },
  ],
  bindings: [
    binding('192.168.1.10', {}),
    binding('2001:db8:1111:2222:3333:4444:5555:6666', { age: 4_000, port: 'longest-name-15' }),
    binding('192.168.10.7', {
      vlan: 10,
      device: 'vmbr0.10',
      state: 'waiting',
      because: 'its MAC is not in the FDB',
    }),
    binding('192.168.10.8', {
      vlan: 10,
      device: 'vmbr0.10',
      source: 'static',
      age: null,
      port: null,
      state: 'waiting',
    }),
    binding('192.168.20.1', {
      vlan: 20,
      device: null,
      state: 'homeless',
      because: 'no device for VLAN 20 above the bridge',
    }),
    binding('192.168.1.14', {
      state: 'frozen',
      age: 200_000,
      because: 'its MAC changes too often: a duplicate',
    }),
  ],
  hints: { solicitation: 1, unnamed: 0, anycast: 0, tentative: 0, rate: 0, fabric: 3, ended: 0 },
  frr: { state: 'unasked', message: '' },
  ring: { pending: true, dropped: 0 },
  counters: COUNTERS,
  errors: [],
};

/** The same where FRR answers. */
export const ADVERTISED: StatusReport = {
  ...STATUS,
  frr: { state: 'answered', message: '' },
  bindings: STATUS.bindings.map((each, at) => ({
    ...each,
    advertised: at === 0,
    hindrance:
      at === 1
        ? 'local inactive in zebra: the bridge has no local entry for its MAC, the host is silent or gone'
        : '',
  })),
};

export const SILENT: StatusReport = {
  ...STATUS,
  frr: { state: 'silent', message: 'vtysh -c "show evpn vni detail json" fails: no answer in 2 s' },
};

export const OUTDATED: StatusReport = { ...STATUS, reason: 'layout' };

export const NOT_LOADED: StatusReport = {
  ...STATUS,
  loaded: false,
  reason: 'absent',
  bridges: QUIET.bridges.slice(0, 1),
  ports: [],
  bindings: [],
};

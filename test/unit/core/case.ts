// A golden case: a folder with desired.yaml (a configuration), observed.yaml (a machine) and expected.yaml. The first
// two state only what differs from the default scene.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dump, load } from 'js-yaml';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import { parsePrefix, prefixOf } from '../../../src/base/address.ts';
import { formatProblem } from '../../../src/base/errors.ts';
import { formatDuration } from '../../../src/base/units.ts';
import { parseConfig } from '../../../src/config/config.ts';
import { summarize } from '../../../src/core/actions.ts';
import { planAnnouncements } from '../../../src/core/announcements.ts';
import type { Configuration, Desired } from '../../../src/core/desired.ts';
import { findUnnamed, resolveEntries } from '../../../src/core/entries.ts';
import { HostIndex } from '../../../src/core/host-index.ts';
import { knownMacs } from '../../../src/core/known-macs.ts';
import { isRouter } from '../../../src/core/neighbor-entry.ts';
import { type HostPlan, planHosts } from '../../../src/core/neighbors/plan.ts';
import type { Attachment, Observed, ObservedHosts } from '../../../src/core/observed.ts';
import { plan } from '../../../src/core/plan.ts';
import { hintsByStatus, isSeenHint } from '../../../src/core/probes/hints.ts';
import { planMemory } from '../../../src/core/probes/memory.ts';
import { planProbes } from '../../../src/core/probes/plan.ts';
import type { Probe } from '../../../src/core/probes/probe.ts';
import { resolveTopology, type Topology } from '../../../src/core/topology.ts';
import type { LoadReason } from '../../../src/datapath/pins.ts';
import type { Binding } from '../../../src/datapath/records/binding.ts';
import { bindingId } from '../../../src/datapath/records/binding-key.ts';
import type { Hint } from '../../../src/datapath/records/hint.ts';
import type { SeenHint } from '../../../src/datapath/records/seen-hint.ts';
import { type Activity, ForwardingTable } from '../../../src/netlink/forwarding-table.ts';
import type { Link } from '../../../src/netlink/link.ts';
import {
  type Neighbor,
  NTF_EXT_EXT_VALIDATED,
  NTF_EXT_LEARNED,
  NTF_ROUTER,
} from '../../../src/netlink/neighbor.ts';

/** The program that is pinned in every case. Attachments are compared with its ID. */
const PROGRAM_ID = 100;
/** The size of the memory of hints. */
const MEMORY_ROOM = 8;
/** The MAC of every interface. */
const OWN_MAC = '02:ff:00:00:00:01' as Mac;
const NUD: Readonly<Record<string, number>> = {
  none: 0,
  incomplete: 1,
  reachable: 2,
  stale: 4,
  delay: 8,
  probe: 16,
  failed: 32,
  noarp: 64,
  permanent: 128,
};
const FLAGS: Readonly<Record<string, number>> = { extern_learn: NTF_EXT_LEARNED, router: NTF_ROUTER };

/** observed.yaml: names instead of numbers wherever iproute2 prints names. */
interface Machine {
  /** Whether the kernel has TCX; false. */
  readonly tcx?: boolean;
  /** CLOCK_MONOTONIC in seconds. */
  readonly now?: number;
  /** Name -> properties. Interfaces are numbered in the order of the file. */
  readonly links: Readonly<
    Record<
      string,
      {
        readonly kind?: string;
        /** The bridge that it is a port of. */
        readonly master?: string;
        readonly vrf?: string;
        readonly link?: string;
        readonly vlan?: number;
        readonly vlanFiltering?: boolean;
        readonly vlanProtocol?: number;
        readonly pvid?: number;
        readonly addresses?: readonly string[];
        /** VLANs of a port besides its PVID. Frames of those in `untagged` leave the port without a tag. */
        readonly vlans?: readonly number[];
        readonly untagged?: readonly number[];
        /** A tunnel port with ARP suppression; `vlan`: set for each VLAN. */
        readonly suppress?: boolean | 'vlan';
      } | null
    >
  >;
  /** `MAC port [vlan [active|inactive]]`: the activity of the MAC of an Ethernet segment. */
  readonly fdb?: readonly string[];
  readonly neighbors?: readonly {
    readonly dev: string;
    readonly ip: string;
    readonly mac?: string;
    readonly state: string;
    readonly protocol?: number;
    readonly flags?: readonly string[];
    readonly unprotected?: boolean;
    /** Seconds since it was written. */
    readonly written?: number;
    /** Seconds since it was confirmed. */
    readonly confirmed?: number;
  }[];
  readonly bindings?: readonly {
    readonly bridge: string;
    readonly vlan?: number;
    readonly ip: string;
    readonly mac: string;
    readonly port: string;
    /** Seconds since the host was seen. */
    readonly age?: number;
    readonly router?: boolean;
    /** Seconds until the hold time is over. */
    readonly frozen?: number;
    /** How often it has gone to another MAC. */
    readonly moves?: number;
    /** `MAC port`: the owner when the window of moves began. */
    readonly owner?: string;
    /** Seconds since the window of moves began. */
    readonly window?: number;
  }[];
  /** Probes sent so far; `ago` in seconds. */
  readonly probes?: readonly {
    readonly bridge: string;
    readonly vlan?: number;
    readonly ip: string;
    readonly count: number;
    readonly ago: number;
    /** `MAC seconds`: the MAC that got the address in the last owner check, and how long ago. */
    readonly decided?: string;
  }[];
  /** Hints; `age` and `probed` in seconds. Those of messages have the port that the message came from. */
  readonly hints?: readonly {
    readonly bridge: string;
    readonly vlan?: number;
    readonly ip: string;
    readonly mac: string;
    readonly kind: Hint['kind'];
    readonly port?: string;
    readonly age?: number;
    readonly probes?: number;
    readonly probed?: number;
  }[];
  readonly datapath?: {
    readonly mounted?: boolean;
    readonly load?: LoadReason | null;
    /** True: policies, prefixes, statics and attachments are those that a finished run leaves. */
    readonly reconciled?: boolean;
    /** Changes to that finished state, by port. */
    readonly attachments?: Readonly<Record<string, Partial<Attachment> | null>>;
    /** Devices with a policy that is no longer wanted: `port: bridge`. */
    readonly strayPolicies?: Readonly<Record<string, string>>;
  };
}

export interface Case {
  readonly configuration: Configuration;
  readonly desired: Desired;
  readonly observed: Observed;
  readonly hosts: ObservedHosts;
  readonly topology: Topology;
  readonly expected: Expected;
}

/** expected.yaml */
export interface Expected {
  /** With globs: all bridges that the entries serve. */
  readonly bridges?: readonly string[];
  /** Bridges with a tunnel port that no entry serves. */
  readonly unnamed?: readonly string[];
  readonly problems?: readonly string[];
  readonly steps?: readonly string[];
  readonly changes?: readonly string[];
  readonly refresh?: readonly string[];
  readonly forget?: readonly string[];
  readonly verdicts?: readonly string[];
  /** `IP at MAC out of #port from source IP [tag]` */
  readonly probes?: readonly string[];
  /** The same of hosts that were hinted at, and when the next such probe is due: `next in SECONDS`. */
  readonly hints?: readonly string[];
  /** Changes of the memory of hints. */
  readonly memory?: readonly string[];
  /** `IP of MAC, claimed by MAC: from source IP on port [tag], ...` */
  readonly conflicts?: readonly string[];
  /** `IP is MAC [router]: on port [tag], ...` */
  readonly announcements?: readonly string[];
}

/** The default scene: used for a file that a case lacks, and for a key that its observed.yaml lacks. */
const SCENE = fileURLToPath(new URL('../../../../test/unit/core/scene', import.meta.url));

function readYaml(path: string): object {
  return existsSync(path) ? (load(readFileSync(path, 'utf8')) as object) : {};
}

/** Reads a case. The scene stands in for files that are not written yet. */
export function readCase(folder: string): Case {
  const own = join(folder, 'desired.yaml');
  const file = existsSync(own) ? own : join(SCENE, 'desired.yaml');
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if ('problems' in parsed) throw new Error(parsed.problems.map(formatProblem).join('\n'));
  const machine = {
    ...readYaml(join(SCENE, 'observed.yaml')),
    ...readYaml(join(folder, 'observed.yaml')),
  } as Machine;
  const { configuration } = parsed;
  const bare = observe(machine);
  const first = resolveEntries(configuration, bare.links, new Set()).desired;
  const observed = machine.datapath?.reconciled ? afterRun(first, bare, machine) : bare;
  const served = new Set([...observed.datapath.ports.values()].map(({ bridge }) => bridge));
  const { desired } = resolveEntries(configuration, bare.links, served);
  return {
    configuration,
    desired,
    observed,
    hosts: observeHosts(machine),
    topology: resolveTopology(desired, observed),
    expected: readYaml(join(folder, 'expected.yaml')),
  };
}

/** The facts, but the bridge has forgotten the MAC of this address. */
export function withForgotten<Facts extends { readonly plan: Pick<HostPlan, 'decisions'> }>(
  facts: Facts,
  ip: IpAddress,
): Facts {
  const decisions = facts.plan.decisions.map((one) => {
    if (one.ip !== ip) return one;
    return { ...one, candidate: { ...one.candidate, location: { kind: 'nowhere' } as const } };
  });
  return { ...facts, plan: { ...facts.plan, decisions } };
}

/** The case with as much of the FDBs as a run looks up: asking for another MAC throws. */
export function asARunSees(golden: Case): Case {
  const { topology, hosts } = golden;
  const forwarding = new Map(
    [...knownMacs(topology, hosts)].map(([bridge, macs]) => {
      const keys = [...macs];
      const table = ForwardingTable.forKeys(keys, 0);
      const whole = hosts.forwarding.get(bridge);
      for (const { vlan, mac } of keys) {
        const port = whole?.portOf(vlan, mac);
        const activity = whole?.activityOf(vlan, mac) ?? 'untracked';
        if (port !== undefined) table.push({ vlan, mac, port, activity });
      }
      return [bridge, table];
    }),
  );
  return { ...golden, hosts: { ...hosts, forwarding } };
}

/**
 * Writes `found` to expected.yaml: the sections that the file has already, or in a new case those that are not empty.
 */
export function writeExpected(folder: string, { expected }: Case, found: Required<Expected>): void {
  const isNew = Object.keys(expected).length === 0;
  const sections = Object.entries(found).filter(([key, lines]) =>
    isNew ? lines.length > 0 : key in expected,
  );
  // Keep the order of the file.
  const order = Object.keys(expected);
  sections.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  writeFileSync(
    join(folder, 'expected.yaml'),
    dump(Object.fromEntries(sections), { lineWidth: -1, quoteStyle: 'double' }),
  );
}

/** The results of the pure functions for a case, as lines of expected.yaml. */
export function actual({ configuration, desired, observed, hosts, topology }: Case): Required<Expected> {
  const steps = plan(desired, topology, observed, { whole: true }).map((action) => {
    const { kind, ...rest } = summarize(action);
    return [kind, ...Object.values(rest)].join(' ');
  });
  const options = { protocol: desired.runtime.neighborProtocol, whole: true };
  const index = new HostIndex(hosts);
  const decided = planHosts(topology, hosts, options, index);
  const byStatus = hintsByStatus(topology, hosts, index, options);
  const probes = planProbes(topology, hosts, index, decided, byStatus, options.protocol);
  const memory = planMemory(topology, hosts, index, decided, byStatus, { room: MEMORY_ROOM });
  const describe = (change: (typeof decided.changes)[number]): string =>
    [
      `${change.kind} ${change.ip} ${change.mac} dev ${change.deviceName}`,
      change.router ? ' router' : '',
      change.state === 'noarp' || change.kind === 'remove' ? '' : ` ${change.state}`,
      change.validated && change.state !== 'noarp' ? ' protected' : '',
      ` (${change.because})`,
    ].join('');
  return {
    bridges: configuration.entries.some(({ isGlob }) => isGlob)
      ? desired.bridges.map(({ name, maxAgeMs }) => `${name} max_age ${formatDuration(maxAgeMs)}`)
      : [],
    unnamed: findUnnamed(configuration, observed.links),
    problems: topology.problems.map(({ code, object }) => `${code} ${object}`),
    steps,
    changes: decided.changes.map(describe),
    refresh: decided.refresh.map(describe),
    probes: [...probes.doubtful, ...probes.silent].map(describeProbe),
    hints: [
      ...probes.hints.map(describeProbe),
      ...(byStatus.waiting.length === 0
        ? []
        : [`next in ${(Math.min(...byStatus.waiting.map(({ dueMs }) => dueMs)) - hosts.nowMs) / 1000}`]),
    ],
    memory: [
      ...memory.remember.map((hint) => `remember ${describeHint(hint)}`),
      ...memory.forget.map((hint) => `forget ${describeHint(hint)}`),
      ...[...byStatus.learned, ...byStatus.obsolete]
        .filter(isSeenHint)
        .map((hint) => `take ${describeHint(hint)}`),
    ],
    conflicts: probes.conflicts.map(({ ip, owner, claimant, probes }) => {
      const ports = probes.map(
        ({ port, message: { tag } }) => `${port.name}${tag === null ? '' : ` tag ${tag}`}`,
      );
      const from = probes[0]?.message.sourceIp ?? '0.0.0.0';
      return `${ip} of ${owner}, claimed by ${claimant}: probed from ${from} on ${ports.join(', ')}`;
    }),
    announcements: planAnnouncements(topology, hosts, decided.decisions).due.map(
      ({ entry, mac, outlets }) => {
        const ports = outlets.map(({ port, tag }) => `${port.name}${tag === null ? '' : ` tag ${tag}`}`);
        return `${entry.ip} is ${mac}${isRouter(entry) ? ' router' : ''}: on ${ports.join(', ')}`;
      },
    ),
    forget: decided.forget.map(({ ip, vlan }) => (vlan === 0 ? ip : `${ip} vlan ${vlan}`)),
    verdicts: decided.decisions.map(
      ({ ip, mac, port, state, source, device }) =>
        `${ip} ${mac} ${port ?? '-'} ${device ?? '-'} ${source} ${state}`,
    ),
  };
}

function describeProbe({ port, message: { targetIp, targetMac, sourceIp, tag } }: Probe): string {
  const tagged = tag === null ? '' : ` tag ${tag}`;
  return `${targetIp} at ${targetMac} out of ${port.name} from ${sourceIp ?? '0.0.0.0'}${tagged}`;
}

function describeHint({ ip, mac, kind, vlan, probes }: Hint): string {
  const where = vlan === 0 ? '' : ` vlan ${vlan}`;
  return `${ip} at ${mac}${where} (${kind}${probes === 0 ? '' : `, ${probes} probes`})`;
}

function indexOf(machine: Machine, name: string): IfIndex {
  const index = Object.keys(machine.links).indexOf(name);
  if (index < 0) throw new Error(`no link ${name} in observed.yaml`);
  return (index + 1) as IfIndex;
}

/** A port by its name, or `#number` for one that no longer exists. */
function portOf(machine: Machine, name: string): IfIndex {
  return name.startsWith('#') ? (Number(name.slice(1)) as IfIndex) : indexOf(machine, name);
}

function observe(machine: Machine): Observed {
  const links = new Map<IfIndex, Link>();
  const portVlans: Observed['portVlans'] extends ReadonlyMap<infer K, infer V> ? Map<K, V> : never =
    new Map();
  const addresses: Observed['addresses'][number][] = [];
  for (const [name, properties] of Object.entries(machine.links)) {
    const ifIndex = indexOf(machine, name);
    const link = properties ?? {};
    const master = link.master ?? link.vrf;
    links.set(ifIndex, {
      ifIndex,
      name,
      kind: link.kind,
      slaveKind: link.master === undefined ? undefined : 'bridge',
      master: master === undefined ? undefined : indexOf(machine, master),
      link: link.link === undefined ? undefined : indexOf(machine, link.link),
      mac: OWN_MAC,
      flags: 1,
      up: true,
      lowerUp: true,
      mtu: 1500,
      bridge:
        link.kind === 'bridge'
          ? {
              vlanFiltering: link.vlanFiltering ?? false,
              vlanDefaultPvid: 1,
              vlanProtocol: link.vlanProtocol ?? 0x8100,
              ageingTimeMs: 300_000,
            }
          : undefined,
      vlanId: link.vlan,
      vxlan: undefined,
      bridgePort:
        link.suppress === undefined
          ? undefined
          : {
              learning: false,
              neighSuppress: link.suppress === true,
              neighVlanSuppress: link.suppress === 'vlan',
              isolated: false,
              state: 3,
            },
    });
    if (link.pvid !== undefined) {
      const untagged = new Set(link.untagged ?? []);
      const vlans = new Set([...(link.pvid === 0 ? [] : [link.pvid]), ...(link.vlans ?? []), ...untagged]);
      const ranges = [...vlans].map((vlan) => ({ start: vlan, end: vlan, untagged: untagged.has(vlan) }));
      portVlans.set(ifIndex, { ifIndex, pvid: link.pvid, ranges, vnis: [] });
    }
    for (const text of link.addresses ?? []) {
      const [ip = '', bits = ''] = text.split('/');
      if (parsePrefix(text) === undefined) throw new Error(`not an address: ${text}`);
      const address = ip as IpAddress;
      addresses.push({
        ifIndex,
        ip: address,
        prefixLength: Number(bits),
        connected: prefixOf(address, Number(bits)),
        flags: 0,
      });
    }
  }
  const load = machine.datapath?.load === undefined ? 'absent' : machine.datapath.load;
  return {
    links,
    portVlans,
    addresses,
    bpffsMounted: machine.datapath?.mounted ?? true,
    datapath: {
      loadReason: machine.datapath?.reconciled ? null : load,
      programId: machine.datapath?.reconciled || load !== 'absent' ? PROGRAM_ID : null,
      ports: new Map(),
      prefixes: [],
      statics: [],
    },
    attachments: new Map(),
    hasTcx: machine.tcx ?? false,
  };
}

/**
 * The machine after a finished run for `desired`: every planned action is applied to the model, then the changes of
 * the case.
 */
function afterRun(desired: Desired, bare: Observed, machine: Machine): Observed {
  const ports = new Map(bare.datapath.ports);
  const prefixes = [...bare.datapath.prefixes];
  const statics = [...bare.datapath.statics];
  const attachments = new Map<IfIndex, Attachment>();
  for (const action of plan(desired, resolveTopology(desired, bare), bare, { whole: true })) {
    if (action.kind === 'set-port') ports.set(action.port.ifIndex, action.policy);
    if (action.kind === 'set-prefix') prefixes.push(action.rule);
    if (action.kind === 'set-static') statics.push(action.rule);
    if (action.kind === 'attach') {
      attachments.set(action.port.ifIndex, {
        qdisc: 'clsact',
        isReplaceable: false,
        ownsQdisc: true,
        filterProgramId: PROGRAM_ID,
        tcxProgramId: null,
        strays: [],
      });
    }
  }
  for (const [name, change] of Object.entries(machine.datapath?.attachments ?? {})) {
    const ifIndex = indexOf(machine, name);
    if (change === null) attachments.delete(ifIndex);
    else {
      const before = attachments.get(ifIndex) ?? {
        qdisc: null,
        isReplaceable: false,
        ownsQdisc: false,
        filterProgramId: null,
        tcxProgramId: null,
        strays: [],
      };
      attachments.set(ifIndex, { ...before, ...change });
    }
  }
  const template = [...ports.values()][0];
  for (const [name, bridge] of Object.entries(machine.datapath?.strayPolicies ?? {})) {
    if (template === undefined) throw new Error('strayPolicies needs at least one configured port');
    const gone = name.startsWith('#') ? (Number(name.slice(1)) as IfIndex) : indexOf(machine, name);
    ports.set(gone, { ...template, bridge: indexOf(machine, bridge), ownsQdisc: true });
  }
  return { ...bare, datapath: { ...bare.datapath, ports, prefixes, statics }, attachments };
}

function observeHosts(machine: Machine): ObservedHosts {
  const nowMs = (machine.now ?? 100_000) * 1000;
  const bindings = (machine.bindings ?? []).map((binding): Binding => {
    const [ownerMac, ownerPort] = binding.owner?.split(' ') ?? [];
    const seenMs = nowMs - (binding.age ?? 1) * 1000;
    return {
      bridge: indexOf(machine, binding.bridge),
      vlan: binding.vlan ?? 0,
      ip: binding.ip as IpAddress,
      mac: binding.mac as Mac,
      router: binding.router ?? false,
      port: portOf(machine, binding.port),
      moves: binding.moves ?? 0,
      firstSeenMs: seenMs,
      lastSeenMs: seenMs,
      windowMs: binding.window === undefined ? 0 : nowMs - binding.window * 1000,
      owner:
        ownerMac === undefined || ownerPort === undefined
          ? null
          : { mac: ownerMac as Mac, port: portOf(machine, ownerPort) },
      frozenUntilMs: binding.frozen === undefined ? 0 : nowMs + binding.frozen * 1000,
    };
  });
  const neighbors = (machine.neighbors ?? []).map((entry): Neighbor => {
    const state = NUD[entry.state];
    if (state === undefined) throw new Error(`unknown state ${entry.state}`);
    return {
      ifIndex: indexOf(machine, entry.dev),
      ip: entry.ip as IpAddress,
      mac: entry.mac as Mac | undefined,
      state,
      flags: (entry.flags ?? []).reduce((bits, flag) => bits | (FLAGS[flag] ?? 0), 0),
      extFlags: entry.unprotected ? 0 : NTF_EXT_EXT_VALIDATED,
      protocol: entry.protocol ?? 0,
      updatedMs: (entry.written ?? 0) * 1000,
      confirmedMs: (entry.confirmed ?? 0) * 1000,
    };
  });
  const forwarding = new Map<IfIndex, ForwardingTable>();
  for (const line of machine.fdb ?? []) {
    const [mac = '', name = '', vlan = '0', activity = 'untracked'] = line.split(' ');
    const port = indexOf(machine, name);
    const bridge = indexOf(machine, machine.links[name]?.master ?? name);
    const table = forwarding.get(bridge) ?? new ForwardingTable();
    table.push({ vlan: Number(vlan), mac: mac as Mac, port, activity: activity as Activity });
    forwarding.set(bridge, table);
  }
  const deviceNames = new Map(Object.keys(machine.links).map((name) => [indexOf(machine, name), name]));
  const probes = new Map(
    (machine.probes ?? []).map((probe) => {
      const { ip, vlan = 0, count, ago } = probe;
      const key = { bridge: indexOf(machine, probe.bridge), vlan, ip: ip as IpAddress };
      const [mac, seconds] = probe.decided?.split(' ') ?? [];
      const decided = mac === undefined ? null : { mac: mac as Mac, atMs: nowMs - Number(seconds) * 1000 };
      return [bindingId(key), { count, lastMs: nowMs - ago * 1000, decided }];
    }),
  );
  const hints = (machine.hints ?? []).map((hint, slot): Hint | SeenHint => {
    const { vlan = 0, kind, port, age = 1, probes = 0, probed } = hint;
    return {
      ...(port !== undefined && { port: portOf(machine, port), slot }),
      bridge: indexOf(machine, hint.bridge),
      vlan,
      ip: hint.ip as IpAddress,
      mac: hint.mac as Mac,
      kind,
      seenMs: nowMs - age * 1000,
      probes,
      probedMs: probed === undefined ? 0 : nowMs - probed * 1000,
    };
  });
  return {
    nowMs,
    bindings,
    probes,
    seenHints: hints.filter(isSeenHint),
    hints: hints.filter((hint) => !isSeenHint(hint)),
    portStates: new Map(),
    deviceNames,
    forwarding,
    neighbors,
  };
}

// A listening run looks only at the ports that notifications name. Whatever happens to links, in whatever order: the machine that
// it knows after that is the one that a look at everything finds.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import fc from 'fast-check';
import type { IfIndex } from '../../src/base/address.ts';
import { type Machine, resolveMachine, withPorts } from '../../src/commands/retrieve.ts';
import type { Configuration } from '../../src/core/desired.ts';
import { extentOfLink } from '../../src/core/link-change.ts';
import type { Observed } from '../../src/core/observed.ts';
import type { InterfaceAddress } from '../../src/netlink/address.ts';
import type { Link } from '../../src/netlink/link.ts';
import { readCase } from '../unit/core/case.ts';
import { ROOT } from '../unit/golden.ts';
import { check } from './property.ts';

const known = readCase(join(ROOT, 'test/fuzz/narrow'));
const [BRIDGE, PORT, , TUNNEL] = [...known.observed.links.values()];
assert.ok(BRIDGE?.bridge && PORT && TUNNEL?.kind === 'vxlan');
const { bridges, ...shared } = known.desired;
const settings = bridges[0];
assert.ok(settings);
/** One bridge by its name, others by a glob, a port that is left out. */
const CONFIGURATION = {
  ...shared,
  verify: 'never',
  textfile: null,
  entries: [
    { ...settings, isGlob: false, ports: { include: ['*'], exclude: ['no*'] } },
    { ...settings, name: 'vm*', isGlob: true },
  ],
} as unknown as Configuration;

const INDICES = [1, 2, 3, 4, 5, 6, 7] as IfIndex[];
const NAMES = [settings.name, 'vm1', 'vm2', 'tap1', 'tap2', 'no1', 'vx1'];
const KINDS = ['bridge', 'vrf', 'veth', 'bond', 'vxlan', 'vlan', 'macvlan'] as const;

/** What happens to one link: it is there like this from now on, or gone. */
interface Change {
  readonly ifIndex: IfIndex;
  readonly kind: (typeof KINDS)[number] | 'gone';
  readonly name: string;
  readonly master: IfIndex | undefined;
  readonly below: IfIndex;
  readonly mtu: number;
}

const change: fc.Arbitrary<Change> = fc.record({
  ifIndex: fc.constantFrom(...INDICES),
  // Most changes are those of ports.
  kind: fc.oneof(
    { weight: 3, arbitrary: fc.constant('veth' as const) },
    { weight: 1, arbitrary: fc.constant('gone' as const) },
    { weight: 2, arbitrary: fc.constantFrom(...KINDS) },
  ),
  name: fc.constantFrom(...NAMES),
  master: fc.option(fc.constantFrom(...INDICES), { nil: undefined }),
  below: fc.constantFrom(...INDICES),
  mtu: fc.constantFrom(1500, 9000),
});

/** A bridge of an exact name; one in a VRF with a tunnel port alone, which a port makes a served one; and one that a tunnel port does. */
const START: readonly Change[] = [
  { ifIndex: 1, kind: 'bridge', name: settings.name },
  { ifIndex: 3, kind: 'vrf', name: 'vrf1' },
  { ifIndex: 2, kind: 'bridge', name: 'vm1', master: 3 },
  { ifIndex: 4, kind: 'vxlan', name: 'vx1', master: 2 },
  { ifIndex: 5, kind: 'bridge', name: 'vm2' },
].map((one) => ({ master: undefined, below: 1, mtu: 1500, ...one }) as Change);

/** The links of a kernel: a change of one can change others, and each is notified of. */
class Kernel {
  readonly links = new Map<IfIndex, Link>();

  /** Returns the links that have changed. */
  apply({ ifIndex, kind, name, master, below, mtu }: Change): IfIndex[] {
    const before = this.links.get(ifIndex);
    // Names are unique, and a device keeps its kind while it is there.
    if ([...this.links.values()].some((link) => link.name === name && link.ifIndex !== ifIndex)) return [];
    if (kind !== 'gone' && before !== undefined && before.kind !== kind) return [];
    if (kind === 'gone') {
      this.links.delete(ifIndex);
      const freed = [...this.links.values()].filter((link) => link.master === ifIndex);
      for (const port of freed) this.links.set(port.ifIndex, { ...port, ...freeOf() });
      return [...freed.map((port) => port.ifIndex), ifIndex];
    }
    const upper = master === ifIndex ? undefined : this.links.get(master ?? ifIndex);
    // A bridge is in no bridge, and only these two have ports here.
    const isPort =
      (upper?.kind === 'bridge' && kind !== 'bridge') || (upper?.kind === 'vrf' && kind !== 'vrf');
    const like = kind === 'bridge' ? BRIDGE : kind === 'vxlan' ? TUNNEL : PORT;
    this.links.set(ifIndex, {
      ...(like as Link),
      ifIndex,
      name,
      kind,
      mtu,
      link: kind === 'vlan' || kind === 'macvlan' ? below : undefined,
      vlanId: kind === 'vlan' ? 10 : undefined,
      ...(isPort && upper
        ? { master: upper.ifIndex, slaveKind: upper.kind, bridgePort: PORT?.bridgePort }
        : freeOf()),
    });
    return [ifIndex];
  }
}

function freeOf(): Pick<Link, 'master' | 'slaveKind' | 'bridgePort'> {
  return { master: undefined, slaveKind: undefined, bridgePort: undefined };
}

/** Every device has an address, which a pass over ports does not look at. */
function addressesOf({ links }: Kernel): InterfaceAddress[] {
  return [...links.keys()].map((ifIndex) => {
    const connected = { ip: `10.${ifIndex}.0.0`, length: 24 };
    return { ifIndex, ip: `10.${ifIndex}.0.1`, prefixLength: 24, connected, flags: 0 } as InterfaceAddress;
  });
}

/** Every bridge that is served has hosts, so that it stays one for the next look, also without a port. */
function withHosts(machine: Machine): Machine {
  const policies = machine.topology.bridges.map(({ ifIndex }) => [ifIndex, { bridge: ifIndex }] as const);
  const datapath = {
    ...machine.observed.datapath,
    ports: new Map(policies),
  } as unknown as Observed['datapath'];
  return { ...machine, observed: { ...machine.observed, datapath } };
}

function lookAtAll(kernel: Kernel, { datapath }: Pick<Observed, 'datapath'>): Machine {
  const observed = {
    ...known.observed,
    portVlans: new Map(),
    datapath,
    addresses: addressesOf(kernel),
    links: new Map(kernel.links),
  };
  return withHosts(resolveMachine(observed, CONFIGURATION, []));
}

it('the machine after passes over ports is the one that a look at everything finds', () => {
  let narrow = 0;
  check(fc.array(fc.array(change, { minLength: 1, maxLength: 4 }), { maxLength: 12 }), 5_000, (history) => {
    const kernel = new Kernel();
    for (const one of START) kernel.apply(one);
    let machine = lookAtAll(kernel, { datapath: { ...known.observed.datapath, ports: new Map() } });
    for (const changes of history) {
      const named = new Set<IfIndex>();
      let isMachine = false;
      for (const one of changes) {
        for (const ifIndex of kernel.apply(one)) {
          const extent = extentOfLink(machine, ifIndex, kernel.links.get(ifIndex));
          if (extent === 'port') named.add(ifIndex);
          isMachine ||= extent === 'machine';
        }
      }
      const links = new Map(machine.observed.links);
      for (const ifIndex of named) {
        const link = kernel.links.get(ifIndex);
        if (link === undefined) links.delete(ifIndex);
        else links.set(ifIndex, link);
      }
      const after = isMachine ? null : withPorts(machine, { ...machine.observed, links }, [...named]);
      if (after !== null && named.size > 0) narrow++;
      machine = after === null ? lookAtAll(kernel, machine.observed) : withHosts(after);

      const whole = lookAtAll(kernel, machine.observed);
      assert.deepEqual(machine.observed.links, whole.observed.links, 'links');
      assert.deepEqual(machine.desired, whole.desired, 'desired');
      assert.deepEqual(machine.topology, whole.topology, 'topology');
    }
  });
  assert.ok(narrow > 500, `${narrow} passes were narrow`);
});

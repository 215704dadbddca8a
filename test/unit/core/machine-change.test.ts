// What another look at the machine has found changed, and so which hosts it concerns.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import type { KnownMachine } from '../../../src/core/link-change.ts';
import { machineChange } from '../../../src/core/machine-change.ts';
import type { Bridge, Port } from '../../../src/core/topology.ts';
import type { Link } from '../../../src/netlink/link.ts';
import { ROOT } from '../golden.ts';
import { readCase } from './case.ts';

const known = readCase(join(ROOT, 'test/unit/core/cases/none'));
const BRIDGE = 1 as IfIndex;
const PORT = 2 as IfIndex;
const NEW = 9 as IfIndex;
const [served] = known.topology.bridges;
const link = known.observed.links.get(PORT);
assert.ok(served && link);

/** The same machine with its bridge and some links changed; undefined: such a link is gone. */
function changed(bridge: Partial<Bridge>, links: readonly [IfIndex, Link | undefined][] = []): KnownMachine {
  const after = new Map(known.observed.links);
  for (const [ifIndex, now] of links) {
    if (now === undefined) after.delete(ifIndex);
    else after.set(ifIndex, now);
  }
  const bridges = [{ ...(served as Bridge), ...bridge }];
  return { ...known, observed: { links: after }, topology: { ...known.topology, bridges } };
}

const after = (...of: Parameters<typeof changed>) => machineChange(known, changed(...of));

it('a machine that is as it was concerns no host', () => {
  const again = readCase(join(ROOT, 'test/unit/core/cases/none'));
  assert.deepEqual(machineChange(known, again), { bridges: [], ports: [] });
});

it('a bridge that has changed concerns its hosts, and a link or the VLANs of a port those behind it', () => {
  assert.deepEqual(after({ suppresses: !served.suppresses }), { bridges: [BRIDGE], ports: [] });
  const [domain] = [...served.domains.values()];
  assert.ok(domain);
  const reserved = new Set([...domain.reserved, '10.9.0.1' as IpAddress]);
  const domains = new Map([[domain.vlan, { ...domain, reserved }]]);
  assert.deepEqual(after({ domains }), { bridges: [BRIDGE], ports: [] });
  assert.deepEqual(after({}, [[PORT, { ...link, up: !link.up }]]), { bridges: [], ports: [PORT] });
  assert.deepEqual(after({}, [[PORT, undefined]]), { bridges: [], ports: [PORT] });
  assert.deepEqual(after({}, [[NEW, { ...link, ifIndex: NEW }]]), { bridges: [], ports: [NEW] });
  const ports = served.ports.map((port): Port => (port.ifIndex === PORT ? { ...port, pvid: 7 } : port));
  const portsByIndex = new Map(ports.map((port) => [port.ifIndex, port]));
  assert.deepEqual(after({ ports, portsByIndex }), { bridges: [], ports: [PORT] });
});

it('a port that the configuration leaves out by its new name concerns all hosts of the bridge: of what it has learned nothing changes', () => {
  const ports = served.ports.filter(({ ifIndex }) => ifIndex !== PORT);
  const portsByIndex = new Map(ports.map((port) => [port.ifIndex, port]));
  const renamed = after({ ports, portsByIndex }, [[PORT, { ...link, name: 'other1' }]]);
  assert.deepEqual(renamed, { bridges: [BRIDGE], ports: [PORT] });
  const gone = after({ ports, portsByIndex }, [[PORT, { ...link, master: undefined }]]);
  assert.deepEqual(gone, { bridges: [], ports: [PORT] });
});

it('the MAC of a bridge, which can change with its ports, and the flags of an address concern no host', () => {
  const [domain] = [...served.domains.values()];
  assert.ok(domain);
  const address = { ifIndex: BRIDGE, ip: '10.0.0.254' as IpAddress, prefixLength: 24 };
  const connected = { ip: '10.0.0.0' as IpAddress, length: 24 };
  const domainsWith = (mac: string, flags: number): Partial<Bridge> => {
    const addresses = [{ ...address, connected, flags }];
    return { domains: new Map([[domain.vlan, { ...domain, mac: mac as Mac, addresses }]]) };
  };
  const [before, now] = [
    changed(domainsWith('02:00:00:00:00:01', 0)),
    changed(domainsWith('02:00:00:00:00:02', 64)),
  ];
  assert.deepEqual(machineChange(before, now), { bridges: [], ports: [] });
});

it('other settings, and a problem that comes or goes, concern all hosts', () => {
  const bridges = known.desired.bridges.map((one) => ({ ...one, required: !one.required }));
  assert.notDeepEqual(bridges, known.desired.bridges);
  assert.equal(machineChange(known, { ...known, desired: { bridges } }), null);
  const problems = [{ code: 'bridge_missing', object: 'br9', operation: null, cause: '', fix: '' } as const];
  assert.equal(machineChange(known, { ...known, topology: { ...known.topology, problems } }), null);
});

it('a bridge that comes, goes or gets another neighbor device may concern hosts that are not known', () => {
  assert.equal(machineChange(known, { ...known, topology: { ...known.topology, bridges: [] } }), null);
  assert.equal(machineChange({ ...known, topology: { ...known.topology, bridges: [] } }, known), null);
  assert.equal(after({ ifIndex: NEW }), null);
  assert.equal(after({ vlanAware: !served.vlanAware }), null);
  // Both VLANs have a device of their own before and after, and static entries without a VLAN are in another one.
  assert.equal(after({ ownVlan: 20 }), null);
  const [domain] = [...served.domains.values()];
  assert.ok(domain);
  assert.equal(after({ domains: new Map([[domain.vlan, { ...domain, device: NEW }]]) }), null);
  assert.equal(after({ domains: new Map([...served.domains, [10, { ...domain, vlan: 10 }]]) }), null);
});

// Step 3: whether the bridge forwards the MAC to the port that the host was seen on.

import type { Finding } from './finding.ts';
import { excludedPort, nameOf, type Scene } from './scene.ts';
import { BRIDGE } from './wording.ts';

export function checkBridge(scene: Scene): Finding {
  const { facts, place, location, closeup, state, bridgeName } = scene;
  const { bridge, binding, neighbor, mac, vlan } = place;
  const { ip } = facts;
  if (mac === null) return BRIDGE.noMac();
  const ageMs = closeup.fdbAgeMs;
  const entry = { ip, bridge: bridgeName, mac, age: ageMs === null ? null : ageMs / 1000 };
  switch (location.kind) {
    case 'local': {
      const { port } = location;
      const local = { ...entry, port: port.name };
      if (state === 'remote' && neighbor !== undefined && neighbor.mac !== mac)
        return BRIDGE.twoNodes({ ...local, otherMac: neighbor.mac ?? null });
      const seenOn = binding?.mac === mac ? binding.port : port.ifIndex;
      if (seenOn === port.ifIndex || state === 'installed' || state === 'ended') return BRIDGE.local(local);
      return BRIDGE.twoPorts({ ...local, seenOn: nameOf(facts, seenOn) });
    }
    case 'inactive': {
      const idle = { ...entry, port: location.port.name };
      return state === 'installed' ? BRIDGE.inactive(idle) : BRIDGE.silent(idle);
    }
    case 'other': {
      const other = { ...entry, ...excludedPort(facts, bridge, location.port) };
      return state === 'installed' ? BRIDGE.otherPort(other) : BRIDGE.wrongPort(other);
    }
    case 'tunnel':
      return state === 'remote' ? BRIDGE.tunnel(entry) : BRIDGE.movedToTunnel(entry);
    case 'nowhere': {
      const lost = { ...entry, vlan: bridge?.vlanAware ? vlan : null };
      if (state === 'remote') return BRIDGE.nowhere(lost);
      const lostPort = findLostPort(scene);
      if (lostPort !== undefined) return BRIDGE.outOfBridge({ bridge: bridgeName, port: lostPort });
      const down = findDown(scene);
      return down === undefined ? BRIDGE.lost(lost) : BRIDGE.down({ name: down });
    }
    default:
      return location satisfies never;
  }
}

/** The bridge, or the port that has seen the address, if it is down: it forwards nothing, and the bridge has forgotten the MAC. */
function findDown({ facts: { observed }, place: { bridgeIndex, binding } }: Scene): string | undefined {
  const devices = binding === undefined ? [bridgeIndex] : [bridgeIndex, binding.port];
  const links = devices.flatMap((ifIndex) => observed.links.get(ifIndex) ?? []);
  return links.find(({ up }) => !up)?.name;
}

/** The port that has seen the address, if it is no port of a bridge now. */
function findLostPort({ facts: { observed, topology }, place: { binding } }: Scene): string | undefined {
  if (binding === undefined || !topology.freePorts.has(binding.port)) return undefined;
  return observed.links.get(binding.port)?.name;
}

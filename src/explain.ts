// The whole story of one address: what was heard of it, what became of it, and what FRR knows. Changes nothing.

import type { IpAddress } from './base/address.ts';
import { loadConfig } from './config/config.ts';
import { explain } from './core/explain/explain.ts';
import { type Facts, findPlaces, type Place } from './core/explain/places.ts';
import type { ExplainReport } from './core/explain/report.ts';
import type { Closeup } from './core/explain/scene.ts';
import { planHosts } from './core/neighbors/plan.ts';
import { chooseBridges, resolveTopology } from './core/topology.ts';
import { askFrrHost, askFrrSetup } from './host/frr.ts';
import { observe, observeHosts, observeRejections } from './host/observe.ts';
import { openSession } from './host/session.ts';
import { fdbAgeMs } from './netlink/fdb.ts';
import type { NetlinkSocket } from './netlink/socket.ts';
import type { Environment } from './reconcile.ts';

export interface ExplainOptions {
  readonly config: string;
  readonly ip: IpAddress;
  /** Only there; everywhere when it is null. */
  readonly bridge: string | null;
}

/** Throws SnoopyError as `runStatus` does, and `usage` for a bridge that is not in the configuration. */
export function runExplain(options: ExplainOptions, { now, users, log }: Environment): ExplainReport {
  const { ip, bridge } = options;
  const desired = chooseBridges(loadConfig(options.config, users), bridge === null ? [] : [bridge]);
  const session = openSession(desired, { mode: 'read', lockTimeoutMs: 0, now, users, capabilities: [] });
  try {
    const { netlink, runtime, pins } = session;
    const observed = observe(netlink, runtime, pins);
    const topology = resolveTopology(desired, observed);
    const hosts = observeHosts(netlink, pins, topology, observed, now);
    const scope = { protocol: runtime.neighborProtocol, whole: bridge === null };
    const rejections = observeRejections(pins);
    log('asking FRR');
    const facts: Facts = {
      ip,
      desired,
      topology,
      observed,
      hosts,
      plan: planHosts(topology, hosts, scope),
      rejections,
      frr: askFrrSetup(),
    };
    const places = findPlaces(facts, bridge !== null);
    return explain(
      facts,
      places,
      places.map((place) => lookCloser(place, ip, netlink)),
    );
  } finally {
    session.close();
  }
}

function lookCloser({ bridge, vlan, mac, vni }: Place, ip: IpAddress, netlink: NetlinkSocket): Closeup {
  const tag = bridge?.vlanAware ? vlan : 0;
  return {
    fdbAgeMs: bridge && mac !== null ? (fdbAgeMs(netlink, bridge.ifIndex, tag, mac) ?? null) : null,
    frr: vni === null ? null : askFrrHost(vni, ip, mac),
  };
}

// The story of one address: what was seen, what was decided, and what FRR has. Changes nothing.

import type { IpAddress } from '../base/address.ts';
import { SnoopyError } from '../base/errors.ts';
import { loadConfig } from '../config/config.ts';
import { checkSelection } from '../core/entries.ts';
import { explain } from '../core/explain/explain.ts';
import { type Facts, findPlaces, type Place } from '../core/explain/places.ts';
import type { ExplainReport } from '../core/explain/report.ts';
import type { Closeup } from '../core/explain/scene.ts';
import { vniOf } from '../core/frr.ts';
import { mayHaveSegments } from '../core/topology.ts';
import { queryFrrHost, queryFrrSetup } from '../host/frr.ts';
import { observeRejections } from '../host/observe.ts';
import { fdbAgeMs } from '../netlink/fdb.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { type CommandOptions, type Environment, READ, withSession } from './environment.ts';
import { survey } from './retrieve.ts';

export interface ExplainOptions extends CommandOptions {
  readonly ip: IpAddress;
  /** Only these bridges; none: all of them. */
  readonly bridges: readonly string[];
}

/** Throws SnoopyError as `runStatus` does, and for a bridge that is not in the configuration, or that cannot be used. */
export function runExplain(options: ExplainOptions, environment: Environment): ExplainReport {
  const { ip, bridges } = options;
  const { now, users, log } = environment;
  const whole = bridges.length === 0;
  const configuration = loadConfig(options.config, users);
  checkSelection(configuration, bridges);
  return withSession(configuration, READ, environment, (session) => {
    const found = survey(session, configuration, bridges, now, { whole, forwarding: 'whole' });
    // Otherwise the report would be about other bridges.
    const missing = found.topology.problems.find(({ object }) => bridges.includes(object));
    if (missing !== undefined) throw new SnoopyError(missing);
    const rejections = observeRejections(session.pins);
    log('querying FRR');
    const frr = queryFrrSetup({ mayHaveSegments: mayHaveSegments(found.topology) });
    const facts: Facts = { ip, configuration, ...found, rejections, frr };
    const places = findPlaces(facts, !whole);
    return explain(
      facts,
      places,
      places.map((place) => lookCloser(place, ip, session.netlink)),
    );
  });
}

function lookCloser({ bridge, vlan, mac, vnis }: Place, ip: IpAddress, netlink: NetlinkSocket): Closeup {
  const tag = bridge?.vlanAware ? vlan : 0;
  const answers = new Map(vnis.map((vni) => [vni, queryFrrHost(vni, ip, mac)]));
  const vni = vniOf(vnis, (one) => answers.get(one)?.neighbor) ?? null;
  return {
    fdbAgeMs: bridge && mac !== null ? (fdbAgeMs(netlink, bridge.ifIndex, tag, mac) ?? null) : null,
    vni,
    frr: vni === null ? null : (answers.get(vni) ?? null),
  };
}

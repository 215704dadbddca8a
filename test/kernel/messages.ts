// Frames of hosts, as specifications for test/frames.py.
import type { FrameSpec } from './datapath.ts';

/** MACs and addresses of the hosts in the tests; IPv6 with all groups, as in keys of the maps. */
export const ANN = '02:00:00:00:01:10';
export const BOB = '02:00:00:00:02:20';
export const IP4 = '192.168.1.10';
export const IP6 = '2001:db8:0:0:0:0:0:10';

type Fields = Readonly<Record<string, unknown>>;
type Layer = readonly [string, Fields];

/** Changes to a message: fields of its layers, and layers between Ethernet and it. */
export interface Changes {
  readonly mac?: string;
  readonly ip?: string;
  readonly ether?: Fields;
  readonly tags?: readonly Layer[];
  readonly set?: Readonly<Record<number, string>>;
  readonly length?: number;
}

function frame(changes: Changes, ether: Fields, layers: readonly Layer[]): FrameSpec {
  return {
    layers: [['Ether', { ...ether, ...changes.ether }], ...(changes.tags ?? []), ...layers],
    ...(changes.set === undefined ? {} : { set: changes.set }),
    ...(changes.length === undefined ? {} : { length: changes.length }),
  };
}

/** An ARP request; `arp` overrides any of its fields. */
export function arp(changes: Changes & { readonly arp?: Fields } = {}): FrameSpec {
  const mac = changes.mac ?? ANN;
  return frame(changes, { src: mac, dst: 'ff:ff:ff:ff:ff:ff' }, [
    ['ARP', { op: 1, hwsrc: mac, psrc: changes.ip ?? IP4, pdst: '192.168.1.1', ...changes.arp }],
  ]);
}

export interface NdChanges extends Changes {
  readonly ipv6?: Fields;
  readonly nd?: Fields;
  /** Layers between the IPv6 header and the message. */
  readonly extensions?: readonly Layer[];
  readonly options?: readonly Layer[];
}

/** The target link-layer address option. */
export const tlla = (mac: string): Layer => ['ICMPv6NDOptDstLLAddr', { lladdr: mac }];
/** The source link-layer address option. */
export const slla = (mac: string): Layer => ['ICMPv6NDOptSrcLLAddr', { lladdr: mac }];
/** An option without a meaning here, `units` of eight octets long. */
export const filler = (units: number): Layer => [
  'ICMPv6NDOptUnknown',
  { type: 200, len: units, data: { hex: '00'.repeat(units * 8 - 2) } },
];

/** An unsolicited advertisement. */
export function na(changes: NdChanges = {}): FrameSpec {
  const mac = changes.mac ?? ANN;
  const ip = changes.ip ?? IP6;
  return frame(changes, { src: mac, dst: '33:33:00:00:00:01' }, [
    ['IPv6', { src: ip, dst: 'ff02::1', hlim: 255, ...changes.ipv6 }],
    ...(changes.extensions ?? []),
    ['ICMPv6ND_NA', { R: 0, S: 0, O: 1, tgt: ip, ...changes.nd }],
    ...(changes.options ?? [tlla(mac)]),
  ]);
}

/** A solicitation for a neighbor. */
export function ns(changes: NdChanges = {}): FrameSpec {
  const mac = changes.mac ?? ANN;
  return frame(changes, { src: mac, dst: '33:33:ff:00:00:01' }, [
    ['IPv6', { src: changes.ip ?? IP6, dst: 'ff02::1:ff00:1', hlim: 255, ...changes.ipv6 }],
    ...(changes.extensions ?? []),
    ['ICMPv6ND_NS', { tgt: '2001:db8::1', ...changes.nd }],
    ...(changes.options ?? [slla(mac)]),
  ]);
}

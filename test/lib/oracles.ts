// The state of the kernel by iproute2 and bpftool: never by snoopy's own code, but for TCX programs, which Debian 12's bpftool
// does not list: by libbpf's bpf_prog_query.
import { BPF_TCX_INGRESS, tcxPrograms } from '../../src/ffi/link.ts';
import { inNetns } from './libc.ts';
import type { Netns } from './netns.ts';

/** One line of `ip -json neigh show`. */
export interface NeighborLine {
  readonly dst: string;
  readonly dev?: string;
  readonly lladdr?: string;
  readonly state: readonly string[];
  /** `zebra`, or a number as text. */
  readonly protocol?: string;
  readonly extern_learn?: null;
  readonly router?: null;
}

export interface FdbLine {
  readonly mac: string;
  readonly ifname: string;
  readonly master?: string;
  /** Tunnel end, for an entry of a VXLAN port itself. */
  readonly dst?: string;
  readonly vlan?: number;
  readonly state?: string;
  readonly flags?: readonly string[];
}

export interface QdiscLine {
  readonly kind: string;
  readonly dev?: string;
}

export interface FilterLine {
  readonly protocol: string;
  readonly pref: number;
  readonly kind: string;
  readonly options?: {
    readonly handle?: string;
    readonly bpf_name?: string;
    readonly prog?: { readonly id: number };
  };
}

/** The neighbors of a device in every state, sorted by address. */
export function listNeighbors(netns: Netns, device: string): NeighborLine[] {
  const lines = netns.json<NeighborLine[]>('ip', '-json', 'neigh', 'show', 'dev', device, 'nud', 'all');
  return lines
    .filter((line) => !isMulticastNeighbor(line))
    .sort((a, b) => (a.dst < b.dst ? -1 : a.dst > b.dst ? 1 : 0));
}

/** The one neighbor with this address, or undefined. */
export function findNeighbor(netns: Netns, device: string, ip: string): NeighborLine | undefined {
  return listNeighbors(netns, device).find((line) => line.dst === ip);
}

/** The neighbors with a protocol number: snoopy's own have 115. */
export function listOwnNeighbors(netns: Netns, device: string, protocol = 115): NeighborLine[] {
  return listNeighbors(netns, device).filter((line) => line.protocol === String(protocol));
}

/** The lines of `ip -d neigh` that match, sorted: for "not one byte has changed". */
export function neighborText(netns: Netns, device: string, pattern: RegExp): string {
  const text = netns.run('ip', '-d', 'neigh', 'show', 'dev', device, 'nud', 'all');
  const lines = text.split('\n').filter((line) => pattern.test(line));
  return lines.sort().join('\n');
}

/** Where a MAC is in a bridge's FDB, without the ports' own (permanent) addresses. */
export function findFdb(netns: Netns, bridge: string, mac: string): FdbLine[] {
  const lines = netns.json<FdbLine[]>('bridge', '-json', 'fdb', 'show', 'br', bridge);
  return lines.filter((line) => line.mac === mac && line.master === bridge && line.state !== 'permanent');
}

/** The tunnel ends to which a VXLAN port floods: those whose type-3 route the node has. */
export function floodList(netns: Netns, tunnel: string): string[] {
  const lines = netns.json<FdbLine[]>('bridge', '-json', 'fdb', 'show', 'dev', tunnel);
  return lines.filter((line) => line.mac === '00:00:00:00:00:00').map((line) => line.dst ?? '');
}

export function listQdiscs(netns: Netns, device: string): QdiscLine[] {
  return netns.json<QdiscLine[]>('tc', '-json', 'qdisc', 'show', 'dev', device);
}

/** The filters on a device's ingress; none without a clsact qdisc. */
export function listFilters(netns: Netns, device: string): FilterLine[] {
  const lines = netns.json<FilterLine[]>('tc', '-json', 'filter', 'show', 'dev', device, 'ingress');
  return lines.filter((line) => line.options !== undefined);
}

/** IDs of the programs at a device's ingress: in its filters, and by TCX. */
export function attachedPrograms(netns: Netns, device: string): number[] {
  const [link] = netns.json<{ ifindex: number }[]>('ip', '-json', 'link', 'show', 'dev', device);
  const filters = listFilters(netns, device).flatMap(({ options }) => options?.prog?.id ?? []);
  return [...filters, ...inNetns(netns.path, () => tcxPrograms(link?.ifindex ?? 0, BPF_TCX_INGRESS))];
}

/** bpftool's list of the programs attached to the network devices of a namespace. */
export function listAttached(netns: Netns): unknown {
  return netns.json<unknown>('bpftool', '--json', 'net', 'show');
}

/** The kernel's own NOARP entries for multicast and loopback addresses, which `nud all` includes. */
function isMulticastNeighbor(line: NeighborLine): boolean {
  return /^(ff|22[4-9]\.|23\d\.|255\.)/.test(line.dst) || line.lladdr === '00:00:00:00:00:00';
}

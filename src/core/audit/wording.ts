// The words of `audit`: the checks by weight, why each matters, and each finding with the command that looks further.

import { some } from '../../base/text.ts';
import { formatAge } from '../../base/units.ts';

/** The checks, the heaviest first, and why each matters. */
export const WHY = {
  'two-owners':
    'Every node sends to one of them, and not all to the same; the other one loses its connections.',
  'mac-twice': 'The routes of a MAC in two places replace each other; frames go to either.',
  ghost: 'Nodes send to a place where the address is not, so nothing answers.',
  hole: 'A node without the route floods requests for the address, or cannot reach it.',
  'wrong-next-hop': 'The node sends to a place where the address is not.',
  'wrong-vni': 'The node has the address in another network than its owner.',
  'wrong-mac': 'The node answers for the address with a MAC that its owner does not have.',
  undecided:
    'The node has other addresses of that place than the place has; which ones its report does not list.',
  frozen: 'A frozen address has no route until it is freed.',
  conflict: 'Two hosts use the address, and each in turn takes it from the other, until it is frozen.',
  'no-report': 'What is not reported is not compared.',
  'no-frr':
    'Without FRR or an active VNI the node has no routes, or it is not known which; it is not compared.',
  'no-vni': 'Hosts of the VNI at the node do not reach those of other nodes.',
  'not-run':
    'Between runs no neighbor is written and none is removed: new hosts have no route, old ones keep theirs.',
  problem: 'The node is not as its configuration asks.',
  'old-report': 'A report of another time, or of a clock that is wrong, cannot be compared with the others.',
  'unknown-place': 'Addresses of a node without a report are not compared with what it has.',
  mapping: 'Hosts of one VNI are in different networks from node to node.',
  suppress: 'Requests from these nodes are flooded, from the others they are not.',
  limits: 'A port at its limit learns no further address, so its hosts have no route.',
  ring: 'A dropped record only delays a change: the next run reads the host from the table.',
  behind: 'Nodes of several versions differ in what they learn.',
} as const;

export type FindingId = keyof typeof WHY;

/** `failure`: traffic goes wrong, will go wrong, or may go wrong unseen. */
export type FindingStatus = 'failure' | 'warning';

export const FINDING_IDS = Object.keys(WHY) as readonly FindingId[];

export const STATUS: Readonly<Record<FindingId, FindingStatus>> = {
  'two-owners': 'failure',
  'mac-twice': 'failure',
  ghost: 'failure',
  hole: 'failure',
  'wrong-next-hop': 'failure',
  'wrong-vni': 'failure',
  'wrong-mac': 'failure',
  undecided: 'failure',
  frozen: 'warning',
  conflict: 'warning',
  'no-report': 'failure',
  'no-frr': 'failure',
  'no-vni': 'failure',
  'not-run': 'failure',
  problem: 'failure',
  'old-report': 'warning',
  'unknown-place': 'warning',
  mapping: 'warning',
  suppress: 'warning',
  limits: 'warning',
  ring: 'warning',
  behind: 'warning',
};

/** How many nodes or addresses a sentence names. */
const MOST = 3;

interface Owner {
  readonly node: string;
  readonly mac: string;
}

interface Of {
  readonly vni: number;
  readonly ips: readonly string[];
}

interface At extends Of {
  readonly nodes: readonly string[];
}

function list(names: readonly string[]): string {
  return some(names, MOST);
}

/** `1 address`, `2 addresses` */
function countOf(number: number): string {
  return `${number} ${number === 1 ? 'address' : 'addresses'}`;
}

/** `10.1.1.1 of VNI 100`, or with more addresses `4 addresses of VNI 100 (10.1.1.1, ...)`. */
function addresses({ ips, vni }: Of): string {
  const [first = ''] = ips;
  return ips.length === 1 ? `${first} of VNI ${vni}` : `${ips.length} addresses of VNI ${vni} (${list(ips)})`;
}

function are({ length }: readonly string[]): string {
  return length === 1 ? 'is' : 'are';
}

export const FOUND = {
  'two-owners': ({
    vni,
    ip,
    owners,
  }: {
    readonly vni: number;
    readonly ip: string;
    readonly owners: readonly Owner[];
  }) =>
    `${ip} of VNI ${vni} has ${owners.length} owners: ${list(owners.map(({ node, mac }) => `${node} (${mac})`))}`,
  'mac-twice': ({ vni, mac, nodes, ips }: At & { readonly mac: string }) =>
    `MAC ${mac} of VNI ${vni} is at ${list(nodes)}, with ${list(ips)}`,
  ghostAtOwner: ({ nodes, ...of }: At) =>
    `${addresses(of)} ${are(of.ips)} advertised by ${list(nodes)}, whose kernel has no such neighbor`,
  ghost: ({ nodes, place, ...of }: At & { readonly place: string }) =>
    `${list(nodes)}: ${addresses(of)} ${are(of.ips)} at ${place}, which does not have ${of.ips.length === 1 ? 'it' : 'them'}`,
  hole: ({ nodes, owners, ...of }: At & { readonly owners: readonly string[] }) =>
    `${addresses(of)}, owned by ${list(owners)}, ${are(of.ips)} missing at ${list(nodes)}`,
  'wrong-next-hop': ({
    nodes,
    place,
    owner,
    ...of
  }: At & { readonly place: string; readonly owner: string }) =>
    `${list(nodes)}: ${addresses(of)} ${are(of.ips)} at ${place}, the owner is ${owner}`,
  'wrong-vni': ({ nodes, owner, right, ...of }: At & { readonly owner: string; readonly right: number }) =>
    `${list(nodes)}: ${addresses(of)}, and ${owner} has ${of.ips.length === 1 ? 'it' : 'them'} in VNI ${right}`,
  'wrong-mac': ({
    nodes,
    mac,
    owner,
    right,
    ...of
  }: At & { readonly mac: string; readonly owner: string; readonly right: string }) =>
    `${list(nodes)}: ${addresses(of)} with MAC ${mac}, ${owner} has it with ${right}`,
  undecided: ({
    vni,
    place,
    nodes,
    count,
    expected,
  }: {
    readonly vni: number;
    readonly place: string;
    readonly nodes: readonly string[];
    readonly count: number;
    readonly expected: number;
  }) =>
    `${list(nodes)}: ${countOf(count)} at ${place} in VNI ${vni}, which are not the ${expected} that it has`,
  frozen: ({
    ip,
    nodes,
    by,
  }: {
    readonly ip: string;
    readonly nodes: readonly string[];
    readonly by: string;
  }) => `${ip} is frozen as a duplicate by ${by} at ${list(nodes)}`,
  conflict: ({
    vni,
    ip,
    nodes,
    moves,
  }: {
    readonly vni: number;
    readonly ip: string;
    readonly nodes: readonly string[];
    readonly moves: number;
  }) => `${ip} of VNI ${vni} goes from one MAC to another and back, ${moves} times lately at ${list(nodes)}`,
  'no-report': ({ node, message }: { readonly node: string; readonly message: string }) =>
    `${node}: ${message}`,
  'no-frr': ({ node, message }: { readonly node: string; readonly message: string }) => `${node}: ${message}`,
  'no-vni': ({ vnis, nodes }: { readonly vnis: readonly string[]; readonly nodes: readonly string[] }) =>
    `${list(nodes)}: zebra lacks VNI ${list(vnis)}, or its VXLAN port or bridge is down; elsewhere it is active`,
  unbridged: ({ vnis, nodes }: { readonly vnis: readonly string[]; readonly nodes: readonly string[] }) =>
    `${list(nodes)}: zebra has VNI ${list(vnis)}, and its VXLAN port is in no bridge; elsewhere it is active`,
  'not-run': ({ node, age }: { readonly node: string; readonly age: number | null }) =>
    age === null
      ? `${node}: no run has succeeded, as far as is known`
      : `${node}: no run has succeeded for ${formatAge(age)}`,
  problem: ({ node, messages }: { readonly node: string; readonly messages: readonly string[] }) =>
    `${node}: ${messages.length === 0 ? 'its status is not ok' : some(messages, 1)}`,
  'old-report': ({ node, ahead }: { readonly node: string; readonly ahead: number }) =>
    ahead < 0
      ? `${node}: its report is ${formatAge(-ahead)} older than most, or its clock is behind`
      : `${node}: its report is ${formatAge(ahead)} newer than most, or its clock is ahead`,
  'unknown-place': ({
    place,
    count,
    nodes,
  }: {
    readonly place: string;
    readonly count: number;
    readonly nodes: readonly string[];
  }) => `${place} is the next hop for ${countOf(count)} at ${list(nodes)}, and no report is from there`,
  mapping: ({
    vni,
    nodes,
    found,
    others,
  }: {
    readonly vni: number;
    readonly nodes: readonly string[];
    readonly found: string;
    readonly others: string;
  }) => `VNI ${vni} is ${found} at ${list(nodes)}, elsewhere it is ${others}`,
  suppress: ({ vnis, nodes }: { readonly vnis: readonly string[]; readonly nodes: readonly string[] }) =>
    `neigh_suppress is off for VNI ${list(vnis)} at ${list(nodes)}, elsewhere it is on`,
  limits: ({ node, ports }: { readonly node: string; readonly ports: readonly string[] }) =>
    `${node}: at the limit of addresses, or rejecting messages for it: ${list(ports)}`,
  ring: ({ node, dropped }: { readonly node: string; readonly dropped: number }) =>
    `${node}: ${dropped} records of the ring were dropped since its maps were created`,
  behind: ({
    version,
    newest,
    nodes,
  }: {
    readonly version: string;
    readonly newest: string;
    readonly nodes: readonly string[];
  }) => `version ${version} at ${list(nodes)}, ${newest} elsewhere`,
};

/** What `no-frr` reports of a node whose zebra answers. */
export function describeLostVnis(vnis: readonly number[]): string {
  return `none of its VNIs (${list(vnis.map(String))}) is active: bgpd is not running or has no advertise-all-vni, or the VXLAN ports or bridges are down`;
}

/** How the mapping of a VNI reads. */
export function formatMapping(bridge: string, vlan: number): string {
  return vlan === 0 ? `on ${bridge}` : `VLAN ${vlan} of ${bridge}`;
}

export const LOOK = {
  explain: (ip: string) => `snoopy explain ${ip}`,
  doctor: 'snoopy doctor',
  status: 'snoopy status',
  zebra: ({ vni, ip }: { readonly vni: number; readonly ip: string }) =>
    `ip neigh show to ${ip}; vtysh -c "show evpn arp-cache vni ${vni} ip ${ip}"`,
  bgp: ({ vni, ip, mac }: { readonly vni: number; readonly ip: string; readonly mac: string }) =>
    `vtysh -c "show bgp l2vpn evpn route vni ${vni} mac ${mac} ip ${ip}"`,
  peers: 'vtysh -c "show bgp l2vpn evpn summary"',
  again: (places: readonly string[]) =>
    ['snoopy status --all --format json', ...places.slice(0, 8).map((place) => `--details ${place}`)].join(
      ' ',
    ),
  report: 'snoopy status --all --format json',
  timer: 'systemctl list-timers snoopy-reconcile.timer; journalctl -u snoopy-reconcile',
  clock: 'date; snoopy status --all --format json',
  tunnels: 'ip -d link show type vxlan',
  vni: (vni: number) => `vtysh -c "show evpn vni ${vni}"; bridge vlan tunnelshow`,
};

// The report of `explain`: a plain JSON value (contract: keys may be added, none of these may change).

import type { IpAddress, Mac } from '../../base/address.ts';
import type { RejectionReason } from '../../datapath/records/counters.ts';
import type { HintKind } from '../../datapath/records/hint-kind.ts';
import type { FrrHost } from '../frr.ts';
import type { BindingState, NeighborEntry } from '../report.ts';

/** What `explain --format json` prints. */
export interface ExplainReport {
  readonly version: 1;
  /** True when every VLAN that knows the address has it in its right state. */
  readonly ok: boolean;
  readonly ip: IpAddress;
  /** One for each VLAN of each bridge that knows the address. */
  readonly stories: readonly Story[];
  /** Where the address would be learned; empty when there are stories. */
  readonly lookouts: readonly Lookout[];
  /** What to do next; null when there are stories, whose steps have the fix. */
  readonly next: string | null;
}

/**
 * The state of the address: one of `status`, or one more. `ended`: the next run deletes its binding. `hinted`: something
 * suggests that it is here, and its host has not answered a probe yet. `refused`: it has no binding because every message
 * was rejected. `unheard`: it has a neighbor, but no local port has seen it. `proxied`: this node advertises it for another
 * node of its Ethernet segment, where its host is active.
 */
export type StoryState = BindingState | 'ended' | 'hinted' | 'proxied' | 'refused' | 'unheard';

export interface Story {
  readonly bridge: string;
  /** 0: untagged. */
  readonly vlan: number;
  readonly ok: boolean;
  readonly state: StoryState;
  /** The story in one sentence. */
  readonly verdict: string;
  /** The neighbor device; null when there is none for this VLAN. */
  readonly device: string | null;
  /** The VNI whose neighbors zebra takes from that device; null: none, or no answer from FRR. */
  readonly vni: number | null;
  readonly mac: Mac | null;
  readonly port: string | null;
  readonly heard: SeenReport | null;
  /** Seconds since the bridge last saw the MAC; null when it does not know the MAC. */
  readonly forwardedAge: number | null;
  readonly neighbor: (NeighborEntry & { readonly age: number }) | null;
  /** What FRR knows about it; null when FRR does not answer or takes no neighbors from this device. */
  readonly frr: FrrHost | null;
  /** The last message about the address that was rejected, and how many there were. */
  readonly refused: RefusedReport | null;
  /** What suggests that it is here. */
  readonly hint: HintReport | null;
  /** From the host to the route, in this order. */
  readonly steps: readonly StoryStep[];
}

/** What the program has seen. Ages are in seconds. */
export interface SeenReport {
  /** Since the first message from this MAC. */
  readonly firstAge: number;
  readonly lastAge: number;
  /** Changes of the MAC in the current window (RFC 9161, section 3.7). */
  readonly moves: number;
  /** How long it stays frozen; null when it is not frozen. */
  readonly frozenFor: number | null;
  /** The MAC and port that had it when the moves began. */
  readonly owner: { readonly mac: Mac; readonly port: string } | null;
}

export interface HintReport {
  readonly kind: HintKind;
  readonly mac: Mac;
  /** The local port with that MAC; null when it is on none. */
  readonly port: string | null;
  /** The port that its message came from; null for what another run has remembered. */
  readonly seenOn: string | null;
  readonly lastAge: number;
  /** Probes sent, and seconds since the last one. */
  readonly probes: number;
  readonly probeAge: number | null;
  /** Seconds until a run probes it; null when it is not probed as things are. */
  readonly probeIn: number | null;
}

export interface RefusedReport {
  readonly reason: RejectionReason;
  readonly because: string;
  readonly remedy: string;
  readonly count: number;
  readonly port: string;
  /** The Ethernet source of the message, and the MAC that it names; null when the program did not read that far. */
  readonly source: Mac;
  readonly claimed: Mac | null;
  /** Seconds. */
  readonly firstAge: number;
  readonly lastAge: number;
}

export type StepId = 'heard' | 'rule' | 'bridge' | 'neighbor' | 'zebra' | 'route';

/** `wrong`: the cause. `waits`: cannot be right until the cause is fixed. `unknown`: could not be checked. */
export type StepStatus = 'ok' | 'wrong' | 'waits' | 'unknown';

export interface StoryStep {
  readonly id: StepId;
  readonly status: StepStatus;
  readonly found: string;
  /** The fix; null when there is nothing to do here. */
  readonly remedy: string | null;
}

/** A VLAN of a bridge in which the address would be learned, or why it would not. */
export interface Lookout {
  readonly bridge: string;
  readonly vlan: number;
  /** Ports with the program attached. */
  readonly ports: readonly string[];
  /** Ports without it. */
  readonly deaf: readonly string[];
  /** Local ports that `ports` of the configuration leaves out. */
  readonly excluded: readonly string[];
  /** Why the address would not be learned here; null: it would. */
  readonly because: string | null;
  /** Hosts that the bridge forwards and that have no known address. */
  readonly silent: readonly { readonly mac: Mac; readonly port: string }[];
}

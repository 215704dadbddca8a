// The report of `explain`: a plain JSON value (contract: more keys may come, none of these may change).

import type { IpAddress, Mac } from '../../base/address.ts';
import type { RejectionReason } from '../../datapath/records/counters.ts';
import type { FrrHost } from '../frr.ts';
import type { BindingState, NeighborEntry } from '../report.ts';

/** What `explain --format json` prints. */
export interface ExplainReport {
  readonly version: 1;
  /** True when the address is where it should be, in every VLAN where it is known. */
  readonly ok: boolean;
  readonly ip: IpAddress;
  /** One for each VLAN of each bridge that knows the address. */
  readonly stories: readonly Story[];
  /** Where the address would be learned; empty where there are stories. */
  readonly lookouts: readonly Lookout[];
  /** What to do then; null where there are stories, whose steps say it. */
  readonly next: string | null;
}

/**
 * The state of the address: as in `status`; `ended`: the next run forgets its binding; `refused`: it has no binding
 * because every message was rejected; `unheard`: it has a neighbor, and no local port has seen it.
 */
export type StoryState = BindingState | 'ended' | 'refused' | 'unheard';

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
  /** The VNI whose neighbors zebra takes from that device; null: none, or FRR does not answer. */
  readonly vni: number | null;
  readonly mac: Mac | null;
  readonly port: string | null;
  readonly heard: HeardReport | null;
  /** Seconds since the bridge saw the MAC; null: it does not know it. */
  readonly forwardedAge: number | null;
  readonly neighbor: (NeighborEntry & { readonly age: number }) | null;
  /** What FRR knows of it; null: FRR does not answer, or takes no neighbors from this device. */
  readonly frr: FrrHost | null;
  /** The last message about the address that was rejected, and how many there were. */
  readonly refused: RefusedReport | null;
  /** From the host to the route, in this order. */
  readonly steps: readonly StoryStep[];
}

/** What the program has seen. Ages are in seconds. */
export interface HeardReport {
  /** Since the first message from this MAC. */
  readonly firstAge: number;
  readonly lastAge: number;
  /** Changes of the MAC in the current window (RFC 9161, section 3.7). */
  readonly moves: number;
  /** For how long it stays frozen; null: it is not frozen. */
  readonly frozenFor: number | null;
  /** The MAC and port that had it when the moves began. */
  readonly owner: { readonly mac: Mac; readonly port: string } | null;
}

export interface RefusedReport {
  readonly reason: RejectionReason;
  readonly because: string;
  readonly remedy: string;
  readonly count: number;
  readonly port: string;
  /** The Ethernet source of the message, and the MAC that it claims; null: the program did not read that far. */
  readonly source: Mac;
  readonly claimed: Mac | null;
  /** Seconds. */
  readonly firstAge: number;
  readonly lastAge: number;
}

export type StepId = 'heard' | 'rule' | 'bridge' | 'neighbor' | 'zebra' | 'route';

/** `wrong`: the cause; `waits`: cannot be right before the cause is fixed; `unknown`: could not be checked. */
export type StepStatus = 'ok' | 'wrong' | 'waits' | 'unknown';

export interface StoryStep {
  readonly id: StepId;
  readonly status: StepStatus;
  readonly found: string;
  /** What fixes it; null: nothing to do, or not here. */
  readonly remedy: string | null;
}

/** A VLAN of a bridge in which the address would be learned, or why it would not. */
export interface Lookout {
  readonly bridge: string;
  readonly vlan: number;
  /** Ports that have the program. */
  readonly ports: readonly string[];
  /** Ports that lack it. */
  readonly deaf: readonly string[];
  /** Why the address would not be learned here; null: it would. */
  readonly because: string | null;
  /** Hosts that the bridge forwards and of which no address is known. */
  readonly silent: readonly { readonly mac: Mac; readonly port: string }[];
}

// Things that need an operator's attention although nothing failed, as data. The words are in render/warnings.ts.

import type { IpAddress, Mac } from '../base/address.ts';
import type { Weakness } from '../base/trust.ts';

/** An address of one VLAN of a bridge. */
export interface HostAddress {
  readonly ip: IpAddress;
  readonly bridge: string;
  readonly vlan: number;
}

export type Warning =
  | {
      readonly kind: 'no-bridge';
      /** True when earlier runs have set up bridges. */
      readonly isSetUp: boolean;
    }
  /** Bridges with a tunnel port that the configuration does not name. */
  | { readonly kind: 'unnamed'; readonly bridges: readonly string[] }
  /** Programs of ours are attached, but nothing is pinned. */
  | { readonly kind: 'lost-pins' }
  /** These ports had a program of ours other than the pinned one. */
  | { readonly kind: 'other-program'; readonly ports: readonly string[]; readonly directory: string }
  /** Neighbors of an earlier run had no pinned binding. */
  | { readonly kind: 'recovered'; readonly count: number }
  | { readonly kind: 'damaged-ring' }
  /** `macs` are the MACs that claimed the address during this run. */
  | ({ readonly kind: 'duplicate'; readonly macs: readonly Mac[] } & HostAddress)
  /** Messages that limits have rejected since the last run. */
  | { readonly kind: 'limited'; readonly ports: readonly { readonly name: string; readonly count: number }[] }
  /** A port at its limit, or above a limit that was lowered. */
  | {
      readonly kind: 'full-port';
      readonly port: string;
      /** Bindings of the port. */
      readonly count: number;
      readonly limit: number;
    }
  | {
      readonly kind: 'full-table';
      readonly count: number;
      readonly max: number;
      /** The ports with the most bindings. */
      readonly ports: readonly { readonly name: string; readonly count: number }[];
    }
  /** Another MAC claimed the address of a host that answered the owner check. */
  | ({
      readonly kind: 'kept';
      readonly owner: Mac;
      readonly ownerPort: string;
      readonly claimant: Mac;
      /** Null when the port no longer exists. */
      readonly claimantPort: string | null;
    } & HostAddress)
  /** zebra could not be asked whether it has what was written. */
  | { readonly kind: 'unverified'; readonly message: string }
  /** Owners of claimed addresses could not be probed. */
  | { readonly kind: 'unprobed'; readonly count: number }
  /** An address to unfreeze is not frozen. */
  | { readonly kind: 'not-frozen'; readonly ip: IpAddress }
  /** Untrusted users may write to the configuration: a run would refuse it. */
  | { readonly kind: 'untrusted-config'; readonly path: string; readonly weakness: Weakness };

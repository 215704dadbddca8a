// The steps of a plan. The end of bindings and the ports' binding counts are not steps: see host/bindings.ts.

import { AF_INET, familyOf, formatPrefix, type IfIndex, type Prefix } from '../base/address.ts';
import type { LoadReason } from '../datapath/pins.ts';
import type { PortPolicy } from '../datapath/records/port.ts';
import type { PrefixRule } from '../datapath/records/prefix-rule.ts';
import type { StaticRule } from '../datapath/records/static-rule.ts';

/** A TCX link, or a filter of a qdisc. */
export type AttachmentKind = 'tcx' | 'filter';

/** A qdisc with filters for arriving frames: the kind that is created where a port has none. */
export type QdiscKind = 'clsact' | 'ingress';

export type Action =
  /** Mounts bpffs. */
  | { readonly kind: 'mount'; readonly path: string }
  /** Loads and pins the program, and the maps that cannot be kept. */
  | { readonly kind: 'load'; readonly reason: LoadReason }
  | { readonly kind: 'set-prefix' | 'drop-prefix'; readonly bridge: string | null; readonly rule: PrefixRule }
  | { readonly kind: 'set-static' | 'drop-static'; readonly bridge: string | null; readonly rule: StaticRule }
  | {
      readonly kind: 'set-port';
      readonly bridge: string;
      readonly port: PortRef;
      readonly policy: PortPolicy;
    }
  | {
      readonly kind: 'attach';
      readonly bridge: string;
      readonly port: PortRef;
      readonly as: AttachmentKind;
      /** Of a filter. */
      readonly qdisc: QdiscKind;
      /** True: snoopy creates the qdisc, and records that in the name of the filter. */
      readonly ownsQdisc: boolean;
      /** True: the port has no qdisc. One that is there when snoopy creates its own belongs to another program. */
      readonly createsQdisc: boolean;
    }
  | {
      readonly kind: 'detach';
      readonly bridge: string | null;
      readonly port: PortRef;
      readonly as: AttachmentKind;
      /** Delete the qdisc too, unless it has filters of another owner. */
      readonly dropQdisc: boolean;
    }
  /** Detaches a program of ours whose link is not pinned where this run looks. */
  | {
      readonly kind: 'detach';
      readonly bridge: string | null;
      readonly port: PortRef;
      readonly as: 'stray';
      readonly programId: number;
    }
  /** Deletes the policy of a port that was removed or is no longer learned from. */
  | { readonly kind: 'drop-port'; readonly bridge: string | null; readonly port: PortRef }
  /** Removes every pin and the directory. */
  | { readonly kind: 'unpin'; readonly path: string }
  /** Deletes the metrics textfile. */
  | { readonly kind: 'drop-textfile'; readonly path: string };

export interface PortRef {
  readonly ifIndex: IfIndex;
  /** `#7` for an interface that no longer exists. */
  readonly name: string;
}

/** An action in a report: its kind and the names that it is about. */
export interface ActionSummary {
  readonly kind: Action['kind'];
  readonly bridge?: string;
  readonly port?: string;
  /** How the program is attached or detached. */
  readonly as?: AttachmentKind | 'stray';
  readonly path?: string;
  readonly reason?: LoadReason;
  readonly prefix?: string;
  readonly ip?: string;
  /** A MAC that may have the static address; none in the step that makes the address static. */
  readonly mac?: string;
}

/** The part of an action that a report shows. */
export function summarize(action: Action): ActionSummary {
  switch (action.kind) {
    case 'mount':
    case 'unpin':
    case 'drop-textfile':
      return { kind: action.kind, path: action.path };
    case 'load':
      return { kind: action.kind, reason: action.reason };
    case 'set-prefix':
    case 'drop-prefix':
      return { kind: action.kind, ...named(action.bridge), prefix: describePrefix(action.rule) };
    case 'set-static':
    case 'drop-static':
      return {
        kind: action.kind,
        ...named(action.bridge),
        ip: action.rule.ip,
        ...(action.rule.mac === null ? {} : { mac: action.rule.mac }),
      };
    case 'attach':
    case 'detach':
      return { kind: action.kind, ...named(action.bridge), port: action.port.name, as: action.as };
    case 'set-port':
    case 'drop-port':
      return { kind: action.kind, ...named(action.bridge), port: action.port.name };
    default:
      return action satisfies never;
  }
}

function named(bridge: string | null): { bridge?: string } {
  return bridge === null ? {} : { bridge };
}

function describePrefix({ prefix, vlan, allow }: PrefixRule): string {
  const where = prefix === null ? 'any' : prefix.length === 0 ? otherThan(prefix) : formatPrefix(prefix);
  return `${allow ? 'allow' : 'deny'} ${where}${vlan === 0 ? '' : ` vlan ${vlan}`}`;
}

/** A prefix of length 0 is the rule for all addresses that no longer prefix covers. */
function otherThan({ ip }: Prefix): string {
  return familyOf(ip) === AF_INET ? 'other IPv4' : 'other IPv6';
}

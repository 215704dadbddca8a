// Gathering the reports of nodes, and auditing them.
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertReport } from './report.ts';
import { parseJson, type Result, tryRun } from './run.ts';
import type { Scope } from './scope.ts';
import { NODE, type Snoopy, START } from './snoopy.ts';
import { createTempDir } from './temp.ts';

/** A finding: the contract of schema/report.schema.json. */
export interface Finding {
  readonly id: string;
  readonly status: 'warning' | 'failure';
  readonly vni: number | null;
  readonly nodes: readonly string[];
  readonly addresses: readonly string[];
  readonly found: string;
  readonly look: { readonly node: string; readonly command: string };
}

export interface AuditReport {
  readonly ok: boolean;
  readonly nodes: number;
  readonly addresses: number;
  readonly findings: readonly Finding[];
  readonly moving: readonly Finding[];
  readonly again: readonly { readonly node: string; readonly details: readonly string[] }[];
  readonly changes?: {
    readonly findings: { readonly new: readonly Finding[]; readonly fixed: readonly Finding[] };
    readonly nodes: { readonly new: readonly string[]; readonly gone: readonly string[] };
    readonly addresses: {
      readonly new: number;
      readonly gone: number;
      readonly moved: readonly { readonly ip: string; readonly from: object; readonly to: object }[];
    };
  };
}

/** Reports of some nodes, in a directory. */
export class Gathering {
  readonly dir: string;
  readonly #nodes: ReadonlyMap<string, Snoopy>;

  /** The nodes by name. Each must have that name, and answer beside its FRR. */
  constructor(scope: Scope, nodes: ReadonlyMap<string, Snoopy>) {
    this.dir = createTempDir(scope, 'reports');
    this.#nodes = nodes;
  }

  /** The directory of the newest reports. */
  get now(): string {
    return join(this.dir, 'now');
  }

  /** Asks nodes anew, all of them by default; into a directory below when it is named. */
  gather(
    options: {
      readonly names?: readonly string[];
      readonly args?: readonly string[];
      readonly into?: string;
    } = {},
  ): string {
    const { names = [...this.#nodes.keys()], args = [], into = 'now' } = options;
    const dir = join(this.dir, into);
    if (options.names === undefined) rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    for (const name of names) {
      const { stdout } = this.#nodes.get(name)?.run('status', '--all', '--format', 'json', ...args) ?? {};
      writeFileSync(join(dir, `${name}.json`), stdout ?? '');
    }
    return dir;
  }

  /** Keeps the newest reports under another name, and returns their directory. */
  keep(name: string): string {
    const dir = join(this.dir, name);
    rmSync(dir, { recursive: true, force: true });
    cpSync(this.now, dir, { recursive: true });
    return dir;
  }

  /** Audits the reports of `gather`. */
  audit(...args: readonly string[]): AuditReport {
    const result = runAudit('--format', 'json', this.now, ...args);
    return parseJson<AuditReport>(result.stdout, 'audit');
  }
}

/** Runs the audit without any privilege, whatever its result. */
export function runAudit(...args: readonly string[]): Result {
  const drop = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
  const result = tryRun([...drop, ...NODE, START, 'audit', ...args]);
  assertReport(result);
  return result;
}

/** A finding in one line: check, VNI, addresses and nodes. */
export function summarize({ id, vni, addresses, nodes }: Finding): string {
  return [id, vni ?? '-', addresses.join(',') || '-', nodes.join(',')].join(' ');
}

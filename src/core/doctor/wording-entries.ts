// The words of the checks of the configuration's entries.

import { some } from '../../base/text.ts';
import { entryLine } from '../entries.ts';

interface Names {
  readonly names: readonly string[];
}

export const UNNAMED = {
  ok: () => 'the configuration names every bridge with a tunnel port',
  some: ({ names }: Names) => ({
    found: `not in the configuration, with a tunnel port: ${some(names)}`,
    remedy: addEntries(names),
  }),
};

/** How to serve more bridges. Several entries are quoted, because the commas between them are no YAML. */
export function addEntries(names: readonly string[]): string {
  const lines = names.map(entryLine);
  return lines.length === 1
    ? `add under "bridges": ${lines[0]}`
    : `add under "bridges", each on a line of its own: ${some(lines.map((line) => `'${line}'`))}`;
}

export const GLOB = {
  ok: ({ names }: Names) => some(names),
  idle: () => 'serves no bridge now',
  /** No bridge at all is served. */
  nothing: () => ({
    found: 'no bridge with a tunnel port matches',
    remedy: 'add the VXLAN device to a bridge of such a name: ip link set vxlan100 master BRIDGE',
  }),
};

export const CONFIGURATION = {
  missing: ({ path }: { readonly path: string }) => ({
    found: `none at ${path}`,
    remedy: 'snoopy init --write creates one; then: snoopy validate; snoopy reconcile --check --diff',
  }),
};

export const NODE = {
  ok: ({ node }: { readonly node: string }) => `Node.js ${node}`,
};

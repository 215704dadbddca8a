// The desired state -> a configuration with every default written out, as YAML.

import { COLLECTION_STYLE, type DumpOptions, dump, type Node, visit } from 'js-yaml';
import { writtenOut } from '../config/desired.ts';
import type { RawWholeConfig } from '../config/raw.ts';
import type { Desired } from '../core/desired.ts';
import type { Document } from './json.ts';
import { count, joinLines, paint, printable, type RenderOptions } from './style.ts';

/** The settings of each bridge. The text is itself a configuration, and means the same. */
export function renderValidate(
  file: string,
  desired: Desired,
  options: Pick<RenderOptions, 'color'>,
): string {
  const head = `# ${printable(file)}: valid, ${count(desired.bridges.length, 'bridge')}`;
  return joinLines([paint(head, 'good', options.color), dump(writtenOut(desired), STYLE).trimEnd()]);
}

type ValidateReport = Document & RawWholeConfig & { readonly ok: true; readonly file: string };

/** The same as a JSON report. */
export function validateReport(file: string, desired: Desired): ValidateReport {
  const { version, ...rest } = writtenOut(desired);
  return { version, ok: true, file, ...rest, errors: [] };
}

const STYLE: DumpOptions = {
  noRefs: true,
  lineWidth: -1,
  quoteStyle: 'double',
  transform: (documents) =>
    visit(documents, (node, { depth }) => {
      if (node.kind !== 'mapping' && node.kind !== 'sequence') return;
      if (depth >= SETTING_DEPTH && !isListOfMappings(node)) node.style = COLLECTION_STYLE.FLOW;
    }),
};

/** Depth of the settings of a bridge: each takes one line. */
const SETTING_DEPTH = 3;

/** True for the static entries: each takes a line of its own. */
function isListOfMappings(node: Node): boolean {
  return node.kind === 'sequence' && node.items.some(({ kind }) => kind === 'mapping');
}

// A configuration -> the same with every default written out, as YAML.

import { COLLECTION_STYLE, type DumpOptions, dump, type Node, visit } from 'js-yaml';
import { writtenOut } from '../config/desired.ts';
import type { RawWholeConfig } from '../config/raw.ts';
import type { Configuration } from '../core/desired.ts';
import type { Document } from './json.ts';
import { count, joinLines, paint, printable, type RenderOptions } from './style.ts';

/** The settings of each bridge. The text is itself a configuration, and means the same. */
export function renderValidate(
  file: string,
  configuration: Configuration,
  options: Pick<RenderOptions, 'color'>,
): string {
  const globs = globsOf(configuration);
  const bridges = configuration.entries.length - globs.length;
  const counts = [
    ...(bridges > 0 || globs.length === 0 ? [count(bridges, 'bridge')] : []),
    ...(globs.length > 0 ? [count(globs.length, 'glob')] : []),
  ];
  const head = `# ${printable(file)}: valid, ${counts.join(' and ')}`;
  const note = `# Each glob stands for the bridges with a tunnel port that match it: ${globs.map((glob) => `"${glob}"`).join(', ')}`;
  return joinLines([
    paint(head, 'good', options.color),
    ...(globs.length === 0 ? [] : [note]),
    dump(writtenOut(configuration), STYLE).trimEnd(),
  ]);
}

type ValidateReport = Document &
  RawWholeConfig & {
    readonly ok: true;
    readonly file: string;
    /** Which of the names are globs. */
    readonly globs: readonly string[];
  };

/** The same as a JSON report. */
export function validateReport(file: string, configuration: Configuration): ValidateReport {
  const { version, ...rest } = writtenOut(configuration);
  return { version, ok: true, file, globs: globsOf(configuration), ...rest, errors: [] };
}

function globsOf({ entries }: Configuration): string[] {
  return entries.filter(({ isGlob }) => isGlob).map(({ name }) => name);
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

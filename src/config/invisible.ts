// Characters that an editor does not show, or shows as a space: pasted from a web page or a chat, they make a key unknown or a
// name that no bridge has.

import { type Finding, MAX_FINDINGS } from './problem.ts';

/** What looks like a space or like nothing, besides the space itself: spaces, separators, format characters, fillers. */
const INVISIBLE = /(?! )[\p{Zs}\p{Zl}\p{Zp}\p{Cf}\u3164\uffa0]/gu;

/** A comment, to the end of its line: what it contains does not matter. */
const COMMENT = /(?:^|[ \t])#.*$/;

/** The first invisible character of each line. */
export function invisibleFindings(text: string): Finding[] {
  const findings: Finding[] = [];
  let start = 0;
  for (const line of text.split('\n')) {
    const match = line.replace(COMMENT, '').matchAll(INVISIBLE).next().value;
    if (match !== undefined && findings.length < MAX_FINDINGS) {
      const code = (match[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
      const wrong = `has the invisible character U+${code}`;
      findings.push({ path: [], at: start + match.index, wrong, allowed: 'a plain space, or nothing' });
    }
    start += line.length + 1;
  }
  return findings;
}

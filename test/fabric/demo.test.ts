// The demo proves its claims, and its picture in README.md shows its current output.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { shownLines } from '../demo/picture.ts';
import { run, tryRun } from '../lib/run.ts';
import { outputOf } from '../lib/snoopy.ts';

const DEMO = fileURLToPath(new URL('../demo/demo.js', import.meta.url));
const PICTURE = fileURLToPath(new URL('../../../docs/images/demo.svg', import.meta.url));

/** Prints each line of text of an SVG, from the top to the bottom; fails where it is not well-formed. */
const LINES_OF_SVG = `
import sys, xml.dom.minidom
rows = {}
for text in xml.dom.minidom.parse(sys.argv[1]).getElementsByTagName("text"):
    rows.setdefault(float(text.getAttribute("y")), []).append((float(text.getAttribute("x")), text.firstChild.data))
for y in sorted(rows):
    print(" ".join(data for _, data in sorted(rows[y])))
`;

/** Neighbors have no order, the kernel decides how often it repeats a request, and FRR 10 has fewer spaces. */
function comparable(lines: readonly string[]): string[] {
  return lines
    .map((line) => line.trim().replaceAll(/\s+/g, ' ').replace('*>i [', '*>i['))
    .map((line) => line.replace(/^(ARP requests through the tunnel) .*/, '$1'))
    .sort();
}

test('the demo succeeds, and its picture shows the lines that it prints', () => {
  const result = tryRun([process.execPath, DEMO], { timeoutMs: 300_000 });
  assert.equal(result.code, 0, outputOf(result));
  const [command, ...drawn] = run(['python3', '-c', LINES_OF_SVG, PICTURE]).trimEnd().split('\n');
  assert.equal(command, '$ npm run demo');
  const printed = shownLines(result.stdout);
  assert.ok(printed.length > 30, 'the demo has output');
  assert.deepEqual(comparable(drawn), comparable(printed), 'npm run demo:record draws it again');
});

// `npm run demo:record`: runs the demo in a terminal of its own and draws its output: docs/images/demo.svg.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../lib/run.ts';
import { picture } from './picture.ts';

const DEMO = fileURLToPath(new URL('demo.js', import.meta.url));
const PICTURE = fileURLToPath(new URL('../../../docs/images/demo.svg', import.meta.url));

// script(1) of util-linux: a pseudo terminal, so that the demo prints in colour.
const script = ['script', '--quiet', '--return', '--command', `'${process.execPath}' '${DEMO}'`, '/dev/null'];
const output = run(script, { timeoutMs: 300_000 });
mkdirSync(dirname(PICTURE), { recursive: true });
writeFileSync(PICTURE, picture(output));
console.log(`Drawn: ${PICTURE}`);

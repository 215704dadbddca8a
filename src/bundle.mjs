// Bundles dist/src/main.js into dist/snoopy.cjs, the one file that is installed; koffi stays outside.
import { chmodSync } from 'node:fs';
import { build } from 'esbuild';

const outfile = 'dist/snoopy.cjs';

await build({
  entryPoints: ['dist/src/main.js'],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  external: ['koffi'],
  banner: { js: '#!/usr/bin/env node' },
  // createRequire takes a path as well as a URL; in CommonJS there is no import.meta.
  define: { 'import.meta.url': '__filename' },
  legalComments: 'none',
  logLevel: 'warning',
});
chmodSync(outfile, 0o755);

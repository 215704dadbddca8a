// Bundles dist/src/main.js into dist/snoopy.cjs, the one file that is installed; koffi stays outside.
import { chmodSync } from 'node:fs';
import { build } from 'esbuild';

const outfile = 'dist/snoopy.cjs';

/**
 * node:child_process brings half of Node's streams with it. commander imports it for what nothing here uses,
 * doctor to ask FRR; so it is loaded by whoever calls one of its functions, and not with every command.
 */
const lazyChildProcess = {
  name: 'lazy-child-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ path, namespace }) =>
      namespace === 'lazy' ? { path, external: true } : { path, namespace: 'lazy' },
    );
    onLoad({ filter: /.*/, namespace: 'lazy' }, ({ path }) => ({
      contents: `for (const name of ['spawn', 'spawnSync'])
        Object.defineProperty(exports, name, { enumerable: true, get: () => require('${path}')[name] });`,
    }));
  },
};

await build({
  entryPoints: ['dist/src/main.js'],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  external: ['koffi'],
  plugins: [lazyChildProcess],
  banner: { js: '#!/usr/bin/env node' },
  // createRequire takes a path as well as a URL; in CommonJS there is no import.meta.
  define: { 'import.meta.url': '__filename' },
  legalComments: 'none',
  logLevel: 'warning',
});
chmodSync(outfile, 0o755);

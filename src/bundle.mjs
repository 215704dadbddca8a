// Bundles dist/src/main.js into dist/snoopy.cjs, the program; koffi stays outside. Beside it what starts it sooner.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync } from 'node:fs';
import { build } from 'esbuild';

const outfile = 'dist/snoopy.cjs';

/**
 * node:child_process loads half of Node's streams. commander imports it for features that are not used here, and doctor
 * to query FRR; so it is loaded at the first call of one of its functions, and not with every command.
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

/** node:module brings Node's loader of ES modules with it. In the bundle there is one `require`, which is at hand. */
const ownRequire = {
  name: 'own-require',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:module$/ }, ({ path }) => ({ path, namespace: 'own' }));
    onLoad({ filter: /.*/, namespace: 'own' }, () => ({
      contents: 'exports.createRequire = () => require;',
    }));
  },
};

await build({
  entryPoints: ['dist/src/main.js'],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node18.19',
  format: 'cjs',
  external: ['koffi'],
  plugins: [lazyChildProcess, ownRequire],
  // A function of its own: start.cjs runs it as a script, whose variables would be global.
  banner: { js: '#!/usr/bin/env node\n(() => {' },
  footer: { js: '})();' },
  // createRequire takes a path as well as a URL; in CommonJS there is no import.meta.
  define: { 'import.meta.url': '__filename' },
  legalComments: 'none',
  logLevel: 'warning',
});
chmodSync(outfile, 0o755);
for (const name of ['start.cjs', 'precompile.cjs']) copyFileSync(`src/${name}`, `dist/${name}`);
chmodSync('dist/start.cjs', 0o755);
const { status } = spawnSync(process.execPath, ['dist/precompile.cjs'], { stdio: 'inherit' });
process.exitCode = status ?? 1;

// Runs tests in guests with Debian's kernels: node dist/test/guest/main.js [KERNEL...] [PART OF A PATH...]
import { fileURLToPath } from 'node:url';
import { runInGuest } from './guest.ts';
import { fetchKernel, KERNELS } from './kernel.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));

const args = process.argv.slice(2);
const kernels = args.filter((arg) => KERNELS.includes(arg));
const filters = args.filter((arg) => !KERNELS.includes(arg));
for (const name of kernels.length === 0 ? KERNELS : kernels) {
  const kernel = fetchKernel(name);
  console.log(`guest: Linux ${name}, tests ${filters.join(' ')}`);
  const status = await runInGuest(kernel, {
    script: filters.join(' '),
    timeoutMs: 1_200_000,
    onOutput: (text) => process.stdout.write(text),
  });
  console.log(`guest: exit ${status}`);
}

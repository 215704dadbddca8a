// A machine with another kernel: qemu without KVM, the host's files read-only, one script, and its exit status.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { killAndWait } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';
import type { Kernel } from './kernel.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));

export interface GuestOptions {
  /** A shell script. It runs as root in the kernel's root directory; nothing that it writes stays. */
  readonly script: string;
  readonly timeoutMs: number;
  /** Receives the output of the script, both streams, as it comes. */
  readonly onOutput: (text: string) => void;
}

/** Processors without mitigations that make every access to memory slower in emulation, and that no test needs. */
const MACHINES = {
  x86_64: {
    options: ['-machine', 'q35', '-cpu', 'max,la57=off,smap=off,smep=off,pku=off'],
    // On a busy machine the emulated timer is too late for the kernel's check of it; then it did not boot.
    kernelArguments: ['console=ttyS0', 'tsc=reliable', 'no_timer_check'],
  },
  aarch64: {
    // Has pages of 16 KiB. With `max`, of which this qemu knows the newest extensions, Node.js ended with SIGILL.
    options: ['-machine', 'virt', '-cpu', 'neoverse-n1'],
    kernelArguments: ['console=ttyAMA0'],
  },
} as const;
const KERNEL_ARGUMENTS = ['quiet', 'panic=-1', 'mitigations=off', 'audit=0'];
/** How long a guest may take to print something. One that does not boot is not waited for as long as its tests take. */
const BOOT_MS = 10 * 60_000;

/** Boots the kernel, runs the script and returns its exit status. The guest is gone afterwards, however it ended. */
export async function runInGuest(kernel: Kernel, options: GuestOptions): Promise<number> {
  const scope = new Scope();
  try {
    const dir = createTempDir(scope, 'guest');
    const job = join(dir, 'job');
    mkdirSync(job);
    writeFileSync(join(job, 'job.sh'), options.script);
    const consoleFile = join(dir, 'console');
    const statusFile = join(dir, 'status');
    // Standard input stays open: at its end qemu would treat the port of the output as closed.
    const argv = [
      `qemu-system-${kernel.machine}`,
      ...qemuArguments(kernel, { job, consoleFile, statusFile }),
    ];
    // setpriv: if this process is killed, qemu is killed as well.
    const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
      stdio: 'pipe',
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
    });
    const { pid } = qemu;
    if (pid === undefined) throw new Error('Cannot start setpriv, which starts qemu');
    scope.defer(() => killAndWait([pid]));
    let complaints = '';
    const booting = setTimeout(() => qemu.kill('SIGKILL'), BOOT_MS);
    qemu.stdout.setEncoding('utf8').on('data', (text: string) => {
      clearTimeout(booting);
      options.onOutput(text);
    });
    qemu.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    const signal = await new Promise<string | null>((resolve) =>
      qemu.on('close', (_, name) => resolve(name)),
    );
    clearTimeout(booting);
    const status = Number.parseInt(readFileSync(statusFile, 'utf8'), 10);
    if (Number.isNaN(status)) {
      const why = signal === 'SIGKILL' ? 'did not boot, or was not done, in time' : 'ended too early';
      throw new Error(`The guest ${why}: ${complaints}${readFileSync(consoleFile, 'utf8').slice(-4_000)}`);
    }
    return status;
  } finally {
    scope.close();
  }
}

interface Files {
  readonly job: string;
  readonly consoleFile: string;
  readonly statusFile: string;
}

function qemuArguments(kernel: Kernel, { job, consoleFile, statusFile }: Files): string[] {
  const share = (tag: string, path: string): string[] => {
    const options = 'security_model=none,readonly=on,multidevs=remap';
    return ['-virtfs', `local,path=${path},mount_tag=${tag},${options}`];
  };
  // The script's output is qemu's own. Its exit status comes through a separate port, into a file.
  const port = (id: string, target: string): string[] => [
    ...['-chardev', `${target},id=${id}`],
    ...['-device', `virtserialport,chardev=${id},name=${id}`],
  ];
  const { options, kernelArguments } = MACHINES[kernel.machine];
  return [
    ...[...options, '-accel', 'tcg,thread=multi', '-smp', '2', '-m', '1536'],
    ...['-nodefaults', '-no-reboot', '-display', 'none', '-serial', `file:${consoleFile}`],
    ...['-kernel', kernel.image, '-initrd', kernel.initramfs, '-append'],
    [...kernelArguments, ...KERNEL_ARGUMENTS].join(' '),
    ...share('host', kernel.root),
    ...(kernel.root === '/' ? [] : share('project', PROJECT)),
    ...share('job', job),
    ...share('modules', kernel.modules),
    ...['-device', 'virtio-serial-pci'],
    ...port('output', 'stdio,signal=off'),
    ...port('status', `file,path=${statusFile}`),
  ];
}

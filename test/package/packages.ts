// Packages built from this tree, and a container to install them in, with a bridge and hosts that send on request.
import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Host } from '../kernel/machine.ts';
import { type BootOptions, Container } from '../lib/container.ts';
import { Netns } from '../lib/netns.ts';
import { attachedPrograms, findNeighbor, listOwnNeighbors, type NeighborLine } from '../lib/oracles.ts';
import { run } from '../lib/run.ts';
import { Scope } from '../lib/scope.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface Packages {
  readonly tarball: string;
  readonly amd64: string;
  readonly arm64: string;
  readonly x86_64: string;
  readonly aarch64: string;
  /** The .deb and the RPM for this machine. */
  readonly deb: string;
  readonly rpm: string;
}

export interface BuildOptions {
  /** Kinds for this machine, such as `deb`; all packages by default. */
  readonly only?: readonly ('npm' | 'deb' | 'rpm')[];
}

/** The names of this machine's packages in packaging/build.ts. */
const HERE =
  process.arch === 'arm64'
    ? { npm: 'npm', deb: 'arm64', rpm: 'aarch64' }
    : { npm: 'npm', deb: 'amd64', rpm: 'x86_64' };

/** Builds packages of a version in a directory that is deleted with the scope. */
export function buildPackages(scope: Scope, version: string, { only = [] }: BuildOptions = {}): Packages {
  const dir = createTempDir(scope, 'packages');
  const builder = join(ROOT, 'dist/packaging/build.js');
  const names = only.map((kind) => HERE[kind]);
  run([process.execPath, builder, version, dir, ...names], { timeoutMs: 120_000 });
  const deb = (architecture: string): string => join(dir, `snoopy-evpn_${version}_${architecture}.deb`);
  const rpm = (architecture: string): string => join(dir, `snoopy-evpn-${version}-1.el9.${architecture}.rpm`);
  return {
    tarball: join(dir, `snoopy-evpn-${version}.tgz`),
    amd64: deb('amd64'),
    arm64: deb('arm64'),
    x86_64: rpm('x86_64'),
    aarch64: rpm('aarch64'),
    deb: deb(HERE.deb),
    rpm: rpm(HERE.rpm),
  };
}

export const CONFIG = '/etc/snoopy/snoopy.yaml';
export const SERVICE = 'snoopy-reconcile.service';
export const TIMER = 'snoopy-reconcile.timer';

/** A machine with systemd, and br0 on it. */
export class PackageMachine {
  readonly scope: Scope;
  readonly container: Container;
  readonly netns: Netns;
  /** The namespace of the hosts' ends of the ports. */
  readonly far: Netns;

  private constructor(scope: Scope, container: Container) {
    this.scope = scope;
    this.container = container;
    this.netns = container.netns;
    this.far = new Netns(scope, 'hosts');
    this.netns.ipBatch([
      'link add br0 address 02:ff:00:00:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
      'link set br0 addrgenmode none',
      'link set br0 up',
    ]);
  }

  /** Ends with the test. */
  static async boot(t: Pick<TestContext, 'after'>, options: BootOptions = {}): Promise<PackageMachine> {
    const scope = new Scope();
    t.after(() => scope.close());
    return new PackageMachine(scope, await Container.boot(scope, 'node', options));
  }

  run(...argv: string[]): string {
    return this.container.run(...argv);
  }

  /** Copies a file to /root inside, and returns its path there. */
  copyIn(file: string): string {
    const inside = `/root/${basename(file)}`;
    copyFileSync(file, this.container.path(inside));
    return inside;
  }

  write(inside: string, text: string): void {
    writeFileSync(this.container.path(inside), text);
  }

  configure(text = 'bridges: [{name: br0}]'): void {
    this.write(CONFIG, `version: 1\n${text}\n`);
  }

  /** The state of the machine: files with type, mode and size, units, network, pins. */
  inventory(): readonly string[] {
    // dpkg and rpm have records of their own, groupadd keeps the state before; systemd writes the rest as time goes by.
    const ignored =
      '^/(root|etc/g(roup|shadow)- |var/lib/dpkg|var/log|var/cache|var/lib/systemd/(timesync|random-seed|credential))';
    const files = this.run('find', '/', '-xdev', '-printf', '%p %y %m %s %l\\n')
      .split('\n')
      // A directory keeps the size of its largest content.
      .map((line) => line.replace(/ d (\d+) \d+ $/, ' d $1'))
      .filter((line) => !new RegExp(ignored).test(line));
    const network = [
      ['ip', 'address'],
      ['ip', 'neighbor', 'show', 'nud', 'all'],
      ['tc', 'qdisc'],
      ['bridge', 'fdb', 'show', 'br', 'br0'],
    ].map((argv) => this.run(...argv).replaceAll(/ (used \S+|valid_lft \S+)/g, ''));
    const units = this.run('systemctl', 'list-units', '--all', '--plain', '--no-legend', 'snoopy*');
    const pins = readdirSync(this.container.path('/sys/fs/bpf')).join();
    return [...files.sort(), ...network, `units: ${units}`, `pins: ${pins}`];
  }

  /** What differs from an earlier inventory: lines that are gone, and lines that are new. */
  differences(before: readonly string[]): readonly string[] {
    const now = this.inventory();
    const without = (lines: readonly string[], others: readonly string[]): string[] => {
      const known = new Set(others);
      return lines.filter((line) => !known.has(line));
    };
    return [
      ...without(before, now).map((line) => `- ${line}`),
      ...without(now, before).map((line) => `+ ${line}`),
    ];
  }

  /** Runs dpkg, and returns all of its output. */
  dpkg(...argv: string[]): string {
    return this.#printed('dpkg', ...argv);
  }

  /** Installs a .deb as an operator does, and returns all output. Without a network: the release has all that it needs. */
  apt(deb: string): string {
    return this.#printed('apt-get', 'install', '--yes', this.copyIn(deb));
  }

  /** Runs rpm, and returns all of its output but what Debian's says of its use. */
  rpm(...argv: string[]): string {
    return this.#printed('rpm', '--force-debian', ...argv);
  }

  #printed(...argv: string[]): string {
    const { code, stdout, stderr } = this.container.tryRun(argv);
    if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}: ${stdout}${stderr}`);
    return stdout + stderr;
  }

  /** A port with a host behind it, which has sent nothing yet. */
  addHost(id: number, bridge = 'br0'): Host {
    return new Host(this.netns, this.far, id, bridge);
  }

  neighbors(): NeighborLine[] {
    return listOwnNeighbors(this.netns, 'br0');
  }

  /** Waits for the neighbor of a host. */
  async advertised(host: Host, timeoutMs = 20_000): Promise<void> {
    await until(
      `a neighbor for ${host.ip}`,
      () => findNeighbor(this.netns, 'br0', host.ip),
      (line) => line?.lladdr === host.mac,
      { timeoutMs },
    );
  }

  /** One run that attaches to a host's port, and one that has seen the host. */
  async runsFor(host: Host): Promise<void> {
    this.run('systemctl', 'start', SERVICE);
    await host.announceAndWait();
    this.run('systemctl', 'start', SERVICE);
    await this.advertised(host);
  }

  /** Waits until the program is attached to a host's port. */
  async attached(host: Host, timeoutMs = 20_000): Promise<void> {
    await until(
      `the program on ${host.port}`,
      () => this.programOn(host),
      (id) => id !== undefined,
      { timeoutMs },
    );
  }

  /** ID of the program on a host's port. */
  programOn(host: Host): number | undefined {
    return attachedPrograms(this.netns, host.port)[0];
  }

  /** A property of a unit. */
  property(unit: string, name: string): string {
    return this.run('systemctl', 'show', '--value', '--property', name, unit).trim();
  }
}

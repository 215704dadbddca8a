// Hosts that send while a run goes on: a moment without an attached program loses some of their frames.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Netns } from '../lib/netns.ts';
import { parseJson } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';

const SCRIPT = fileURLToPath(new URL('../../../test/safety/sender.py', import.meta.url));

export interface Device {
  readonly device: string;
  readonly mac: string;
}

/** What the sender has sent since it was made. */
export interface Sent {
  readonly frames: number;
  /** The number of addresses announced. */
  readonly addresses: number;
}

export class Sender {
  readonly #devices: readonly Device[];
  readonly #net: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: Interface;

  /** Silent until `go()`. `net`: the first two octets of the addresses. */
  constructor(scope: Scope, netns: Netns, net: string, devices: readonly Device[]) {
    this.#devices = devices;
    this.#net = net;
    const specs = devices.map(({ device, mac }) => `${device}=${mac}`);
    const [file = '', ...rest] = netns.argv(['/usr/bin/python3', SCRIPT, net, ...specs]);
    this.#child = spawn(file, rest, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    this.#answers = createInterface(this.#child.stdout);
    scope.defer(() => this.#child.kill('SIGKILL'));
  }

  go(): void {
    this.#child.stdin.write('go\n');
  }

  /** Stops it, and returns the totals. An attached program has seen all of it by then. */
  pause(): Promise<Sent> {
    return this.#request('pause');
  }

  /** Each device announces one more address. */
  fresh(): Promise<Sent> {
    return this.#request('fresh');
  }

  #request(command: string): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('the sender has ended'));
      this.#child.once('exit', ended);
      this.#answers.once('line', (line) => {
        this.#child.off('exit', ended);
        const { sent, fresh } = parseJson<{ sent: number; fresh: number }>(line, 'sender.py');
        resolve({ frames: sent, addresses: fresh });
      });
      this.#child.stdin.write(`${command}\n`);
    });
  }

  /** `ip mac` for the addresses from number `first` (from 0 on) up to, but not including, number `end`. */
  hosts(first: number, end: number): string[] {
    return Array.from({ length: end - first }, (_, i) => {
      const number = first + i;
      const mac = this.#devices[number % this.#devices.length]?.mac ?? '';
      return `${this.#net}.${(number + 1) >> 8}.${(number + 1) & 255} ${mac}`;
    });
  }
}

// Hosts that speak while a run goes on: whoever is not listened to for an instant does not hear all of it.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Netns } from '../lib/netns.ts';
import { parseJson } from '../lib/run.ts';
import type { Scope } from '../lib/scope.ts';

const SCRIPT = fileURLToPath(new URL('../../../test/safety/chatter.py', import.meta.url));

export interface Speaker {
  readonly device: string;
  readonly mac: string;
}

/** What was said since the chatter was made. */
export interface Said {
  readonly frames: number;
  /** How many addresses were spoken of. */
  readonly addresses: number;
}

export class Chatter {
  readonly #speakers: readonly Speaker[];
  readonly #net: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: Interface;

  /** Silent until `go()`. `net`: the first two octets of the addresses. */
  constructor(scope: Scope, netns: Netns, net: string, speakers: readonly Speaker[]) {
    this.#speakers = speakers;
    this.#net = net;
    const devices = speakers.map(({ device, mac }) => `${device}=${mac}`);
    const [file = '', ...rest] = netns.argv(['/usr/bin/python3', SCRIPT, net, ...devices]);
    this.#child = spawn(file, rest, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    this.#answers = createInterface(this.#child.stdout);
    scope.defer(() => this.#child.kill('SIGKILL'));
  }

  go(): void {
    this.#child.stdin.write('go\n');
  }

  /** Ends it, and says what was said. Whoever listens has heard all of it by then. */
  pause(): Promise<Said> {
    return this.#ask('pause');
  }

  /** Each device speaks of one more address. */
  fresh(): Promise<Said> {
    return this.#ask('fresh');
  }

  #ask(word: string): Promise<Said> {
    return new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('the chatter has ended'));
      this.#child.once('exit', ended);
      this.#answers.once('line', (line) => {
        this.#child.off('exit', ended);
        const { said, fresh } = parseJson<{ said: number; fresh: number }>(line, 'chatter.py');
        resolve({ frames: said, addresses: fresh });
      });
      this.#child.stdin.write(`${word}\n`);
    });
  }

  /** `ip mac`, for the addresses from number `first` (from 0 on) up to, but not including, number `end`. */
  hosts(first: number, end: number): string[] {
    return Array.from({ length: end - first }, (_, i) => {
      const number = first + i;
      const mac = this.#speakers[number % this.#speakers.length]?.mac ?? '';
      return `${this.#net}.${(number + 1) >> 8}.${(number + 1) & 255} ${mac}`;
    });
  }
}

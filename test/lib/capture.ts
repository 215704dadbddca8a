// Frames on a device, counted by tcpdump.
import type { Netns } from './netns.ts';
import type { Background } from './run.ts';
import { until } from './wait.ts';

/** Lines of a running tcpdump; each has the Ethernet header (-e). */
export class Capture {
  readonly #tcpdump: Background;

  private constructor(tcpdump: Background) {
    this.#tcpdump = tcpdump;
  }

  /** Starts to capture the frames of a device in both directions; returns once the kernel does. */
  static async start(netns: Netns, device: string, filter: string): Promise<Capture> {
    const options = ['-n', '-e', '-t', '-l', '--immediate-mode', '-Z', 'root'];
    const tcpdump = netns.start('tcpdump', '-i', device, ...options, filter);
    await tcpdump.printed(/listening on/);
    return new Capture(tcpdump);
  }

  get lines(): string[] {
    // Lines of another form are the hex dump of a frame that tcpdump cannot read.
    return this.#tcpdump.stdout.split('\n').filter((line) => /^[0-9a-f]{2}:/.test(line));
  }

  count(pattern: RegExp): number {
    return this.lines.filter((line) => pattern.test(line)).length;
  }

  /** Waits until `count` lines match. */
  async saw(pattern: RegExp, count = 1): Promise<void> {
    await until(
      `${count} captured frames with ${pattern}`,
      () => this.lines,
      (lines) => lines.filter((line) => pattern.test(line)).length >= count,
    );
  }

  async stop(): Promise<void> {
    await this.#tcpdump.stop();
  }
}

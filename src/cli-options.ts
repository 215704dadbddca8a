// Options that several commands share, and the parsers of option values. Pure.

import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  addressLength,
  familyOf,
  type IpAddress,
  type Mac,
  type Prefix,
  parseIp,
  parseMac,
  parsePrefix,
} from './base/address.ts';
import { parseDuration } from './base/units.ts';

// New options for each program: commander keeps state in them.

export function formatOption(): Option {
  return new Option('--format <format>', 'format of the report').choices(['text', 'json']).default('text');
}

export function lockTimeoutOption(): Option {
  return new Option('--lock-timeout <duration>', 'how long to wait for another run to end')
    .argParser(parseDurationOption)
    .default(10_000, '10s');
}

/**
 * `-qv` as `-q -v`. The program takes its own options out of the words before the command sees the rest, and takes none from a
 * group that begins with an option of the command. Values of options, and words after `--`, stay as they are.
 */
export function splitGroups(argv: readonly string[], program: Command): string[] {
  const options = [program, ...program.commands].flatMap((command) => command.options);
  // commander does not list the option for help.
  const flags = ['-h', ...options.filter((option) => !option.required).flatMap(({ short }) => short ?? [])];
  const end = argv.includes('--') ? argv.indexOf('--') : argv.length;
  return argv.flatMap((word, at) => {
    const before = argv[at - 1];
    const isValue = options.some(
      ({ required, short, long }) => required && (short === before || long === before),
    );
    return isValue || at > end ? [word] : splitGroup(word, flags);
  });
}

function splitGroup(word: string, flags: readonly string[]): string[] {
  const first = word.slice(0, 2);
  return word.length > 2 && flags.includes(first)
    ? [first, ...splitGroup(`-${word.slice(2)}`, flags)]
    : [word];
}

/** A duration in milliseconds. Like the other parsers it throws InvalidArgumentError, which commander reports. */
export function parseDurationOption(text: string): number {
  // 0 needs no unit.
  const ms = text === '0' ? 0 : parseDuration(text);
  if (ms === undefined)
    throw new InvalidArgumentError('Allowed is a duration such as 500ms, 90s, 20m or 2h, or 0.');
  return ms;
}

export function parseIpOption(text: string): IpAddress {
  const ip = parseIp(text);
  if (ip === undefined) throw new InvalidArgumentError('Allowed is an IPv4 or IPv6 address.');
  return ip;
}

/** A prefix; an address counts as a prefix of full length. */
export function parsePrefixOption(text: string): Prefix {
  const ip = parseIp(text);
  const prefix = ip === undefined ? parsePrefix(text) : { ip, length: addressLength(familyOf(ip)) * 8 };
  if (prefix === undefined) throw new InvalidArgumentError('Allowed is an IP address or a prefix.');
  return prefix;
}

export function parseMacOption(text: string): Mac {
  const mac = parseMac(text);
  if (mac === undefined) throw new InvalidArgumentError('Allowed is a MAC such as 02:00:00:00:01:01.');
  return mac;
}

/** A path: an empty value is that of a variable that is not set. */
export function parsePathOption(text: string): string {
  if (text === '') throw new InvalidArgumentError('The path is empty.');
  return text;
}

export function asIs(text: string): string {
  return text;
}

/** A repeatable option: its value is a list, empty by default. */
export function repeated<T>(flags: string, what: string, none: string, parse: (text: string) => T): Option {
  return new Option(flags, `${what}; may be repeated`)
    .argParser((text: string, before: readonly T[]) => [...before, parse(text)])
    .default([], none);
}

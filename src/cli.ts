// The command line -> an Invocation. Pure: nothing is printed, nothing is run, nothing exits.

import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
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
import { SnoopyError } from './base/errors.ts';
import { parseDuration } from './base/units.ts';
import type { HostFilter } from './core/filter.ts';

export const DEFAULT_CONFIG = '/etc/snoopy/snoopy.yaml';

export type Format = 'text' | 'json';

/** What every command knows. */
export interface CommonOptions {
  /** Path of the configuration. */
  readonly config: string;
  readonly format: Format;
  readonly verbose: boolean;
}

export interface ReconcileInvocation extends CommonOptions {
  readonly command: 'reconcile';
  /** Plan only: writes nothing, consumes nothing. */
  readonly check: boolean;
  readonly diff: boolean;
  /** No report on stdout where there is nothing to say: for timers and cron. */
  readonly quiet: boolean;
  readonly detailedExitcode: boolean;
  readonly lockTimeoutMs: number;
  /** How long to act on what is heard before exiting. */
  readonly listenMs: number;
  /** Only these bridges; all of them when it is empty. */
  readonly bridges: readonly string[];
  /** Frozen addresses that are to be believed again. */
  readonly unfreeze: readonly IpAddress[];
}

export interface RemoveInvocation extends CommonOptions {
  readonly command: 'remove';
  readonly check: boolean;
  readonly keepNeighbors: boolean;
  readonly lockTimeoutMs: number;
}

export interface StatusInvocation extends CommonOptions {
  readonly command: 'status';
  readonly filter: HostFilter;
  /** Ask FRR what it advertises. */
  readonly frr: boolean;
  /** A report each second, until the reader has gone. */
  readonly watch: boolean;
}

export interface ExplainInvocation extends CommonOptions {
  readonly command: 'explain';
  readonly ip: IpAddress;
  /** Only there; everywhere when it is null. */
  readonly bridge: string | null;
}

export interface DoctorInvocation extends CommonOptions {
  readonly command: 'doctor';
}

export interface ValidateInvocation extends CommonOptions {
  readonly command: 'validate';
}

export interface SchemaInvocation extends CommonOptions {
  readonly command: 'schema';
}

export type Invocation =
  | ReconcileInvocation
  | RemoveInvocation
  | StatusInvocation
  | ExplainInvocation
  | DoctorInvocation
  | ValidateInvocation
  | SchemaInvocation
  /** A text to print: what `--help` or `--version` asks for. */
  | { readonly command: 'help' | 'version'; readonly text: string };

const EXIT_CODES = `
Exit codes:
  0   done, or nothing to do
  1   something failed; the rest was done; the report says what
  2   only with --detailed-exitcode: it changed something, or with --check
      changes are due
  64  wrong usage
  69  this kernel or host lacks something needed
  75  another run held the lock for the whole lock timeout
  77  not permitted
  78  configuration invalid`;

/**
 * What the arguments (without node and script) ask for. Throws a SnoopyError `usage` that says what is wrong
 * and, for a mistyped word, what may have been meant.
 */
export function parseInvocation(argv: readonly string[], version: string): Invocation {
  let text = '';
  let invocation: Invocation | undefined;
  const program = buildProgram(version, (result) => {
    invocation = result;
  });
  const capture = (piece: string): void => {
    text += piece;
  };
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: capture,
      writeErr: () => {},
      getOutHelpWidth: () => 80,
      getErrHelpWidth: () => 80,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  }
  try {
    program.parse([...argv], { from: 'user' });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    if (thrown.code === 'commander.version') return { command: 'version', text };
    if (thrown.exitCode === 0) return { command: 'help', text };
    throw usageError(thrown, program, argv);
  }
  if (invocation === undefined) throw wrongUsage(noCommand(program));
  return invocation;
}

/** True when the arguments ask for JSON, however wrong the rest of them may be. */
export function wantsJson(argv: readonly string[]): boolean {
  return argv.some(
    (word, at) => word === '--format=json' || (word === '--format' && argv[at + 1] === 'json'),
  );
}

function usageError(thrown: CommanderError, program: Command, argv: readonly string[]): SnoopyError {
  // Where no command is found commander wants to print its help; one line says as much.
  const asked = argv.indexOf('help') + 1;
  const said = thrown.message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  const names = program.commands.map((each) => each.name());
  const command = argv.find((word) => names.includes(word));
  if (thrown.code !== 'commander.help') return wrongUsage(said, command);
  return wrongUsage(asked > 0 ? `unknown command '${argv[asked]}'` : noCommand(program));
}

/** `command` is the one whose help explains it. */
function wrongUsage(cause: string, command?: string): SnoopyError {
  return new SnoopyError({
    code: 'usage',
    object: 'command line',
    operation: null,
    cause,
    fix: `see snoopy ${command === undefined ? '' : `${command} `}--help`,
  });
}

function noCommand(program: Command): string {
  const names = program.commands.map((command) => command.name()).join(', ');
  return `no command given, one of ${names}`;
}

/** The commands and their options; `accept` gets what a command line asks for. The man page is made of it too. */
export function buildProgram(version: string, accept: (invocation: Invocation) => void): Command {
  const program = new Command('snoopy')
    .description('Turns what VMs and containers say by ARP and Neighbor Discovery into bridge neighbors.')
    .option('-c, --config <file>', 'configuration to read', DEFAULT_CONFIG)
    .addOption(formatOption())
    .option('-v, --verbose', 'every step in the report, progress on stderr')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', EXIT_CODES)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError();
  addReconcile(program, accept);
  addValidate(program, accept);
  addStatus(program, accept);
  addExplain(program, accept);
  addDoctor(program, accept);
  addRemove(program, accept);
  addSchema(program, accept);
  return program;
}

/** Fresh options for each program: commander keeps state in them. */
function formatOption(): Option {
  return new Option('--format <format>', 'form of the report').choices(['text', 'json']).default('text');
}

function lockTimeoutOption(): Option {
  return new Option('--lock-timeout <duration>', 'how long to wait for another run')
    .argParser(parseDurationOption)
    .default(10_000, '10s');
}

function parseDurationOption(text: string): number {
  // None at all needs no unit.
  const ms = text === '0' ? 0 : parseDuration(text);
  if (ms === undefined)
    throw new InvalidArgumentError('Allowed is a duration such as 500ms, 90s, 20m or 2h, or 0.');
  return ms;
}

function parseIpOption(text: string): IpAddress {
  const ip = parseIp(text);
  if (ip === undefined) throw new InvalidArgumentError('Allowed is an IPv4 or IPv6 address.');
  return ip;
}

function parsePrefixOption(text: string): Prefix {
  const ip = parseIp(text);
  const prefix = ip === undefined ? parsePrefix(text) : { ip, length: addressLength(familyOf(ip)) * 8 };
  if (prefix === undefined) throw new InvalidArgumentError('Allowed is an IP address or a prefix.');
  return prefix;
}

function parseMacOption(text: string): Mac {
  const mac = parseMac(text);
  if (mac === undefined) throw new InvalidArgumentError('Allowed is a MAC such as 02:00:00:00:01:01.');
  return mac;
}

function asIs(text: string): string {
  return text;
}

/** An option that may stand there many times: a list, empty where it does not. */
function repeated<T>(flags: string, what: string, none: string, parse: (text: string) => T): Option {
  return new Option(flags, `${what}; may be repeated`)
    .argParser((text: string, before: readonly T[]) => [...before, parse(text)])
    .default([], none);
}

function addReconcile(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('reconcile')
    .summary('bring the host to what the configuration says (root)')
    .description(
      'Attaches the program to the local ports of the configured bridges and turns what it saw into bridge ' +
        'neighbors, then exits. Run it as often as you like: when nothing is due, it changes nothing. ' +
        'Needs root.',
    )
    .option('--check', 'plan only: write nothing, consume nothing')
    .option('--diff', 'show what changes as - and + lines')
    .option('-q, --quiet', 'no text where nothing was due and nothing is wrong')
    .option('--detailed-exitcode', 'exit with 2 when something changed, or with --check is due')
    .addOption(lockTimeoutOption())
    .addOption(
      new Option('--listen <duration>', 'act on what is heard for so long before exiting')
        .argParser(parseDurationOption)
        .default(0, '0s'),
    )
    .addOption(repeated('--bridge <name>', 'only this bridge', 'all of them', asIs))
    .addOption(repeated('--unfreeze <ip>', 'believe this duplicate address again', 'none', parseIpOption))
    .addHelpText('after', example('snoopy reconcile --check --diff'))
    .action((_, command: Command) => {
      const own = command.opts<{
        check?: true;
        diff?: true;
        quiet?: true;
        detailedExitcode?: true;
        lockTimeout: number;
        listen: number;
        bridge: readonly string[];
        unfreeze: readonly IpAddress[];
      }>();
      accept({
        command: 'reconcile',
        ...common(program),
        check: own.check === true,
        diff: own.diff === true,
        quiet: own.quiet === true,
        detailedExitcode: own.detailedExitcode === true,
        lockTimeoutMs: own.lockTimeout,
        listenMs: own.listen,
        bridges: [...new Set(own.bridge)],
        unfreeze: [...new Set(own.unfreeze)],
      });
    });
}

function addValidate(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('validate')
    .summary('check the configuration and print what it comes to')
    .description(
      'Checks the configuration and prints what each bridge resolves to with every default filled in, as a ' +
        'configuration that says everything. Looks at nothing but the file; needs no root.',
    )
    .addHelpText('after', example('snoopy validate -c snoopy.yaml'))
    .action(() => accept({ command: 'validate', ...common(program) }));
}

function addStatus(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('status')
    .summary('print bridges, ports, hosts and counters as they stand (root)')
    .description(
      'Prints bridges, their ports, and their hosts by VLAN, as they stand: MAC, port, age, state, and where FRR ' +
        'answers whether it advertises them. Of several filters each must match, of one filter that is repeated ' +
        'any. Changes nothing, consumes nothing. Needs root.',
    )
    .addOption(repeated('--bridge <name>', 'only this bridge', 'all of them', asIs))
    .addOption(repeated('--port <glob>', 'only ports of that name and their hosts', 'all of them', asIs))
    .addOption(repeated('--ip <ip>', 'only this address, or those of a prefix', 'all', parsePrefixOption))
    .addOption(repeated('--mac <mac>', 'only addresses of this MAC', 'all', parseMacOption))
    .option('--no-frr', 'do not ask FRR what it advertises: some 0.1 s faster')
    .option('-w, --watch', 'again each second until Ctrl-C; with JSON one report a line')
    .addHelpText('after', example('snoopy status --bridge vmbr0 --ip 10.1.0.0/16 --watch'))
    .action((_, command: Command) => {
      const own = command.opts<{
        bridge: readonly string[];
        port: readonly string[];
        ip: readonly Prefix[];
        mac: readonly Mac[];
        frr: boolean;
        watch?: true;
      }>();
      accept({
        command: 'status',
        ...common(program),
        filter: { bridges: [...new Set(own.bridge)], ports: own.port, ips: own.ip, macs: own.mac },
        frr: own.frr,
        watch: own.watch === true,
      });
    });
}

function addExplain(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('explain')
    .summary('tell the whole story of one address (root)')
    .description(
      'Tells from the host to the route what became of one address: where it was heard, which rule decided, what ' +
        'the bridge, the neighbor table and FRR have of it; or which check did not believe it, and how often. For ' +
        'what is wrong it says what mends it. Asks FRR through vtysh where that is installed. Exits with 0 when the ' +
        'address is where it should be, advertised by this node or by another, as far as FRR answers; with 1 when it is ' +
        'not. Changes ' +
        'nothing. Needs root.',
    )
    .addArgument(new Argument('<ip>', 'the IPv4 or IPv6 address').argParser(parseIpOption))
    .option('--bridge <name>', 'only on this bridge')
    .addHelpText('after', example('snoopy explain 192.0.2.53'))
    .action((ip: IpAddress, { bridge = null }: { bridge?: string | null }) =>
      accept({ command: 'explain', ...common(program), ip, bridge }),
    );
}

function addDoctor(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('doctor')
    .summary('say what keeps routes from being advertised (root)')
    .description(
      'Checks everything that stands between a host and its MAC/IP route: kernel, pins, ports, bridges, FRR, ' +
        'and each neighbor. For what is wrong it says why that matters and what mends it. Asks FRR through ' +
        'vtysh where that is installed. Changes nothing; exits with 1 when a check fails. Needs root.',
    )
    .addHelpText('after', example('snoopy doctor'))
    .action(() => accept({ command: 'doctor', ...common(program) }));
}

function addRemove(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('remove')
    .summary('take everything back that snoopy set up (root)')
    .description(
      'Detaches the program, removes everything pinned and withdraws the neighbors that snoopy wrote: leaves ' +
        'the host as it was before. Needs root.',
    )
    .option('--check', 'plan only: write nothing')
    .option('--keep-neighbors', 'leave the neighbors that snoopy wrote')
    .addOption(lockTimeoutOption())
    .addHelpText('after', example('snoopy remove --check'))
    .action((_, command: Command) => {
      const own = command.opts<{ check?: true; keepNeighbors?: true; lockTimeout: number }>();
      accept({
        command: 'remove',
        ...common(program),
        check: own.check === true,
        keepNeighbors: own.keepNeighbors === true,
        lockTimeoutMs: own.lockTimeout,
      });
    });
}

function addSchema(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('schema')
    .summary('print the JSON Schema of the configuration')
    .description('Prints the JSON Schema (draft 2020-12) of the configuration. Needs no root.')
    .addHelpText('after', example('snoopy schema > snoopy.schema.json'))
    .action(() => accept({ command: 'schema', ...common(program) }));
}

function common(program: Command): CommonOptions {
  const { config, format, verbose } = program.opts<{ config: string; format: Format; verbose?: true }>();
  return { config, format, verbose: verbose === true };
}

function example(line: string): string {
  return `\nExample:\n  ${line}`;
}

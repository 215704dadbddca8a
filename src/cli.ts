// The command line -> an Invocation. Pure: it prints nothing, runs nothing and does not exit.

import { Argument, Command, CommanderError, Option } from 'commander';
import type { IpAddress, Mac, Prefix } from './base/address.ts';
import { SnoopyError } from './base/errors.ts';
import type { CommonOptions, Format, Invocation } from './cli-invocation.ts';
import {
  asIs,
  formatOption,
  lockTimeoutOption,
  parseDurationOption,
  parseIpOption,
  parseMacOption,
  parsePathOption,
  parsePrefixOption,
  repeated,
  splitGroups,
} from './cli-options.ts';
import { DEFAULT_CONFIG } from './config/config.ts';
import type { Details } from './core/fabric-report.ts';

const EXIT_CODES = `
Exit codes:
  0   done, or nothing to do
  1   something failed; the rest was done; the report says what
  2   only with --detailed-exitcode: something changed, or with --check changes
      are due
  64  wrong usage
  69  this kernel or node lacks something needed
  75  another run held the lock for the whole lock timeout
  77  not permitted
  78  configuration invalid`;

/**
 * Parses the arguments (without node and script). Throws a SnoopyError `usage` that names the mistake and, for a
 * mistyped word, suggests the probable one.
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
    program.parse(splitGroups(argv, program), { from: 'user' });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    if (thrown.code === 'commander.version') return { command: 'version', text };
    if (thrown.exitCode === 0) return { command: 'help', text };
    throw usageError(thrown, program, argv);
  }
  if (invocation === undefined) throw wrongUsage(noCommand(program));
  return invocation;
}

/** True when the arguments request JSON, even if the rest of them is wrong. */
export function wantsJson(argv: readonly string[]): boolean {
  return argv.some(
    (word, at) => word === '--format=json' || (word === '--format' && argv[at + 1] === 'json'),
  );
}

function usageError(thrown: CommanderError, program: Command, argv: readonly string[]): SnoopyError {
  // Without a known command commander prints its whole help; one line is enough.
  const topic = argv.indexOf('help') + 1;
  const cause = thrown.message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  const names = program.commands.map((each) => each.name());
  const command = argv.find((word) => names.includes(word));
  if (thrown.code !== 'commander.help') return wrongUsage(cause, command);
  return wrongUsage(topic > 0 ? `unknown command '${argv[topic]}'` : noCommand(program));
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

/** The commands and their options; `accept` gets the parsed invocation. The man page is generated from it too. */
export function buildProgram(version: string, accept: (invocation: Invocation) => void): Command {
  const program = new Command('snoopy')
    .description('Turns ARP and Neighbor Discovery messages of VMs and containers into bridge neighbors.')
    .option('-c, --config <file>', 'configuration file', DEFAULT_CONFIG)
    .addOption(formatOption())
    .option('-v, --verbose', 'report every step; print progress on stderr')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', EXIT_CODES)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError();
  addReconcile(program, accept);
  addInit(program, accept);
  addValidate(program, accept);
  addStatus(program, accept);
  addExplain(program, accept);
  addDoctor(program, accept);
  addAudit(program, accept);
  addRemove(program, accept);
  addSchema(program, accept);
  return program;
}

function addReconcile(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('reconcile')
    .summary('bring the node in line with the configuration (root)')
    .description(
      'Attaches the program to the local ports of the configured bridges, turns the messages it has seen into ' +
        'bridge neighbors, and exits. You can run it at any time: when nothing is due, it changes nothing. ' +
        'Needs root.',
    )
    .option('--check', 'plan only: write nothing, consume nothing')
    .option('--diff', 'show changes as - and + lines')
    .option('-q, --quiet', 'print nothing when nothing was due and nothing is wrong')
    .option('--detailed-exitcode', 'exit with 2 when something changed (with --check: is due)')
    .addOption(lockTimeoutOption())
    .addOption(
      new Option('--listen <duration>', 'keep acting on changes for this long, then exit')
        .argParser(parseDurationOption)
        .default(0, '0s'),
    )
    .addOption(repeated('--bridge <name>', 'only this bridge', 'all of them', asIs))
    .addOption(repeated('--unfreeze <ip>', 'unfreeze this duplicate address', 'none', parseIpOption))
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

function addInit(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('init')
    .summary('print a configuration for this node')
    .description(
      'Prints a commented configuration that names the bridges of this node with a tunnel port. With --write it ' +
        'creates the file of --config instead, unless that exists. Needs root only to write where others may not.',
    )
    .option('--write', 'create the configuration file')
    .addHelpText('after', example('snoopy init > snoopy.yaml'))
    .action((_, command: Command) => {
      const { write } = command.opts<{ write?: true }>();
      accept({ command: 'init', ...common(program), write: write === true });
    });
}

function addValidate(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('validate')
    .summary('check the configuration and print it with all defaults')
    .description(
      'Checks the configuration and prints it with every default filled in, bridge by bridge. Reads only the ' +
        'file. Needs no root.',
    )
    .addHelpText('after', example('snoopy validate -c snoopy.yaml'))
    .action(() => accept({ command: 'validate', ...common(program) }));
}

function addStatus(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('status')
    .summary('print the current bridges, ports, hosts and counters (root)')
    .description(
      'Prints the bridges, their ports, and their hosts by VLAN, with MAC, port, age and state. Where FRR ' +
        'answers, it also prints whether each host is advertised. Different filters must all match; of a repeated ' +
        'filter, any may match. Changes nothing, consumes nothing. Needs root.',
    )
    .addOption(repeated('--bridge <name>', 'only this bridge', 'all of them', asIs))
    .addOption(
      repeated('--port <glob>', 'only ports with a matching name, and their hosts', 'all of them', asIs),
    )
    .addOption(repeated('--ip <ip>', 'only this address, or those of this prefix', 'all', parsePrefixOption))
    .addOption(repeated('--mac <mac>', 'only addresses of this MAC', 'all', parseMacOption))
    .option('--no-frr', 'do not query FRR for routes (saves about 0.1 s)')
    .option('-w, --watch', 'repeat each second until Ctrl-C; with JSON one report a line')
    .addOption(
      new Option('--all', 'also what other nodes advertise, for audit; with JSON in one line').conflicts([
        'bridge',
        'port',
        'ip',
        'mac',
        'frr',
        'watch',
      ]),
    )
    .addOption(
      repeated(
        '--details <what>',
        'with --all: list the addresses of this next hop; none: only count them',
        'those of all next hops',
        asIs,
      ),
    )
    .addHelpText('after', example('snoopy status --bridge vmbr0 --ip 10.1.0.0/16 --watch'))
    .action((_, command: Command) => {
      const own = command.opts<{
        bridge: readonly string[];
        port: readonly string[];
        ip: readonly Prefix[];
        mac: readonly Mac[];
        frr: boolean;
        watch?: true;
        all?: true;
        details: readonly string[];
      }>();
      if (own.details.length > 0 && own.all !== true) command.error("option '--details' needs '--all'");
      accept({
        command: 'status',
        ...common(program),
        filter: { bridges: [...new Set(own.bridge)], ports: own.port, ips: own.ip, macs: own.mac },
        frr: own.frr,
        watch: own.watch === true,
        all: own.all === true ? detailsOf(own.details) : null,
      });
    });
}

/** `none` is a place that no node has. */
function detailsOf(places: readonly string[]): Details {
  return places.length === 0 ? 'all' : places.filter((place) => place !== 'none');
}

function addExplain(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('explain')
    .summary('explain why an address is or is not advertised (root)')
    .description(
      'Follows one address from its host to its route: the port where it was seen, the rule that decided, and ' +
        'its state on the bridge, in the neighbor table and in FRR; or the check that rejected it, and how often. ' +
        'For each problem it prints the fix. Queries FRR through vtysh where that is installed. Exits with 0 when ' +
        'the address is where it should be, advertised by this node or by another as far as FRR answers; ' +
        'otherwise with 1. Changes nothing. Needs root.',
    )
    .addArgument(new Argument('<ip>', 'the IPv4 or IPv6 address').argParser(parseIpOption))
    .addOption(repeated('--bridge <name>', 'only on this bridge', 'all of them', asIs))
    .addHelpText('after', example('snoopy explain 192.0.2.53'))
    .action((ip: IpAddress, { bridge }: { bridge: readonly string[] }) =>
      accept({ command: 'explain', ...common(program), ip, bridges: [...new Set(bridge)] }),
    );
}

function addDoctor(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('doctor')
    .summary('find what keeps routes from being advertised (root)')
    .description(
      'Checks everything between a host and its MAC/IP route: kernel, pins, ports, bridges, FRR, and each ' +
        'neighbor. For each problem it prints why it matters and the fix. Queries FRR through vtysh where that ' +
        'is installed. Without a configuration it checks what the node lacks for a first run, and prints a ' +
        'configuration to begin with. Changes nothing; exits with 1 when a check fails. Needs root.',
    )
    .addHelpText('after', example('snoopy doctor'))
    .action(() => {
      const mayLackConfig = program.getOptionValueSource('config') === 'default';
      accept({ command: 'doctor', ...common(program), mayLackConfig });
    });
}

function addAudit(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('audit')
    .summary('compare the reports of many nodes')
    .description(
      'Reads the reports of many nodes (status --all --format json), and finds what no single node can see: addresses ' +
        'with two owners, ghosts, holes, and nodes that are not as the others. For each finding it prints the command ' +
        'that looks further. Differences that are younger than the time between the reports are printed as in motion. ' +
        'Exits with 1 when there is a failure. Needs no root and no configuration.',
    )
    .addArgument(
      new Argument('[paths...]', 'files of reports, or directories of them; none: standard input').default(
        [],
        'standard input',
      ),
    )
    .option(
      '--since <path>',
      'also report what has changed since these earlier reports, which confirm what is in motion',
      parsePathOption,
    )
    .addOption(
      new Option(
        '--settle <duration>',
        'time in which a change reaches all nodes, clock differences included',
      )
        .argParser(parseDurationOption)
        .default(5_000, '5s'),
    )
    .option('--textfile <path>', 'also write a Prometheus textfile', parsePathOption)
    .addHelpText('after', example('snoopy audit reports/ --since reports.yesterday/'))
    .action((paths: readonly string[], _, command: Command) => {
      const own = command.opts<{ since?: string; settle: number; textfile?: string }>();
      accept({
        command: 'audit',
        ...common(program),
        paths,
        since: own.since ?? null,
        settleMs: own.settle,
        textfile: own.textfile ?? null,
      });
    });
}

function addRemove(program: Command, accept: (invocation: Invocation) => void): void {
  program
    .command('remove')
    .summary('undo everything that snoopy set up (root)')
    .description(
      'Detaches the program, deletes its pins and removes the neighbors that snoopy wrote. The node is then ' +
        'as it was before. Stop the timer first: its next run would set up everything again. Needs root.',
    )
    .option('--check', 'plan only: write nothing')
    .option('--keep-neighbors', 'keep the neighbors that snoopy wrote')
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

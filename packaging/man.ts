// The manual pages snoopy(8) and snoopy.yaml(5), in mdoc(7), generated from the command line and the JSON Schema.

import type { OptionFacts, ProgramFacts } from './commands.ts';
import { allowedText, exampleOf, isGroup, type Key, keysOf, type Schema } from './keys.ts';

/** Width of a line of running text, before characters are escaped. */
const WIDTH = 72;

/** The manual page of the program, section 8. */
export function programPage(program: ProgramFacts, date: Date): string {
  return page('SNOOPY', 8, date, [
    '.Sh NAME',
    '.Nm snoopy',
    '.Nd neighbors of VMs and containers for EVPN',
    '.Sh SYNOPSIS',
    ...program.commands.flatMap(({ name, options, arguments: words }) => [
      '.Nm',
      `.Cm ${name}`,
      ...[...program.options.filter(isShared), ...options].map((option) => `.Op ${optionMacros(option)}`),
      ...words.map((word) => `.Ar ${word}`),
    ]),
    '.Nm',
    '.Op Fl -help | Fl -version',
    '.Sh DESCRIPTION',
    ...prose(program.description),
    '.Pp',
    ...prose(
      'A small eBPF program on the local ports of the configured bridges watches ARP and Neighbor Discovery. It ' +
        'stays in the kernel and keeps collecting. Each run acts on what it collected, and exits. There is no daemon.',
    ),
    '.Pp',
    'The commands:',
    '.Bl -tag -width Ds',
    ...program.commands.flatMap(({ name, description, options, arguments: words, example }) => [
      [`.It Cm ${name}`, ...words.map((word) => `Ar ${word}`)].join(' '),
      ...prose(description),
      ...(options.length === 0 ? [] : ['.Bl -tag -width Ds', ...options.flatMap(optionItem), '.El']),
      '.Pp',
      'Example:',
      `.Dl ${example.map(argument).join(' ')}`,
    ]),
    '.El',
    '.Pp',
    'Options of every command:',
    '.Bl -tag -width Ds',
    ...program.options.flatMap(optionItem),
    '.El',
    '.Pp',
    ...prose('The report goes to standard output, everything else to standard error.'),
    '.Sh FILES',
    '.Bl -tag -width Ds',
    '.It Pa /etc/snoopy/snoopy.yaml',
    'the configuration, see',
    '.Xr snoopy.yaml 5',
    '.It Pa /sys/fs/bpf/snoopy',
    'the pinned program and maps',
    '.El',
    '.Sh EXIT STATUS',
    '.Bl -tag -width Ds',
    ...program.exitCodes.flatMap(({ code, meaning }) => [`.It ${code}`, ...prose(meaning)]),
    '.El',
    '.Sh SEE ALSO',
    '.Xr snoopy.yaml 5 ,',
    '.Xr systemd.timer 5 ,',
    '.Xr bridge 8 ,',
    '.Xr ip-neighbour 8',
    '.Sh STANDARDS',
    '.Rs',
    '.%R RFC 9161',
    '.%T Operational Aspects of Proxy ARP/ND in Ethernet Virtual Private Networks',
    '.Re',
  ]);
}

/** True for an option of the run, false for one of the command line itself. */
function isShared({ long }: OptionFacts): boolean {
  return long !== '--help' && long !== '--version';
}

function optionMacros({ long, argument: value }: OptionFacts): string {
  return `Fl ${escapeWord(long.slice(1))}${value === undefined ? '' : ` Ar ${value}`}`;
}

function optionItem(option: OptionFacts): string[] {
  const short = option.short === undefined ? '' : `Fl ${option.short.slice(1)} , `;
  const notes = [
    ...(option.choices.length === 0 ? [] : [`one of ${option.choices.join(', ')}`]),
    ...(option.defaultText === undefined ? [] : [`default: ${option.defaultText}`]),
  ];
  const description = option.description + (notes.length === 0 ? '' : ` (${notes.join('; ')})`);
  return [`.It ${short}${optionMacros(option)}`, ...prose(description)];
}

/** The manual page of the configuration, section 5. */
export function configPage(schema: Schema, date: Date): string {
  return page('SNOOPY.YAML', 5, date, [
    '.Sh NAME',
    '.Nm snoopy.yaml',
    '.Nd configuration of snoopy',
    '.Sh SYNOPSIS',
    '.Pa /etc/snoopy/snoopy.yaml',
    '.Sh DESCRIPTION',
    ...prose(schema.description ?? ''),
    '.Pp',
    ...prose(
      'The file is YAML. Unknown keys are errors. A key that a bridge does not set comes from "defaults"; a key that ' +
        'is not there either has the default given here. To print a file with every default filled in, run',
    ),
    '.Ql snoopy validate .',
    '.Pp',
    'The keys, where',
    '.Ql []',
    'stands for every element of a list:',
    '.Bl -tag -width Ds',
    ...keysOf(schema).flatMap(keyItem),
    '.El',
    '.Sh FILES',
    '.Bl -tag -width Ds',
    '.It Pa /etc/snoopy/snoopy.yaml',
    'read unless another file is given with',
    '.Fl -config',
    '.El',
    '.Sh EXAMPLES',
    'Every host on every local port of one bridge:',
    '.Bd -literal -offset indent',
    'version: 1',
    'bridges:',
    '  \\- name: vmbr0',
    '.Ed',
    '.Pp',
    'An address that no other MAC can claim:',
    '.Bd -literal -offset indent',
    'version: 1',
    'bridges:',
    '  \\- name: vmbr0',
    '    static:',
    '      \\- {ip: 192.0.2.53, mac: "52:54:00:12:34:56"}',
    '.Ed',
    '.Sh SEE ALSO',
    '.Xr snoopy 8',
  ]);
}

function keyItem({ path, node }: Key): string[] {
  const allowed = allowedText(node);
  const example = exampleOf(node);
  return [
    `.It Ic ${argument(path)}`,
    ...prose(node.description ?? node.title ?? ''),
    ...(allowed === undefined ? [] : prose(`Allowed: ${allowed}.`)),
    ...(node.default === undefined || isGroup(node) ? [] : prose(`Default:`).concat(literal(node.default))),
    ...(example === undefined || isGroup(node) ? [] : prose(`Example:`).concat(literal(example))),
  ];
}

function literal(value: unknown): string[] {
  return [`.Ql ${argument(typeof value === 'string' ? value : JSON.stringify(value))} .`];
}

function page(title: string, section: number, date: Date, body: readonly string[]): string {
  const day = date.toLocaleDateString('en-US', {
    timeZone: 'UTC',
    month: 'long',
    day: 'numeric',
    year: 'numeric',
  });
  const head = ['.\\" Generated from the command line and the JSON Schema: do not edit.', `.Dd ${day}`];
  return [...head, `.Dt ${title} ${section}`, '.Os', ...body, ''].join('\n');
}

/** Running text: each sentence on its own lines, as mdoc(7) requires, and `code` in literal type. */
function prose(text: string): string[] {
  return text
    .split(/(?<=[.;:]) +(?=[A-Z"`])/)
    .flatMap((sentence) => sentence.split(/(`[^`]+`[.,;:)]*)/))
    .flatMap((piece) => {
      const [, code, after = ''] = /^`([^`]+)`([.,;:)]*)$/.exec(piece) ?? [];
      return code === undefined ? wrap(piece) : [['.Ql', argument(code), ...after].join(' ')];
    });
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ').filter((part) => part !== '')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < WIDTH) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.map(escapeLine);
}

/** One argument of a macro. The escape keeps macro names and punctuation in it literal. */
function argument(text: string): string {
  return `"\\&${escapeWord(text).replaceAll('"', '""')}"`;
}

function escapeLine(text: string): string {
  return escapeWord(text).replace(/^[.']/, '\\&$&');
}

function escapeWord(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-');
}

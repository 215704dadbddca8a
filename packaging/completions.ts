// Completions for bash, zsh and fish, generated from the command line.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the strings are shell code.

import type { OptionFacts, ProgramFacts } from './commands.ts';

/** How the value of an option is completed. */
type Value =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' }
  | { readonly kind: 'bridge' }
  | { readonly kind: 'free' };

function completionOf({ long, argument, choices }: OptionFacts): Value | undefined {
  if (argument === undefined) return undefined;
  if (choices.length > 0) return { kind: 'words', words: choices };
  if (argument === 'file') return { kind: 'file' };
  return { kind: long === '--bridge' ? 'bridge' : 'free' };
}

/** Prints the bridges of the node, in any shell. */
const BRIDGES = "ip -o link show type bridge 2>/dev/null | sed 's/^[0-9]*: //; s/[:@].*//'";

function words(options: readonly OptionFacts[]): string[] {
  return options.flatMap(({ short, long }) => (short === undefined ? [long] : [short, long]));
}

/** Every option of the program and its commands, once each. */
function distinctOptions(program: ProgramFacts): OptionFacts[] {
  const all = [...program.options, ...program.commands.flatMap((command) => command.options)];
  return [...new Map(all.map((option) => [option.long, option])).values()];
}

export function bashCompletion(program: ProgramFacts): string {
  const names = program.commands.map(({ name }) => name);
  const values = distinctOptions(program).flatMap((option) => {
    const value = completionOf(option);
    return value === undefined ? [] : [{ pattern: words([option]).join(' | '), reply: bashReply(value) }];
  });
  return [
    '# bash completion for snoopy. Generated: do not edit.',
    '',
    '_snoopy() {',
    '  local current=$2 previous=$3 command= word options',
    '  COMPREPLY=()',
    '  case $previous in',
    ...values.map(({ pattern, reply }) => `  ${pattern}) ${reply}; return ;;`),
    '  esac',
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    '    case $word in',
    `    help | ${names.join(' | ')}) command=$word; break ;;`,
    '    esac',
    '  done',
    `  options='${words(program.options).join(' ')}'`,
    '  case $command in',
    `  '') [[ $current == -* ]] || options='help ${names.join(' ')}' ;;`,
    `  help) options='${names.join(' ')}' ;;`,
    ...program.commands
      .filter(({ options }) => options.length > 0)
      .map(({ name, options }) => `  ${name}) options+=' ${words(options).join(' ')}' ;;`),
    '  esac',
    '  mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")',
    '}',
    'complete -F _snoopy snoopy',
    '',
  ].join('\n');
}

function bashReply(value: Value): string {
  switch (value.kind) {
    case 'words':
      return `mapfile -t COMPREPLY < <(compgen -W '${value.words.join(' ')}' -- "$current")`;
    case 'file':
      return 'mapfile -t COMPREPLY < <(compgen -f -- "$current")';
    case 'bridge':
      return `mapfile -t COMPREPLY < <(compgen -W "$(${BRIDGES})" -- "$current")`;
    case 'free':
      return ':';
    default:
      return value satisfies never;
  }
}

export function zshCompletion(program: ProgramFacts): string {
  return [
    '#compdef snoopy',
    '# zsh completion for snoopy. Generated: do not edit.',
    '',
    '_snoopy() {',
    '  local curcontext=$curcontext state line',
    '  local -a options commands bridges',
    '  options=(',
    ...program.options.map((option) => `    ${zshOption(option)}`),
    '  )',
    '  commands=(',
    ...program.commands.map(({ name, summary }) => `    ${quote(`${name}:${summary}`)}`),
    "    'help:print the help of a command'",
    '  )',
    '  _arguments -C "${options[@]}" "1: :->command" "*:: :->rest"',
    '  case $state in',
    "  command) _describe -t commands 'snoopy command' commands ;;",
    '  rest)',
    '    case $line[1] in',
    "    help) _describe -t commands 'snoopy command' commands ;;",
    ...program.commands.flatMap(({ name, options, arguments: words }) => [
      `    ${name})`,
      '      _arguments "${options[@]}" \\',
      ...words.map((word, i) => `        '${i + 1}:${word}: ' \\`),
      ...options.map((option) => `        ${zshOption(option)} \\`),
      '        && return',
      '      ;;',
    ]),
    '    esac',
    '    ;;',
    '  esac',
    '}',
    '',
    '_snoopy_bridges() {',
    '  local -a bridges',
    `  bridges=(\${(f)"$(${BRIDGES})"})`,
    "  _describe -t bridges 'bridge' bridges",
    '}',
    '',
    '_snoopy "$@"',
    '',
  ].join('\n');
}

/** A specification of _arguments: (exclusive){names}[description]:argument:action */
function zshOption(option: OptionFacts): string {
  const names = words([option]);
  const description = option.description.replaceAll(/[[\]]/g, '\\$&');
  const repeats = option.description.includes('may be repeated');
  const exclusive = repeats ? '*' : `(${names.join(' ')})`;
  const value = completionOf(option);
  const action = value === undefined ? '' : `:${option.argument}:${zshAction(value)}`;
  const rest = quote(`[${description}]${action}`);
  if (names.length === 1) return `${quote(exclusive)}${names[0]}${rest}`;
  return `${quote(exclusive)}{${names.join(',')}}${rest}`;
}

function zshAction(value: Value): string {
  switch (value.kind) {
    case 'words':
      return `(${value.words.join(' ')})`;
    case 'file':
      return '_files';
    case 'bridge':
      return '_snoopy_bridges';
    case 'free':
      return ' ';
    default:
      return value satisfies never;
  }
}

export function fishCompletion(program: ProgramFacts): string {
  const names = program.commands.map(({ name }) => name).join(' ');
  return [
    '# fish completion for snoopy. Generated: do not edit.',
    '',
    'complete -c snoopy -f',
    ...program.commands.map(
      ({ name, summary }) => `complete -c snoopy -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`,
    ),
    "complete -c snoopy -n __fish_use_subcommand -a help -d 'print the help of a command'",
    `complete -c snoopy -n '__fish_seen_subcommand_from help' -a '${names}'`,
    ...program.options.map((option) => `complete -c snoopy ${fishOption(option)}`),
    ...program.commands.flatMap(({ name, options }) =>
      options.map(
        (option) => `complete -c snoopy -n '__fish_seen_subcommand_from ${name}' ${fishOption(option)}`,
      ),
    ),
    '',
  ].join('\n');
}

function fishOption(option: OptionFacts): string {
  const short = option.short === undefined ? '' : `-s ${option.short.slice(1)} `;
  const value = completionOf(option);
  const action = value === undefined ? '' : ` ${fishAction(value)}`;
  return `${short}-l ${option.long.slice(2)} -d ${quote(option.description)}${action}`;
}

function fishAction(value: Value): string {
  switch (value.kind) {
    case 'words':
      return `-x -a '${value.words.join(' ')}'`;
    case 'file':
      return '-r -F';
    case 'bridge':
      return `-x -a ${quoteDouble(`(${BRIDGES})`)}`;
    case 'free':
      return '-x';
    default:
      return value satisfies never;
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** In double quotes fish interprets $ and \; the commands here contain neither. */
function quoteDouble(text: string): string {
  return `"${text}"`;
}

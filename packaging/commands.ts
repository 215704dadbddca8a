// The command line as data: the source of the man page and the completions, so they cannot drift.

import type { Command, Option } from 'commander';

export interface OptionFacts {
  /** Such as `-c`. */
  readonly short: string | undefined;
  /** Such as `--config`. */
  readonly long: string;
  /** Name of its argument; undefined if it takes none. */
  readonly argument: string | undefined;
  readonly choices: readonly string[];
  readonly description: string;
  /** Text of the default; undefined if it has none. */
  readonly defaultText: string | undefined;
}

export interface CommandFacts {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly options: readonly OptionFacts[];
  /** Names of the positional arguments, in order. */
  readonly arguments: readonly string[];
  /** Lines of the example. */
  readonly example: readonly string[];
}

export interface ProgramFacts {
  readonly description: string;
  /** Options of every command. */
  readonly options: readonly OptionFacts[];
  readonly commands: readonly CommandFacts[];
  readonly exitCodes: readonly { readonly code: string; readonly meaning: string }[];
}

export function factsOf(program: Command): ProgramFacts {
  const help = program.createHelp();
  return {
    description: program.description(),
    options: help.visibleOptions(program).map(optionFacts),
    commands: program.commands.map((command) => ({
      name: command.name(),
      summary: command.summary(),
      description: command.description(),
      options: help
        .visibleOptions(command)
        .filter((option) => option.long !== '--help')
        .map(optionFacts),
      arguments: command.registeredArguments.map((argument) => argument.name()),
      example: section(textAfterHelp(command), 'Example:').map((line) => line.trim()),
    })),
    exitCodes: exitCodes(section(textAfterHelp(program), 'Exit codes:')),
  };
}

function optionFacts(option: Option): OptionFacts {
  const { short, long, flags, description, argChoices = [], defaultValue, defaultValueDescription } = option;
  if (long === undefined) throw new Error(`Option "${flags}" has no long form; give it one`);
  const defaultText = defaultValueDescription ?? defaultValue;
  return {
    short,
    long,
    argument: /[<[]([^>\]]+)/.exec(flags)?.[1],
    choices: argChoices,
    description,
    defaultText: defaultText === undefined ? undefined : String(defaultText),
  };
}

/** The text that `addHelpText('after', ...)` has added. */
function textAfterHelp(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut: (piece) => {
      text += piece;
    },
  });
  command.outputHelp();
  return text.slice(command.helpInformation().length);
}

/** The indented lines below a heading. */
function section(text: string, heading: string): string[] {
  const lines = text.split('\n');
  const start = lines.indexOf(heading) + 1;
  if (start === 0) throw new Error(`The help has no "${heading}"`);
  const length = lines.slice(start).findIndex((line) => !line.startsWith('  '));
  return length < 0 ? lines.slice(start) : lines.slice(start, start + length);
}

function exitCodes(lines: readonly string[]): { code: string; meaning: string }[] {
  const codes: { code: string; meaning: string }[] = [];
  for (const line of lines) {
    const [, code, meaning = ''] = /^ {2}(\d+) +(.*)$/.exec(line) ?? [];
    const last = codes.at(-1);
    if (code !== undefined) codes.push({ code, meaning });
    else if (last !== undefined) last.meaning += ` ${line.trim()}`;
  }
  return codes;
}

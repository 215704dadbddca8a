// The demo's output: numbered steps, indented blocks, ticks; colour on a terminal only.

const { NO_COLOR = '' } = process.env;
const coloured = process.stdout.isTTY === true && NO_COLOR === '';

// The reader has closed the pipe (`| head`): stop, and clean up. 141: as if by SIGPIPE.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(141);
  });
}

let steps = 0;
let failed = 0;

export function title(text: string): void {
  console.log(`\n${paint('1', text)}`);
}

export function step(text: string): void {
  steps += 1;
  console.log(`\n${paint('1;36', `${steps}. ${text}`)}`);
}

export function note(text: string): void {
  console.log(`   ${text}`);
}

/** Output of a command, indented. */
export function block(text: string): void {
  const lines = text.replace(/^\n/, '').trimEnd().split('\n');
  for (const line of lines) console.log(`   ${paint('2', line.trimEnd())}`);
}

/** A claim of the demo: it must hold, or the demo fails in the end. */
export function check(claim: string, holds: boolean): void {
  if (!holds) failed += 1;
  console.log(`   ${holds ? paint('32', '✔') : paint('31', '✖')} ${claim}`);
}

export function failures(): number {
  return failed;
}

/** The last line: what was proven, or that it was not. */
export function verdict(proven: string): void {
  const text = failed === 0 ? `Proven: ${proven}` : `Not proven: ${failed} of the claims above did not hold.`;
  console.log(`\n${paint(failed === 0 ? '1;32' : '1;31', text)}`);
}

function paint(code: string, text: string): string {
  return coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
}

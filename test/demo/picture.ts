// The output of commands on a terminal -> a picture of it: an SVG of text, colours and a window around it. Pure.

/** A piece of a line in one colour. */
interface Run {
  readonly column: number;
  readonly text: string;
  /** SGR parameters, such as `1;36`; empty: none. */
  readonly style: string;
}

type Line = readonly Run[];

const ESCAPE = String.fromCharCode(27);
const FONT_SIZE = 14;
/** Width of a character: 0.6 em in nearly every monospaced font; textLength corrects it for the others. */
const ADVANCE = 8.4;
const LEADING = 19;
const MARGIN = 22;
const TITLE_BAR = 38;

/** Readable on the window's own dark ground, on any page. */
const COLOURS: Readonly<Record<string, string>> = {
  '': '#e6edf3',
  '1': '#ffffff',
  '2': '#a9b4c0',
  '31': '#ff8d85',
  '32': '#57d364',
  '33': '#e3b341',
  '1;31': '#ff8d85',
  '1;32': '#57d364',
  '1;36': '#5fd7ff',
};

/** Steps of the demo whose heading alone is shown: the other steps are enough for the story. */
const SHORTENED: readonly number[] = [3, 6];

/** The picture of the demo's output. */
export function picture(output: string): string {
  const lines = [promptFor('npm run demo'), ...shorten(output).map(parseLine)];
  const title = 'npm run demo: from ARP and ND messages of VMs to EVPN MAC/IP routes';
  return svg(lines, { title, maker: 'npm run demo:record' });
}

/** A command line, and what it printed on a terminal. */
export interface Shown {
  readonly command: string;
  readonly output: string;
}

/** The picture of commands with their whole output. `maker` draws it again. */
export function pictureOf(
  shown: readonly Shown[],
  about: { readonly title: string; readonly maker: string },
): string {
  const blocks = shown.map(({ command, output }) => [
    promptFor(command),
    ...output.replaceAll('\r', '').trimEnd().split('\n').filter(Boolean).map(parseLine),
  ]);
  return svg(
    blocks.flatMap((lines, i) => (i === 0 || (blocks[i - 1]?.length ?? 0) === 1 ? lines : [[], ...lines])),
    about,
  );
}

/** The lines of a picture as text, from the top, without the colours. */
export function linesOf(image: string): string[] {
  const rows = new Map<string, string>();
  for (const [, x = '', y = '', text = ''] of image.matchAll(/<text x="([\d.]+)" y="(\d+)"[^>]*>([^<]*)</g)) {
    const column = Math.round((Number(x) - MARGIN) / ADVANCE);
    const plain = text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
    rows.set(y, (rows.get(y) ?? '').padEnd(column) + plain);
  }
  return [...rows.values()];
}

function promptFor(command: string): Line {
  return [
    { column: 0, text: '$', style: '32' },
    { column: 2, text: command, style: '1' },
  ];
}

/** The demo's lines without colours, as the picture shows them. */
export function shownLines(output: string): string[] {
  return shorten(output)
    .map((line) => textOf(line).trimEnd())
    .filter((line) => line !== '');
}

/** Only the demo's own output: not that of npm and the build before it. */
function shorten(output: string): string[] {
  const lines = output.replaceAll('\r', '').trimEnd().split('\n');
  const start = lines.findIndex((line) => textOf(line).startsWith('snoopy: '));
  if (start < 0) throw new Error('The demo has not printed its title');
  const shown: string[] = [''];
  let step = 0;
  for (const line of lines.slice(start)) {
    const text = textOf(line);
    const heading = /^(\d+)\. /.exec(text)?.[1];
    if (heading !== undefined) step = Number(heading);
    const isBody = text.startsWith('   ');
    if (!isBody || !SHORTENED.includes(step)) shown.push(line);
    else if (textOf(shown.at(-1) ?? '').trim() !== '…') shown.push(`   ${ESCAPE}[2m…${ESCAPE}[0m`);
  }
  return shown;
}

function textOf(line: string): string {
  return parseLine(line).reduce((text, run) => text.padEnd(run.column) + run.text, '');
}

function parseLine(line: string): Line {
  const runs: Run[] = [];
  let style = '';
  let column = 0;
  for (const piece of line.split(new RegExp(`(${ESCAPE}\\[[0-9;]*m)`))) {
    if (piece.startsWith(ESCAPE)) {
      style = piece.slice(2, -1).replace(/^0$/, '');
      if (!(style in COLOURS)) throw new Error(`No colour for the escape sequence [${style}m`);
      continue;
    }
    const indent = piece.length - piece.trimStart().length;
    const text = piece.trim();
    if (text !== '') runs.push({ column: column + indent, text, style });
    column += piece.length;
  }
  return runs;
}

function svg(
  lines: readonly Line[],
  { title, maker }: { readonly title: string; readonly maker: string },
): string {
  const columns = Math.max(...lines.flat().map(({ column, text }) => column + text.length));
  const width = Math.ceil(columns * ADVANCE) + 2 * MARGIN;
  const height = TITLE_BAR + lines.length * LEADING + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" xml:space="preserve" role="img" aria-labelledby="title">`,
    `<!-- Made by \`${maker}\` from what was printed: do not edit. -->`,
    `<title id="title">${escapeXml(title)}</title>`,
    '<style>',
    `text { font: ${FONT_SIZE}px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; white-space: pre; }`,
    '.strong { font-weight: bold; }',
    '</style>',
    `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="9" fill="#0f1620" stroke="#5b6775"/>`,
    ...['#ff5f57', '#febc2e', '#28c840'].map(
      (colour, i) => `<circle cx="${MARGIN + 20 * i}" cy="20" r="6" fill="${colour}"/>`,
    ),
    ...lines.flatMap((line, row) => line.map((run) => textElement(run, row))),
    '</svg>',
    '',
  ].join('\n');
}

function textElement({ column, text, style }: Run, row: number): string {
  const x = round(MARGIN + column * ADVANCE);
  const y = TITLE_BAR + (row + 1) * LEADING - 5;
  const strong = style.startsWith('1') ? ' class="strong"' : '';
  const length = round(text.length * ADVANCE);
  return `<text x="${x}" y="${y}" fill="${COLOURS[style]}" textLength="${length}"${strong}>${escapeXml(text)}</text>`;
}

function round(pixels: number): number {
  return Math.round(pixels * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

// The report of `explain` -> text: the story in one sentence, then step by step.

import { formatAge } from '../base/units.ts';
import type { ExplainReport, Lookout, StepId, StepStatus, Story } from '../core/explain/report.ts';
import { count, joinLines, paint, printable, type RenderOptions, type Tone, wrap } from './style.ts';

const TONES: Readonly<Record<StepStatus, Tone>> = {
  ok: 'good',
  wrong: 'bad',
  waits: 'quiet',
  unknown: 'notable',
};
/** The steps as the text names them. */
const NAMES: Readonly<Record<StepId, string>> = {
  heard: 'seen',
  rule: 'rule',
  bridge: 'bridge',
  neighbor: 'neighbor',
  zebra: 'zebra',
  route: 'route',
};
const STATUS_WIDTH = 'unknown'.length;
const NAME_WIDTH = 'neighbor'.length;
/** How many silent hosts are named. */
const MOST_SILENT = 8;

/** The report of `explain` as text. Lines fit the width of the terminal, as far as names allow. */
export function renderExplain(report: ExplainReport, options: RenderOptions): string {
  const { stories, lookouts, ip, next } = report;
  if (stories.length > 0) {
    const blocks = stories.map((story) => renderStory(story, options));
    return joinLines(blocks.flatMap((lines, i) => (i === 0 ? lines : ['', ...lines])));
  }
  const unknown = `${ip} is not known here: no port has seen it, and no bridge has a neighbor for it`;
  return joinLines([
    ...headline(unknown, 'bad', options),
    ...item({ word: 'wrong', tone: TONES.wrong, name: NAMES.heard, text: 'never on a local port' }, options),
    ...(next === null ? [] : item({ word: '', tone: 'plain', name: 'fix:', text: next }, options)),
    ...lookouts.flatMap((lookout) => renderLookout(lookout, options)),
  ]);
}

function renderStory(story: Story, options: RenderOptions): string[] {
  return [
    ...headline(story.verdict, story.ok ? 'good' : 'bad', options),
    ...story.steps.flatMap(({ id, status, found, remedy }) => [
      ...item({ word: status, tone: TONES[status], name: NAMES[id], text: found }, options),
      ...(remedy === null ? [] : item({ word: '', tone: 'plain', name: 'fix:', text: remedy }, options)),
    ]),
    ...renderRefused(story, options),
  ];
}

/** A note on rejected messages, unless they are the story itself. */
function renderRefused({ refused, state }: Story, options: RenderOptions): string[] {
  if (refused === null || state === 'refused') return [];
  const { because, port, source, firstAge, lastAge } = refused;
  const often =
    refused.count === 1 ? '1 message' : `${refused.count} messages since ${formatAge(firstAge)} ago`;
  const text = `${often}, the last ${formatAge(lastAge)} ago on ${port} from ${source}: ${because}`;
  return item({ word: 'note', tone: 'notable', name: 'rejected', text }, options);
}

function renderLookout(lookout: Lookout, options: RenderOptions): string[] {
  const { because, deaf, ports } = lookout;
  const where = `${lookout.bridge}${lookout.vlan === 0 ? '' : ` VLAN ${lookout.vlan}`}`;
  if (because !== null)
    return item(
      { word: 'no', tone: 'quiet', name: 'where', text: `${where} would not learn it: ${because}` },
      options,
    );
  const listening =
    ports.length === 0 ? 'no port is attached' : `${count(ports.length, 'port')} would see it`;
  const tone = ports.length === 0 ? 'bad' : 'good';
  return [
    ...item(
      { word: ports.length === 0 ? 'wrong' : 'ok', tone, name: 'where', text: `${where}: ${listening}` },
      options,
    ),
    ...(deaf.length === 0
      ? []
      : item(
          { word: 'wrong', tone: 'bad', name: 'ports', text: `not attached: ${deaf.join(', ')}` },
          options,
        )),
    ...renderExcluded(lookout, options),
    ...renderSilent(lookout, options),
  ];
}

function renderExcluded({ excluded }: Lookout, options: RenderOptions): string[] {
  if (excluded.length === 0) return [];
  const text = `left out by "ports", so no host behind them is learned: ${excluded.join(', ')}`;
  return item({ word: 'note', tone: 'notable', name: 'ports', text }, options);
}

function renderSilent({ silent }: Lookout, options: RenderOptions): string[] {
  if (silent.length === 0) return [];
  const named = silent.slice(0, MOST_SILENT).map(({ mac, port }) => `${mac} on ${port}`);
  const more = silent.length > MOST_SILENT ? `, and ${silent.length - MOST_SILENT} more` : '';
  const text = `forwarded, address not known yet: ${named.join(', ')}${more}`;
  return item({ word: 'note', tone: 'notable', name: 'silent', text }, options);
}

interface Item {
  readonly word: string;
  readonly tone: Tone;
  readonly name: string;
  readonly text: string;
}

function headline(text: string, tone: Tone, { color, width }: RenderOptions): string[] {
  return wrap(printable(text), width - 2).map((line, i) =>
    paint(`${i === 0 ? '' : '  '}${line}`, tone, color),
  );
}

/** A step: its status, its name, and beside them the finding in as many lines as it takes. */
function item({ word, tone, name, text }: Item, { color, width }: RenderOptions): string[] {
  const indent = 2 + STATUS_WIDTH + 2 + NAME_WIDTH + 2;
  const head = `  ${paint(word, tone, color)}${' '.repeat(STATUS_WIDTH - word.length)}  ${name.padEnd(NAME_WIDTH)}  `;
  return wrap(printable(text), width - indent).map((line, i) => (i === 0 ? head : ' '.repeat(indent)) + line);
}

// What a step of the story finds. The steps choose a row of wording.ts; a row says how it is and in which words.

import type { StoryStep } from './report.ts';

/** A step of the story without its name. */
export type Finding = Omit<StoryStep, 'id'>;

/** Makes a text of the data that a step hands over. */
type Text<Data> = (data: Data) => string;

/** A row of a table of wording. */
type Row<Data> = (data: Data) => Finding;

/** `fix` stands where the step holds now and will not for long. */
export function ok<Data = void>(found: Text<Data>, fix: Text<Data> | null = null): Row<Data> {
  return (data) => ({ status: 'ok', found: found(data), remedy: fix?.(data) ?? null });
}

/** `fix` is null where the next run fixes it. */
export function wrong<Data = void>(found: Text<Data>, fix: Text<Data> | null): Row<Data> {
  return (data) => ({ status: 'wrong', found: found(data), remedy: fix?.(data) ?? null });
}

export function unknown<Data = void>(found: Text<Data>, fix: Text<Data> | null = null): Row<Data> {
  return (data) => ({ status: 'unknown', found: found(data), remedy: fix?.(data) ?? null });
}

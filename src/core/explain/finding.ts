// The finding of a step. A step chooses a row of wording.ts; the row has the status and the words.

import type { StoryStep } from './report.ts';

/** A step of the story, without its name. */
export type Finding = Omit<StoryStep, 'id'>;

/** Turns the data of a step into text. */
type Text<Data> = (data: Data) => string;

/** A row of a table of wording. */
type Row<Data> = (data: Data) => Finding;

/** `fix` is for a step that is right now but will not stay so. */
export function ok<Data = void>(found: Text<Data>, fix: Text<Data> | null = null): Row<Data> {
  return (data) => ({ status: 'ok', found: found(data), remedy: fix?.(data) ?? null });
}

/** `fix` is null when the next run fixes it. */
export function wrong<Data = void>(found: Text<Data>, fix: Text<Data> | null): Row<Data> {
  return (data) => ({ status: 'wrong', found: found(data), remedy: fix?.(data) ?? null });
}

export function unknown<Data = void>(found: Text<Data>, fix: Text<Data> | null = null): Row<Data> {
  return (data) => ({ status: 'unknown', found: found(data), remedy: fix?.(data) ?? null });
}

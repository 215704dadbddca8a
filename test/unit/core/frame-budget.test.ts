// What one run sends, and what it leaves to the next.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitByBudget } from '../../../src/core/frame-budget.ts';

const split = (...frames: number[]): { now: readonly number[]; later: readonly number[] } =>
  splitByBudget(frames, (count) => count);

test('a run sends 4096 frames for at most 256 items', () => {
  assert.deepEqual(split(4000, 96, 1), { now: [4000, 96], later: [1] });
  const { now, later } = split(...Array.from({ length: 300 }, () => 2));
  assert.deepEqual([now.length, later.length], [256, 44]);
});

test('one that needs too many frames lets smaller ones pass', () => {
  assert.deepEqual(split(4000, 500, 96), { now: [4000, 96], later: [500] });
});

test('the first always goes, so none waits for ever', () => {
  assert.deepEqual(split(5000, 5000), { now: [5000], later: [5000] });
});

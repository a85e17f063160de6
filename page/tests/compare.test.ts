import { expect, test } from 'vitest';
import { apart, drawingOrder, type Comparison } from '../src/compare/comparison';
import { rangeOf, type Line } from '../src/compare/lines';

const comparison = (values: (number | null)[], tiers: number[][] = []): Comparison => ({
  metric: 'accuracy', unit: '%', better: 'higher', samples: 144, basis: 'samples', scale: 'linear',
  note: '', advice: '', command: '', pairs: [], tiers, differing: [], same: '',
  groups: values.map((value, i) => ({ label: `run ${i}`, runs: [`${i}`], value, lo: value, hi: value, text: '' })),
});
const line = (values: number[], isLog = true): Line => ({
  label: 'a', member: 0, isNamed: true, isAlone: true, t: Float64Array.from(values.keys()), values: Float64Array.from(values),
  end: { t: values.length - 1, value: values.at(-1)! }, gaps: [], isLog, isKept: () => true,
});
const quantity = { key: 'loss', title: 'Train loss', percent: false };

test.each([
  [[10, 10], 17, [1.5, 18.5]],
  [[10, 100], 17, [10, 100]],
  [[0, 0, 0], 20, [0, 20, 40]],
  [[100, 100, 99], 20, [80, 100, 60]],
])('labels at %j are %d apart', (wanted, distance, places) => {
  apart(wanted, distance, 0, 100).forEach((place, i) => expect(place).toBeCloseTo(places[i], 1));
});

test('with too many labels they share the room', () => {
  const places = apart(Array.from({ length: 6 }, () => 50), 17, 0, 50);
  const sorted = [...places].sort((a, b) => a - b);
  expect(sorted[0]).toBeGreaterThanOrEqual(-0.01);
  expect(sorted[5]).toBeLessThanOrEqual(50.01);
  for (let i = 1; i < 6; i++) expect(sorted[i] - sorted[i - 1]).toBeCloseTo(10, 1);
});

test('groups that tie lie together', () => {
  expect(drawingOrder(comparison([0.9, 0.5, 0.91], [[0, 2], [1]]))).toEqual([0, 2, 1]);
  expect(drawingOrder(comparison([0.9, 0.5]))).toEqual([0, 1]);
});

test('a share has an axis from below its worst end to 100 %', () => {
  const share = { key: 'metric', title: 'Accuracy', percent: true };
  expect(rangeOf([line([0.1, 0.97])], share, comparison([0.97]))).toEqual({ log: false, lo: 0.9, hi: 1 });
  expect(rangeOf([line([0.1, 0.118])], share, comparison([0.118]))).toEqual({ log: false, lo: 0, hi: 1 });
});

test('losses are logarithmic where all are positive, and what is no number does not set the axis', () => {
  const none = comparison([]);
  expect(rangeOf([line([1, 0.01, NaN, Infinity])], quantity, none)).toMatchObject({ log: true, lo: 0.01 / 1.15 });
  expect(rangeOf([line([1, 0.01]), line([-1, 2], false)], quantity, none).log).toBe(false);
  expect(rangeOf([line([1, 1e-30])], quantity, none).lo).toBeCloseTo(1e-5 / 1.15, 9);
  expect(rangeOf([], quantity, none)).toEqual({ log: false, lo: 0, hi: 1 });
});

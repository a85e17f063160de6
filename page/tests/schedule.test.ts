import { describe, expect, it } from 'vitest';
import { schedule } from '../src/play/schedule';

// Made by Python: [parse(text).bind(T, 1, base=0.1)(t) for t in (1, 2, 5, 10, 20, 39, 40, 41)].
import truth from './schedules.json';

const STEPS = [1, 2, 5, 10, 20, 39, 40, 41];

describe.each(truth as [string, number, number[]][])('%s over %i steps', (text, T, factors) => {
  it('is what Python says', () => {
    const factor = schedule(text, T, 0.1);
    STEPS.forEach((t, i) => expect(Math.abs(factor(t) - factors[i])).toBeLessThan(1e-12));
  });
});

it.each([
  ['warmup(5%) >>>> cosine', 13],
  ['cosine >> linear', 10],
  ['cosin', 0],
  ['warmup', 0],
  ['0.5', 0],
  ['plateau(0.5)', 0],
  ['cosine(flor=1)', 7],
  ['warmup(5%', 9],
  ['constructor', 0],
  ['custom(f)', 0],
  ['multistep([5, 6)', 15],
  ['multistep([5, 0])', 14],
  ['one_cycle(anneal=cosine)', 17],
  ['cosine([5])', 7],
  ['', 0],
])('%s: the mistake is at character %i', (text, position) => {
  expect(() => schedule(text, 40)).toThrow(expect.objectContaining({ position }));
});

it('a least rate needs the learning rate', () => {
  expect(() => schedule('warmup(5) >> cosine(min_lr=0.1)', 40)).toThrow(expect.objectContaining({ position: 13 }));
});

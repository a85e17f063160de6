import { expect, it } from 'vitest';
import { mover, type Program } from '../src/program';

const momentum: Program = {
  slots: [{ name: 'v', start: 0, per: 'weight' }],
  hypers: { lr: 0.1, beta: 0.9 },
  member: [],
  weight: [['p1', 'mul', 'beta', 'v'], ['p2', 'add', 'p1', 'g'], ['p3', 'mul', 'lr', 'p2'], ['p4', 'sub', 'w', 'p3']],
  outputs: ['p4', 'p2'],
  report: null,
};

it('moves each weight by its own slots', () => {
  const w = Float64Array.of(1, -2);
  const rule = mover(momentum, w);
  let [a, b, va, vb] = [1, -2, 0, 0];
  for (let t = 1; t <= 5; t++) {
    const g = Float64Array.of(a, 3 * b);
    [va, vb] = [0.5 * va + a, 0.5 * vb + 3 * b];
    [a, b] = [a - 0.1 * va, b - 0.1 * vb];
    rule.step(w, g, { lr: 0.1, beta: 0.5 });
    expect([...w]).toEqual([a, b]);
  }
  expect([...rule.slot('v')!]).toEqual([va, vb]);
});

it('counts steps, keeps member slots, starts a slot at the weights and reports another point', () => {
  const averaged: Program = {
    slots: [{ name: 'z', start: 'w', per: 'weight' }, { name: 'n', start: 2, per: 'member' }],
    hypers: { lr: 1 },
    member: [['m1', 'mul', 'n', 't']],
    weight: [['p1', 'sub', 'w', 'g'], ['p2', 'add', 'z', 'p1']],
    outputs: ['p1', 'p2', 'm1'],
    report: { member: [['r1', 'add', 'n', 1]], weight: [['r2', 'div', 'z', 'r1']], output: 'r2' },
  };
  const w = Float64Array.of(1, 10);
  const rule = mover(averaged, w);
  rule.step(w, Float64Array.of(1, 1), { lr: 1 });
  rule.step(w, Float64Array.of(1, 1), { lr: 1 });
  expect([...w]).toEqual([-1, 8]);
  expect([...rule.slot('z')!]).toEqual([1 + 0 - 1, 10 + 9 + 8]);
  expect([...rule.slot('n')!]).toEqual([4, 4]);
  expect([...rule.reported(w)]).toEqual([0 / 5, 27 / 5]);
});

it.each([
  [['p1', 'steal', 'w'], /no operation 'steal'/],
  [['p1', 'constructor', 'w'], /no operation 'constructor'/],
  [['p1', 'neg', 'window'], /made of 'window'/],
])('refuses %j', (op, words) => {
  expect(() => mover({ ...momentum, weight: [op as Program['weight'][0]], outputs: ['p1', 'v'] }, new Float64Array(1))).toThrow(words);
});

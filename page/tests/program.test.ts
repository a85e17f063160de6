import { expect, it } from 'vitest';
import { mover, type Program } from '../src/play/program';

const momentum: Program = {
  name: 'momentum',
  hypers: { lr: 0.1, beta: 0.9 },
  slots: [{ name: 'v', start: 0, each: 'weight' }],
  once: [],
  body: [
    { op: 'mul', args: ['beta', 'v'], to: '1' },
    { op: 'add', args: ['1', 'g'], to: '2' },
    { op: 'mul', args: ['lr', '2'], to: '3' },
    { op: 'sub', args: ['w', '3'], to: '4' },
  ],
  out: { w: '4', v: '2' },
  reported: null,
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
    name: 'averaged',
    hypers: { lr: 1 },
    slots: [
      { name: 'z', start: 'w', each: 'weight' },
      { name: 'n', start: 2, each: 'member' },
      { name: 'best', start: 'Infinity', each: 'weight' },
    ],
    once: [{ op: 'mul', args: ['n', 't'], to: '1' }],
    body: [
      { op: 'sub', args: ['w', 'g'], to: '2' },
      { op: 'add', args: ['z', '2'], to: '3' },
      { op: 'minimum', args: ['best', 'g'], to: '4' },
    ],
    out: { w: '2', z: '3', n: '1', best: '4' },
    reported: {
      once: [{ op: 'add', args: ['n', 1], to: '1' }],
      body: [{ op: 'div', args: ['z', '1'], to: '2' }],
      out: { w: '2' },
    },
  };
  const w = Float64Array.of(1, 10);
  const rule = mover(averaged, w);
  rule.step(w, Float64Array.of(1, 1), { lr: 1 });
  rule.step(w, Float64Array.of(1, 1), { lr: 1 });
  expect([...w]).toEqual([-1, 8]);
  expect([...rule.slot('z')!]).toEqual([1 + 0 - 1, 10 + 9 + 8]);
  expect([...rule.slot('n')!]).toEqual([4, 4]);
  expect([...rule.slot('best')!]).toEqual([1, 1]);
  expect([...rule.reported(w)]).toEqual([0 / 5, 27 / 5]);
});

it.each([
  [{ op: 'steal', args: ['w'], to: '1' }, /no operation 'steal'/],
  [{ op: 'constructor', args: ['w'], to: '1' }, /no operation 'constructor'/],
  [{ op: 'neg', args: ['window'], to: '1' }, /made of 'window'/],
])('refuses %j', (op, words) => {
  expect(() => mover({ ...momentum, body: [op], out: { w: '1', v: 'v' } }, new Float64Array(1))).toThrow(words);
});

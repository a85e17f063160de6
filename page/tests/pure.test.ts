import { describe, expect, it } from 'vitest';
import { matrix, project, unproject } from '../src/render/camera';
import { criticalPoints } from '../src/play/critical';
import { descend, normal } from '../src/play/descend';
import { terrain } from '../src/expression';
import { DIVERGED, fieldFrom, gaps, MISSING, refined, sample } from '../src/render/field';
import { actionOf, focusOf } from '../src/ui/keys';
import { count, decimal, linearTicks, logTicks, short, tickText } from '../src/ui/numbers';
import { linearScale, logScale } from '../src/render/scale';
import { eigenvalues, limit, zones } from '../src/play/stability';
import { headline, headlineAt, type Part } from '../src/play/headline';
import { indexAt, type Ending, type Track } from '../src/film/track';
import { withInterval } from '../src/ui/readings';
import { coloured } from '../src/ui/verdict';

const axis = (lo: number, hi: number, n: number) => ({ name: 'x', lo, hi, n, scale: 1 });

describe('numbers', () => {
  it.each([
    [0, '0'], [0.0016, '0.0016'], [412, '412'], [1002.4, '1,002'], [-0.83, '−0.83'], [1e-6, '10⁻⁶'], [3.2e-9, '3.2 × 10⁻⁹'], [NaN, '—'],
    [Infinity, '∞'],
  ])('short(%d) is %s', (v, text) => expect(short(v)).toBe(text));
  it.each([[2.2211, '2.22'], [0.00607, '0.00607'], [4.04e-7, '4.0 × 10⁻⁷'], [1234, '1,234'], [-Infinity, '−∞']])(
    'decimal(%d) is %s', (v, text) => expect(decimal(v)).toBe(text));
  it('counts', () => expect(count(1500000)).toBe('1,500,000'));
  it('puts ticks on round numbers', () => {
    expect(linearTicks(-1, 1, 5)).toEqual([-1, -0.5, 0, 0.5, 1]);
    expect(linearTicks(0, 2400, 6)).toEqual([0, 500, 1000, 1500, 2000]);
    expect(logTicks(1e-8, 2e3, 6).map(v => tickText(v, true))).toEqual(['10⁻⁸', '10⁻⁶', '10⁻⁴', '0.01', '1', '100']);
    expect(logTicks(0.25, 12, 6)).toEqual([0.3, 1, 3, 10]);
  });
  it('says intervals', () => {
    expect(withInterval({ name: '', text: '', value: 412, lo: 406, hi: 418 })).toBe('412 ± 6');
    expect(withInterval({ name: '', text: '', value: 2250, lo: 1900, hi: 2700 })).toBe('1,900 – 2,700');
  });
});

describe('the headline of a play', () => {
  const track = (name: string, loss: number, ending: Ending): Track => ({
    id: name, name, rule: name, hyper: {}, schedule: 'constant', mathml: '', last: 0, events: [], curves: {}, verdict: null, eigenvalues: [],
    metrics: {}, result: [], attempts: [], guarded: null,
    path: { t: Float64Array.of(0), loss: Float64Array.of(loss), on: {} }, ending,
  });
  const moving: Ending = { kind: 'moving', step: 9 };
  const said = (parts: Part[], tracks: Track[]) =>
    parts.map(part => (typeof part === 'string' ? part : tracks[part.member].name)).join('');
  it.each([
    [[track('A', 1e-9, { kind: 'reached', step: 1317 }), track('B', 0.161, moving)], 0, 'A reaches the minimum in 1,317 steps; B is still 0.16 above it.'],
    [[track('A', 0, { kind: 'reached', step: 9 }), track('B', 0, { kind: 'reached', step: 5 }), track('C', 0, { kind: 'reached', step: 5 })], 0,
      'B and C reach the minimum in 5 steps, A in 9.'],
    [[track('A', 4.3e4, moving), track('B', 3e-7, moving), track('C', 2, moving)], 0,
      'B is still 10⁻⁷ above the lowest point, C 2, A 43,000.'],
    [[track('A', 7, moving), track('B', 7 + 1e-15, moving), track('C', 7, moving)], 7, 'A, B and C all end at the lowest point.'],
    [[track('A', 7, moving), track('B', 7, moving)], 3, 'A and B are both still 4 above the lowest point.'],
    [[track('A', 2, moving), track('B', -9, moving), track('C', -8, moving)], -4,
      'A is still 6 above the lowest point; B and C are lower than the whole surface shown.'],
    [[track('A', NaN, { kind: 'undefined', step: 3 }), track('B', 1e30, { kind: 'diverged', step: 5 })], 0,
      'A leaves the function’s domain at step 3; B diverges at step 5.'],
    [[1, 2, 3].map(step => track('ABC'[step - 1], 1e30, { kind: 'diverged', step })), 0, 'A, B and C all diverge.'],
  ])('%#', (tracks, least, text) => expect(said(headline(tracks as Track[], least as number), tracks as Track[])).toBe(text));
  it('tells no end before it', () => {
    const tracks = [track('A', 0, { kind: 'reached', step: 7 }), track('B', 1e9, { kind: 'diverged', step: 4 }), track('C', 2, moving)];
    expect(said(headlineAt(tracks, 3), tracks)).toBe('A, B and C descend.');
    expect(said(headlineAt(tracks, 5), tracks)).toBe('B diverges at step 4.');
    expect(said(headlineAt(tracks, 8), tracks)).toBe('A reaches the minimum in 7 steps; B diverges at step 4.');
  });
});

it('gaps of a terrain are said', () => {
  const field = (loss: number[]) => fieldFrom(axis(0, 1, 2), axis(0, 1, 2), Float64Array.from(loss), null, 'linear');
  expect(gaps(field([1, 2, NaN, Infinity]))).toBe('The function is undefined on 25 % of this domain.');
  expect(gaps(field([1, 2, 3, Infinity]))).toBe('');
});

it('numbers without an end are said', () => {
  expect(withInterval({ name: 'B', text: '', value: null, lo: 300, hi: null })).toBe('300 – ∞');
});

it('a headline wears colours', () => {
  expect(coloured('Adam beats gradient descent', [['Gradient descent', 'red'], ['Adam', 'blue']])).toEqual([
    { text: 'Adam', colour: 'blue' }, { text: ' beats ' }, { text: 'gradient descent', colour: 'red' },
  ]);
});

it('unproject undoes project', () => {
  const m = matrix({ azimuth: 0.7, elevation: 0.6, distance: 13, shift: [0.15, -0.1] }, 1.3);
  const p = new Float64Array(3);
  for (const point of [[0.2, -0.4, 0.3], [-1, 1, 0], [0, 0, 0.7]] as const) {
    project(m, 900, 700, ...point, p);
    unproject(m, 900, 700, p[0], p[1], p[2]).forEach((v, i) => expect(v).toBeCloseTo(point[i], 9));
  }
});

describe('scales', () => {
  it.each([linearScale(-3, 5), logScale(0.2, 2500)])('height and loss are inverse', scale => {
    for (const h of [0, 0.1, 0.5, 1]) expect(scale.height(scale.loss(h))).toBeCloseTo(h, 9);
    expect(scale.ticks[0].at).toBeGreaterThanOrEqual(0);
    expect(scale.ticks.at(-1)!.at).toBeLessThanOrEqual(1);
  });
});

describe('fields', () => {
  const n = 26;
  const loss = Float64Array.from({ length: n * n }, (_, k) => Math.sin(k % n) + Math.floor(k / n) / n);
  it('are finer and pass through their vertices', () => {
    const coarse = fieldFrom(axis(-1, 1, n), axis(-1, 1, n), loss, null, 'linear');
    const fine = refined(coarse);
    const factor = (fine.x.n - 1) / (n - 1);
    expect(factor).toBe(4);
    for (let j = 0; j < n; j++) for (let i = 0; i < n; i++) {
      expect(fine.height[j * factor * fine.x.n + i * factor]).toBeCloseTo(coarse.height[j * n + i], 5);
    }
    expect(sample(coarse, coarse.height, -1, -1)).toBe(coarse.height[0]);
  });
  it('keep what is missing or diverged as such, and fade contours that the error does not support', () => {
    const broken = loss.slice();
    [broken[0], broken[n * n - 1]] = [NaN, Infinity];
    const error = new Float64Array(n * n).fill(1e-3);
    error[5] = 1;
    const coarse = fieldFrom(axis(-1, 1, n), axis(-1, 1, n), broken, error, 'linear');
    const fine = refined(coarse);
    expect([coarse.state[0], coarse.state[n * n - 1]]).toEqual([MISSING, DIVERGED]);
    expect([fine.state[0], fine.state.at(-1), fine.state[60]]).toEqual([MISSING, DIVERGED, 0]);
    expect([coarse.support[5], coarse.support[6]]).toEqual([0, 1]);
    expect([...fine.height].every(Number.isFinite)).toBe(true);
  });
});

describe('stability', () => {
  it('finds eigenvalues', () => expect(eigenvalues(2, 1, 2)).toEqual([1, 3]));
  const bowl = terrain('(x^2 + 50 y^2)/2');
  const body = [{ op: 'mul', args: ['lr', 'g'], to: '1' }, { op: 'sub', args: ['w', '1'], to: '2' }];
  const gradient = { name: 'gradient', hypers: { lr: 0.01 }, slots: [], once: [], body, out: { w: '2' }, reported: null };
  const course = { terrain: bowl, start: [-4, 0.9] as [number, number], steps: 300, noise: 0, target: 1e-4, bound: 1e6 };
  it.each([
    ['gradient_descent', {}, 2 / 50], ['momentum', { beta: 0.9 }, 3.8 / 50], ['nesterov', { beta: 0.9 }, 3.8 / 2.8 / 50], ['lion', {}, null],
  ])('knows the limit of %s', (rule, hyper, expected) => expect(limit(rule, hyper, bowl.jet(1, 1), null)).toEqual(expected));
  it('is where descents begin to diverge', () => {
    const ends = (lr: number) => descend({ program: gradient, hyper: { lr }, schedule: 'constant' }, course).ending.kind;
    expect([ends(0.039), ends(0.0401)]).toEqual(['reached', 'moving']);
    expect(ends(0.045)).toBe('diverged');
    const tried = zones({ program: gradient, hyper: { lr: 0.03 }, schedule: 'constant' }, course, 0.03, 0);
    expect(tried.right).toBeLessThan(0.03);
    expect(tried.tooLarge / 0.04).toBeCloseTo(1, 0);
    expect(tried.beyond).toBe('diverges');
  });
  it('noise is standard normal and repeats', () => {
    const draw = () => { const random = normal(7); return Array.from({ length: 4000 }, random); };
    const values = draw();
    expect(values).toEqual(draw());
    expect(values.reduce((a, b) => a + b, 0) / 4000).toBeCloseTo(0, 1);
    expect(values.reduce((a, b) => a + b * b, 0) / 4000).toBeCloseTo(1, 1);
  });
  it('a descent ends where the function has no value', () => {
    const cliff = { ...course, terrain: terrain('sqrt(x) + y^2'), start: [0.5, 0.1] as [number, number], target: null };
    expect(descend({ program: gradient, hyper: { lr: 0.1 }, schedule: 'constant' }, cliff).ending.kind).toBe('undefined');
  });
});

it('finds every critical point of Himmelblau', () => {
  const marks = criticalPoints(terrain('(x² + y − 11)² + (x + y² − 7)²'), axis(-5, 5, 121), axis(-5, 5, 121));
  expect(marks.map(mark => mark.kind).sort()).toEqual([...Array(1).fill('maximum'), ...Array(4).fill('minimum'), ...Array(4).fill('saddle')]);
  expect(marks.some(({ x, y }) => Math.hypot(x - 3, y - 2) < 1e-9)).toBe(true);
});

it('calls a degenerate point nothing', () => {
  expect(criticalPoints(terrain('x^3 - 3x y^2'), axis(-1.5, 1.5, 121), axis(-1.5, 1.5, 121))).toEqual([]);
});

it('finds the last step at most t', () => {
  const steps = Float64Array.of(0, 10, 10, 20);
  expect([-1, 0, 9, 10, 25].map(t => indexAt(steps, t))).toEqual([-1, 0, 0, 2, 3]);
});

describe('keys', () => {
  const press = (key: string, more = {}) => ({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...more });
  it.each([
    [' ', {}, { do: 'play' }], ['ArrowLeft', { shiftKey: true }, { do: 'step', by: -50 }], ['3', {}, { do: 'member', index: 2 }],
    ['c', {}, { do: 'map' }], ['?', { shiftKey: true }, { do: 'help' }], ['t', { ctrlKey: true }, null], ['q', {}, null],
    ['e', {}, { do: 'events' }], ['K', { shiftKey: true }, { do: 'kept' }], ['[', {}, { do: 'event', by: -1 }], [']', {}, { do: 'event', by: 1 }],
    ['Escape', {}, { do: 'close' }],
  ])('%s', (key, more, action) => expect(actionOf(press(key, more), 'none')).toEqual(action));
  it('yield to focused controls', () => {
    expect(actionOf(press(' '), 'control')).toBeNull();
    expect(actionOf(press('t'), 'control')).toEqual({ do: 'theme' });
    expect(actionOf(press('t'), 'text')).toBeNull();
    expect(focusOf(null)).toBe('none');
  });
});

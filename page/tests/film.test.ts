import { describe, expect, it } from 'vitest';
import { happenings, kindsOf, lineOf, linkOf, nowPlaying, summaryOf } from '../src/film/events';
import { isKept, keptOnly, keptSteps } from '../src/film/kept';
import type { Track } from '../src/film/track';
import { wayOf, type Way } from '../src/film/way';
import { gapsOf } from '../src/render/chart';
import { rangeOf, type Line } from '../src/render/range';
import { laneOf } from '../src/ui/lane';
import { metricText, percent, twoDigits, wilson } from '../src/ui/numbers';
import { measuredAt, rowAt } from '../src/ui/result';
import { ticksOf } from '../src/ui/timeline';
import { coloured, placeIn, sentenceAt } from '../src/ui/verdict';

const series = (t: number[], values: number[], log = false) => {
  const v = Float64Array.from(values);
  return { t: Float64Array.from(t), lo: v, hi: v, mid: v, log };
};

/** Step, place and state of each point. */
const pointsOf = ({ t, x, state }: Way): number[][] => [...t].map((step, k) => [step, x[k], state[k]]);

/** A run of 60 steps whose steps 21 to 30 were undone. */
const track = (given: Partial<Track> = {}): Track => ({
  id: 'run', name: 'digits', rule: 'adam', hyper: {}, schedule: '', mathml: '', last: 60, verdict: null, ending: null, eigenvalues: [],
  events: [
    { t: 25, kind: 'lower', text: 'lr × 0.25' },
    { t: 30, kind: 'rewind', to: 20, text: 'went back', done: 'rewound to step 20 (step 20 as taken); lr × 0.125', seen: 'loss rising', after: 'fell', step: 30 },
    { t: 60, kind: 'end', text: 'finished' },
  ],
  path: {
    t: Float64Array.of(0, 20, 28, 45, 60), loss: new Float64Array(5),
    on: { plane: { x: Float64Array.of(0, 1, 2, 3, 4), y: new Float64Array(5), off: new Float64Array(5) } },
  },
  curves: {
    loss: series([1, 10, 20, 25, 31, 60], [3, 2, 1, 9, 1, 0.5]), held_out: series([0, 30, 60], [2, 1, 0.5]),
    metric: series([0, 30, 60], [0.1, 0.9, 140 / 144]),
  },
  metrics: { metric: { name: 'accuracy', unit: '%', better: 'higher', samples: 144 } },
  result: [
    { label: 'Validation accuracy', value: '97.2 %', detail: '93 – 99 %, 140 of 144' }, { label: 'Test accuracy', value: '97.8 %', detail: '' },
    { label: 'Train loss', value: '0.50', detail: 'validation 0.50' },
  ],
  attempts: [{ from: 0, to: 20, kept: true }, { from: 20, to: 30, kept: false }, { from: 30, to: 60, kept: true }],
  guarded: true,
  ...given,
});

describe('kept steps', () => {
  const { attempts } = track();
  it.each([[0, 0], [20, 20], [25, 20], [30, 20], [31, 21], [60, 50], [70, 60]])('of %d taken are %d', (t, kept) => expect(keptSteps(attempts, t)).toBe(kept));
  it('are all where none was undone', () => expect([keptSteps([], 7), isKept([], 7)]).toEqual([7, true]));
  it('alone make a track without attempts', () => {
    const alone = keptOnly(track());
    expect([alone.last, alone.attempts]).toEqual([50, []]);
    expect([...alone.curves.loss.t]).toEqual([1, 10, 20, 21, 50]);
    expect([...alone.path.t]).toEqual([0, 20, 35, 50]);
    expect(alone.events.map(({ t, to, done }) => [t, to, done])).toEqual([
      [20, undefined, undefined], [20, undefined, 'rewound to step 20; lr × 0.125'], [50, undefined, undefined],
    ]);
    const whole = track({ attempts: [] });
    expect(keptOnly(whole)).toBe(whole);
  });
});

it('a way stays where an attempt ended and jumps back', () => {
  expect(pointsOf(wayOf(track(), 'plane')!)).toEqual([[0, 0, 0], [20, 1, 0], [28, 2, 1], [30, 2, 1], [30, 1, 2], [45, 3, 0], [60, 4, 0]]);
  expect(wayOf(track(), 'other')).toBeNull();
});

describe('events', () => {
  const all = happenings([track()]);
  it('have a line, and the last one plays', () => {
    expect(all.map(({ event }) => lineOf(event))).toEqual(['lr × 0.25', 'back to step 20; lr × 0.125', 'finished']);
    expect([0, 25, 29, 60].map(t => nowPlaying(all, t))).toEqual([-1, 0, 0, 2]);
  });
  it('are counted in words', () => {
    expect(summaryOf(track())).toBe('One rewind, 10 of 60 steps undone. Steps are counted as taken.');
    expect(kindsOf(all).map(({ name, count }) => `${name} ${count}`)).toEqual(['Rate lowered 1', 'Rewinds 1']);
    expect(linkOf(all, [track()])).toBe('All 3 events');
    const quiet = track({ events: [{ t: 60, kind: 'end', text: 'finished' }], attempts: [] });
    expect([summaryOf(quiet), linkOf(happenings([quiet]), [quiet])]).toEqual(['The guard never stepped in.', '1 event; the guard never stepped in']);
    expect(linkOf([], [track({ events: [], guarded: false })])).toBe('No events; the guard was off');
  });
});

describe('the lane', () => {
  const shape = laneOf(track(), 60, 600, 54, true);
  it('drops where steps were undone, and an arrow leads back', () => {
    expect([shape.kept.length, shape.undone.length, shape.arcs.length, shape.tips.length]).toEqual([2, 1, 1, 1]);
    expect(shape.marks.filter(({ kind }) => kind === 'cross')).toEqual([{ kind: 'cross', x: 300, y: shape.y + shape.drop }]);
    expect([shape.isBelow(25), shape.isBelow(31)]).toEqual([true, false]);
  });
  it('says the best measurement where it has room', () => {
    const best = (t: number) => laneOf(track({ attempts: [], events: [{ t, kind: 'best', text: 'best validation accuracy, 98.6 %' }] }), 60, 600, 54, true).words;
    expect(best(30)).toMatchObject({ text: 'best accuracy 98.6 %', anchor: 'start' });
    expect(best(55)!.anchor).toBe('end');
    expect(best(60)).toBeNull();
  });
});

describe('before the end', () => {
  it('a row has what was measured', () => {
    const [metric, test, train] = track().result;
    expect(rowAt(track(), metric, 45)).toEqual({ label: 'Validation accuracy', value: '90.0 %', detail: 'at step 30' });
    expect(rowAt(track(), test, 45)).toEqual({ label: 'Test accuracy', value: '—', detail: 'at the end' });
    expect(rowAt(track(), train, 45)).toEqual({ label: 'Train loss', value: '1.0', detail: 'validation 1.0' });
    expect(measuredAt(series([5], [1]), 4)).toBeNull();
  });
  it('the sentence tells no end', () => {
    expect(sentenceAt(track(), 45, 60, 'red').map(({ text }) => text).join('')).toBe('90.0 % validation accuracy at step 30 of 60');
    expect(sentenceAt(track({ curves: {} }), 45, 60, 'red')[0].text).toBe('Step 45 of 60');
    expect(sentenceAt(track({ result: [] }), 45, 60, 'red')[0].text).toBe('Step 45 of 60');
  });
  it('the headline’s metric wears the colour', () => {
    const headline = '97.2 % validation accuracy, and training has converged.';
    expect(coloured(headline, placeIn(headline, 'red', track()))[0]).toEqual({ text: '97.2 % validation accuracy', colour: 'red' });
    expect(placeIn('At a saddle: so it is.', 'red', track({ result: [] }))).toEqual([['a saddle', 'red']]);
  });
});

describe('axes', () => {
  const line = (values: number[], log = false): Line => ({ series: series(values.map((_, i) => i), values, log), last: 9, member: 0, colour: '', kind: 'line' });
  it('come from what is finite', () => {
    expect(rangeOf([line([1, 2, NaN, Infinity])], 3)).toEqual({ log: false, lo: 0.96, hi: 2.04 });
    expect(rangeOf([line([NaN, NaN])], 3)).toBeNull();
    expect(rangeOf([line([NaN, 1e-9, 1e9], true)], 12)!.log).toBe(true);
  });
  it('of shares begin at the later ones', () => {
    const values = [0.1, 0.5, 0.9, 0.92, 0.91, 0.93, 0.94, 0.95, 0.95, 0.96, 0.96];
    const range = rangeOf([line(values)], 3, true, [0.93, 0.99])!;
    expect(range.lo).toBeGreaterThan(0.85);
    expect(range.hi).toBeLessThanOrEqual(1);
    expect(rangeOf([line([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])], 3, true)!.lo).toBeLessThan(0.2);
  });
  it('gaps are where nothing is a number', () => {
    expect(gapsOf(series([1, 2, 3, 4, 5], [1, NaN, NaN, 2, NaN]), 9)).toEqual([[2, 4], [5, 9]]);
  });
  it('of steps have room', () => {
    expect(ticksOf(1086, 640)).toEqual([0, 200, 400, 600, 800, 1086]);
    expect(ticksOf(420, 120)).toEqual([0, 420]);
  });
});

describe('numbers have no more digits than hold', () => {
  it.each([[0.0158, '0.016'], [1234.5, '1,200'], [3.46e-9, '3.5 × 10⁻⁹'], [1e9, '1.0 × 10⁹'], [0, '0'], [9.96, '10']])('%d is %s', (v, text) => expect(twoDigits(v)).toBe(text));
  it('percent and intervals', () => {
    expect([percent(0.97222), percent(1)]).toEqual(['97.2 %', '100 %']);
    expect(wilson(140 / 144, 144).map(v => v.toFixed(3))).toEqual(['0.931', '0.989']);
    expect(metricText({ name: 'rmse', unit: '', better: 'lower', samples: null }, NaN)).toBe('NaN');
  });
});

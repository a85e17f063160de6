import { expect, it } from 'vitest';
import { numbers, type Col, type Film } from '../src/film/film';
import { fold, type Frame } from '../src/film/fold';

const col = (values: number[]): Col => ({
  dtype: 'f4', shape: [values.length], data: Buffer.from(new Float32Array(values).buffer).toString('base64'),
});
const EVENT = { t: 3, kind: 'clip', text: 'clipped' };
const film = (t: number[], events: unknown[], live: boolean) => ({
  format: 1, kind: 'run', live, steps: t.length, surfaces: {},
  members: { a: { events, curves: { loss: { t: col(t), log: true } } } },
}) as unknown as Film;

const FRAMES: Frame[] = [
  { event: 'set', path: [], value: film([1, 2], [], true) },
  { event: 'append', path: ['members', 'a', 'curves', 'loss', 't'], value: col([3]) },
  { event: 'append', path: ['members', 'a', 'events'], value: [EVENT] },
  { event: 'append', path: ['members', 'a', 'curves', 'loss', 't'], value: col([4, 5, Infinity]) },
  { event: 'set', path: ['steps'], value: 6 },
  { event: 'set', path: ['live'], value: false },
];

it('a film is its frames folded', () => {
  const folded = FRAMES.reduce<Film | null>(fold, null);
  expect(folded).toEqual(film([1, 2, 3, 4, 5, Infinity], [EVENT], false));
  expect([...numbers(folded!.members.a.curves.loss.t)]).toEqual([1, 2, 3, 4, 5, Infinity]);
});

it('does not change the film it is given, and keeps what a frame does not touch', () => {
  const first = fold(null, FRAMES[0]);
  const copy = structuredClone(first);
  const second = fold(first, FRAMES[1]);
  expect(first).toEqual(copy);
  expect(second.surfaces).toBe(first.surfaces);
});

it('begins anew with a frame that sets everything', () => {
  const folded = [...FRAMES, FRAMES[0]].reduce<Film | null>(fold, null);
  expect(folded).toEqual(film([1, 2], [], true));
});

it('refuses to append a number to a number', () => {
  expect(() => fold(film([1], [], true), { event: 'append', path: ['steps'], value: 1 })).toThrow(/two lists or two columns/);
});

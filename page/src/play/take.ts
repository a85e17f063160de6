/// What a play film shows: descents of its members on its terrain, made anew whenever something is changed.
import { criticalPoints } from './critical';
import { descend, type Course, type Descent, type Racer } from './descend';
import { terrain, type Terrain } from '../expression';
import { fieldFrom, onAxis, type Field } from '../render/field';
import { numbers, type Film, type Mark, type Surface } from '../film/film';
import { powerOfTen } from '../ui/numbers';
import type { Program } from './program';
import type { Series, Track } from '../film/track';

/** What can be changed in a play film. */
export interface Setup {
  source: string;
  start: [number, number];
  noise: number;
  members: Record<string, { hyper: Record<string, number | string>; schedule: string }>;
}

export interface Ground {
  terrain: Terrain;
  field: Field;
  marks: Mark[];
  /** The least loss that is known, at a minimum or on the grid. */
  least: number;
}

export interface Take {
  tracks: Track[];
  descents: Descent[];
  racers: Racer[];
  course: Course;
}

/** Vertices along each axis of a terrain that the page computes. */
const FINE = 121;
/** So near the least minimum's loss a member has arrived. */
const ARRIVED = 1e-4;
/** Losses beyond so many times the surface's range are divergence. */
const FAR = 1e3;

/** The surface on which a play film descends, by name; null where the page cannot. */
export function playable(film: Film): string | null {
  if (film.kind !== 'play' || !Object.values(film.members).every(member => member.js)) return null;
  return Object.keys(film.surfaces).find(name => film.surfaces[name].source !== null) ?? null;
}

export function setupOf(film: Film, name: string): Setup {
  const members = Object.entries(film.members);
  const on = members[0][1].path.on[name];
  return {
    source: film.surfaces[name].source!,
    start: [numbers(on.x)[0], numbers(on.y)[0]],
    noise: 0,
    members: Object.fromEntries(members.map(([id, { hyper, schedule }]) => [id, { hyper, schedule }])),
  };
}

/** The terrain of a source over a surface's axes; throws a TextError where the source cannot be read. */
export function groundOf(surface: Surface, source: string): Ground {
  const land = terrain(source);
  const [x, y] = [surface.x, surface.y].map(axis => ({ ...axis, n: FINE }));
  const at = (axis: typeof x, i: number) => axis.lo + ((axis.hi - axis.lo) * i) / (FINE - 1);
  const loss = Float64Array.from({ length: FINE * FINE }, (_, k) => land.value(at(x, k % FINE), at(y, Math.floor(k / FINE))));
  const field = fieldFrom(x, y, loss, null, source === surface.source ? surface.height : heightFor(loss));
  const marks = source === surface.source && surface.marks.length ? surface.marks : criticalPoints(land, x, y);
  const minima = marks.filter(mark => mark.kind === 'minimum').map(mark => mark.loss);
  return { terrain: land, field, marks, least: Math.min(...minima, ...loss.filter(Number.isFinite)) };
}

/** A function whose values crowd near its least one is drawn on a logarithmic scale. */
function heightFor(loss: Float64Array): Surface['height'] {
  const sorted = loss.filter(Number.isFinite).sort();
  const [lo, middle, hi] = [sorted[0], sorted[sorted.length >> 1], sorted[sorted.length - 1]];
  return middle - lo < 0.12 * (hi - lo) ? 'log' : 'linear';
}

/** Share of the domain between a start and its edge, at least, and the quantile of the values that a start has. */
const EDGE = 0.05;
const HIGH = 0.8;

/** Where to start on another function: at the same place if it has a value there, else at a high one, as Python chooses it. */
export function startOn({ terrain, field: { x, y, loss } }: Ground, start: [number, number]): [number, number] {
  if (Number.isFinite(terrain.value(...start))) return start;
  const place = (k: number): [number, number] => [onAxis(x, (2 * (k % x.n)) / (x.n - 1) - 1), onAxis(y, (2 * Math.floor(k / x.n)) / (y.n - 1) - 1)];
  const isInner = (k: number) => [(k % x.n) / (x.n - 1), Math.floor(k / x.n) / (y.n - 1)].every(share => share >= EDGE && share <= 1 - EDGE);
  const finite = [...loss.keys()].filter(k => Number.isFinite(loss[k]));
  const inner = finite.filter(isInner);
  const candidates = (inner.length ? inner : finite).sort((a, b) => loss[a] - loss[b] || a - b);
  return candidates.length ? place(candidates[Math.ceil(HIGH * (candidates.length - 1))]) : start;
}

export function courseOf(film: Film, setup: Setup, ground: Ground): Course {
  const finite = ground.field.loss.filter(Number.isFinite);
  const top = finite.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const minima = ground.marks.filter(mark => mark.kind === 'minimum').map(mark => mark.loss);
  const target = minima.length ? Math.min(...minima) + ARRIVED : null;
  return { terrain: ground.terrain, start: setup.start, steps: film.steps, noise: setup.noise, target, bound: FAR * Math.max(top, 1) };
}

/** All members' descents; throws a TextError where a schedule cannot be read. */
export function take(film: Film, surface: string, setup: Setup, ground: Ground): Take {
  const course = courseOf(film, setup, ground);
  const ids = Object.keys(film.members);
  const racers = ids.map(id => ({ program: JSON.parse(film.members[id].js) as Program, ...setup.members[id] }));
  const descents = racers.map(racer => descend(racer, course));
  const tracks = ids.map((id, i) => trackOf(id, film, surface, setup, descents[i]));
  return { tracks, descents, racers, course };
}

function trackOf(id: string, film: Film, surface: string, setup: Setup, descent: Descent): Track {
  const { name, rule, mathml } = film.members[id];
  const t = Float64Array.from({ length: descent.n + 1 }, (_, k) => k);
  const line = (y: Float64Array, log: boolean): Series => ({ t, lo: y, hi: y, mid: y, log });
  const { kind, step } = descent.ending;
  const words = {
    reached: `within ${powerOfTen(-4)} of the minimum`, diverged: 'diverged', moving: '',
    undefined: 'reached a point where the function is undefined',
  }[kind];
  return {
    id, name, rule, mathml, ...setup.members[id], last: descent.n, verdict: null, ending: descent.ending, eigenvalues: [], metrics: {}, result: [], attempts: [], guarded: null,
    path: { t, loss: descent.loss, on: { [surface]: { x: descent.x, y: descent.y, off: new Float64Array(t.length) } } },
    curves: { loss: line(descent.loss, true), lr: line(descent.rate, true), grad_norm: line(descent.gradNorm, true) },
    events: words ? [{ t: step, kind: kind === 'reached' ? 'target' : kind, text: words }] : [],
  };
}

/// A member of a film, decoded: what every view reads, whether it was recorded or is computed in the page.
import {
  numbers, type Attempt, type Curve, type Film, type FilmEvent, type Member, type Metric, type Result, type Verdict,
} from './film';

/** Where the points of a path lie on a surface, in units of its axes; `off` is the distance from its plane. */
export interface OnSurface {
  x: Float64Array;
  y: Float64Array;
  off: Float64Array;
}

export interface Series {
  t: Float64Array;
  lo: Float64Array;
  hi: Float64Array;
  mid: Float64Array;
  log: boolean;
}

/** How a descent in the page ended; `step` is when. */
export interface Ending {
  kind: 'reached' | 'diverged' | 'undefined' | 'moving';
  step: number;
}

export interface Track {
  id: string;
  name: string;
  rule: string;
  hyper: Record<string, number | string>;
  schedule: string;
  mathml: string;
  /** Its last step. */
  last: number;
  path: { t: Float64Array; loss: Float64Array; on: Record<string, OnSurface> };
  curves: Record<string, Series>;
  events: FilmEvent[];
  verdict: Verdict | null;
  ending: Ending | null;
  /** Of the Hessian where it ended; none where they are not known. */
  eigenvalues: number[];
  /** Of the curve `metric`, and of the other metrics' curves. */
  metrics: Record<string, Metric>;
  result: Result[];
  /** Spans of kept and undone steps; none where all were kept. */
  attempts: Attempt[];
  /** Whether a guard watched over the run; null where nobody said. */
  guarded: boolean | null;
}

/** Members of a live film that have not changed stay decoded. */
const decoded = new WeakMap<Member, Track>();

/** The members of a film. */
export function tracksOf(film: Film): Track[] {
  return Object.entries(film.members).map(([id, member]) => {
    const track = decoded.get(member) ?? trackOf(id, member);
    decoded.set(member, track);
    return track;
  });
}

function trackOf(id: string, member: Member): Track {
  const { name, rule, hyper, schedule, mathml, events, verdict, metric, eigenvalues = [], result = [], attempts = [], guard = null } = member;
  const metrics = { ...(metric && { metric }), ...member.metrics };
  const path = { t: numbers(member.path.t), loss: numbers(member.path.loss), on: mapped(member.path.on, onSurface) };
  const curves = mapped(member.curves, series);
  const ends = [path.t, ...Object.values(curves).map(c => c.t)].map(t => t.at(-1) ?? 0);
  return {
    id, name, rule, hyper, schedule, mathml, events, verdict, eigenvalues, metrics, result, attempts, guarded: guard, path, curves,
    last: Math.max(...ends), ending: null,
  };
}

const onSurface = (on: Member['path']['on'][string]): OnSurface => ({ x: numbers(on.x), y: numbers(on.y), off: numbers(on.off) });

const series = (curve: Curve): Series => ({
  t: numbers(curve.t), lo: numbers(curve.lo), hi: numbers(curve.hi), mid: numbers(curve.mid), log: curve.log,
});

const mapped = <A, B>(record: Record<string, A>, change: (a: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));

/** The last index whose step is at most t; −1 before the first. Steps do not fall. */
export function indexAt(steps: Float64Array, t: number): number {
  let [lo, hi] = [0, steps.length];
  while (lo < hi) {
    const middle = (lo + hi) >> 1;
    if (steps[middle] <= t) lo = middle + 1;
    else hi = middle;
  }
  return lo - 1;
}

/** A curve's middle value at a step; NaN where it has none. */
export function valueAt(series: Series | undefined, t: number): number {
  return series?.mid[Math.max(0, indexAt(series.t, t))] ?? NaN;
}

/** The loss at a step: from the curve where there is one, else from the path. */
export function lossAt(track: Track, t: number): number {
  if (track.curves.loss?.t.length) return valueAt(track.curves.loss, t);
  return track.path.loss[Math.max(0, indexAt(track.path.t, t))] ?? NaN;
}

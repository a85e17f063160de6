/// A track without the steps that were undone: its time is then the number of steps that were kept.
import type { Attempt } from './film';
import type { OnSurface, Series, Track } from './track';

/** The number of kept steps among the first t steps taken. */
export function keptSteps(attempts: Attempt[], t: number): number {
  if (!attempts.length) return t;
  const ahead = Math.max(0, t - attempts.at(-1)!.to); // of a run that goes on
  return attempts.reduce((sum, { from, to, kept }) => sum + (kept ? Math.max(0, Math.min(t, to) - from) : 0), ahead);
}

/** Whether a step was kept. */
export function isKept(attempts: Attempt[], t: number): boolean {
  const span = attempts.find(({ from, to }) => t <= to && (t > from || from === 0));
  return !span || span.kept;
}

/** The numbers of steps taken at which the run went back, and where it went back to. */
export function rewinds(track: Track): { t: number; to: number }[] {
  return track.events.flatMap(({ t, to }) => (to === undefined ? [] : [{ t, to }]));
}

/** What an event says of steps taken. */
const AS_TAKEN = / \(step [\d,]+ as taken\)/;

/** The track of the kept steps alone. */
export function keptOnly(track: Track): Track {
  const { attempts } = track;
  if (!attempts.length) return track;
  const at = (t: number) => keptSteps(attempts, t);
  const chosen = (steps: Float64Array) => [...steps.keys()].filter(k => isKept(attempts, steps[k]));
  const pick = (values: Float64Array, rows: number[]) => Float64Array.from(rows, k => values[k]);
  const points = chosen(track.path.t);
  return {
    ...track,
    attempts: [],
    last: at(track.last),
    path: {
      t: pick(track.path.t, points).map(at),
      loss: pick(track.path.loss, points),
      on: mapped(track.path.on, (on): OnSurface => ({ x: pick(on.x, points), y: pick(on.y, points), off: pick(on.off, points) })),
    },
    curves: mapped(track.curves, (series): Series => {
      const rows = chosen(series.t);
      const { t, lo, hi, mid } = series;
      return { ...series, t: pick(t, rows).map(at), lo: pick(lo, rows), hi: pick(hi, rows), mid: pick(mid, rows) };
    }),
    events: track.events.map(({ to: _, step: __, done, ...event }) => ({ ...event, t: at(event.t), ...(done && { done: done.replace(AS_TAKEN, '') }) })),
  };
}

const mapped = <A, B>(record: Record<string, A>, change: (a: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));

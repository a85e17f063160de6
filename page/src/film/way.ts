/// The way of a track over a surface: kept points, undone ones, and jumps back to where the run went on.
import type { Track } from './track';

export const KEPT = 0;
export const UNDONE = 1;
export const JUMP = 2;

/** Points of a path; `state` says how each was reached from the one before it. */
export interface Way {
  t: Float64Array;
  x: Float64Array;
  y: Float64Array;
  off: Float64Array;
  state: Uint8Array;
}

/** For each rewind, the number of steps taken then and at the step that it went back to. */
export function jumpsOf({ attempts, events }: Track): { t: number; to: number }[] {
  let begin = 0;
  return attempts.flatMap(({ from, to, kept }, i) => {
    if (kept) return [];
    if (i === 0 || attempts[i - 1].kept) begin = from;
    return [{ t: to, to: events.find(event => event.t === to && event.to !== undefined)?.to ?? begin }];
  });
}

const ways = new WeakMap<Track, Map<string, Way | null>>();

/** The way of a track; null where it has none on this surface. */
export function wayOf(track: Track, surface: string): Way | null {
  const known = ways.get(track) ?? new Map<string, Way | null>();
  ways.set(track, known);
  if (!known.has(surface)) known.set(surface, made(track, surface));
  return known.get(surface)!;
}

function made(track: Track, surface: string): Way | null {
  const on = track.path.on[surface];
  if (!on?.x.length) return null;
  const { t } = track.path;
  const jumps = jumpsOf(track);
  if (!jumps.length) return { t, ...on, state: new Uint8Array(t.length) };
  const rows: { k: number; t: number; state: number }[] = [];
  let next = 0;
  for (let k = 0; k < t.length; k++) {
    for (; next < jumps.length; next++) {
      const jump = jumps[next];
      const restored = t[k] === jump.t && !(t[k + 1] === jump.t); // the last point of that step is where the run went on
      if (!(t[k] > jump.t || restored)) break;
      if (rows.length) rows.push({ k: rows.at(-1)!.k, t: jump.t, state: UNDONE }); // it stays where it was until it goes back
      let landing = k;
      if (!restored) for (landing = k - 1; landing > 0 && t[landing] > jump.to; ) landing--;
      rows.push({ k: Math.max(0, landing), t: jump.t, state: JUMP });
      if (restored) {
        next++;
        break;
      }
    }
    const last = rows.at(-1);
    if (last?.state === JUMP && last.k === k && last.t === t[k]) continue;
    const span = track.attempts.find(({ from, to }) => t[k] > from && t[k] <= to);
    rows.push({ k, t: t[k], state: span && !span.kept ? UNDONE : KEPT });
  }
  const pick = (values: Float64Array) => Float64Array.from(rows, row => values[row.k]);
  return { t: Float64Array.from(rows, row => row.t), x: pick(on.x), y: pick(on.y), off: pick(on.off), state: Uint8Array.from(rows, row => row.state) };
}

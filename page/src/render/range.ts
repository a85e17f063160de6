/// The axis of values of a chart.
import type { Series } from '../film/track';

export interface Line {
  series: Series;
  /** Its last step: there its head stays. */
  last: number;
  member: number;
  colour: string;
  /** A line with the band of its single values; a line alone; or points that were measured now and then, with a thin line. */
  kind: 'train' | 'line' | 'validation';
}

export interface Range {
  log: boolean;
  lo: number;
  hi: number;
}

/** Room above and below the values, as a share of their range. */
const ROOM = 0.04;
/** Share of the steps whose shares may lie below the axis, from where the line enters. */
const EARLY = 0.2;
/** How much of a percent axis early values may take before they are cut. */
const MOST_EARLY = 0.6;

/** The axis of some curves: logarithmic where they ask for it and nothing is below zero. Null where no value is finite. */
export function rangeOf(lines: Line[], decades: number, percent = false, interval: [number, number] | null = null): Range | null {
  let [lo, hi, positive] = [Infinity, -Infinity, Infinity];
  const take = (v: number) => {
    if (!Number.isFinite(v)) return;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
    if (v > 0 && v < positive) positive = v;
  };
  for (const { series } of lines) for (const values of [series.lo, series.hi, series.mid]) values.forEach(take);
  interval?.forEach(take);
  if (!(hi >= lo)) return null;
  if (percent) return shares(lines, lo, hi, interval);
  const log = lo >= 0 && hi > 0 && lines.some(line => line.series.log);
  if (log) return { log, lo: Math.max(positive, hi / 10 ** decades) / 1.15, hi: hi * 1.15 };
  const room = (hi - lo || Math.abs(hi) || 1) * ROOM;
  return { log, lo: lo >= 0 && lo < hi * 0.5 ? 0 : lo - room, hi: hi + room };
}

/** An axis of shares: where the first values would take most of it, it begins at the later ones. */
function shares(lines: Line[], lo: number, hi: number, interval: [number, number] | null): Range {
  const later = lines.flatMap(({ series: { t, mid } }) => [...mid].filter((v, k) => Number.isFinite(v) && t[k] >= EARLY * (t.at(-1) ?? 0)));
  const least = Math.min(...later, ...(interval ?? []));
  const from = Number.isFinite(least) && hi - least < (1 - MOST_EARLY) * (hi - lo) ? least : lo;
  const room = Math.max(hi - from, 1e-3) * 0.06;
  return { log: false, lo: Math.max(0, from - room), hi: Math.min(1, hi + room) > hi ? Math.min(1, hi + room) : hi + 1e-3 };
}

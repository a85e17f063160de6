/// What the chart draws: the quantities that are there, a line for each run, and the axis they share.
import type { Comparison } from './comparison';
import type { Attempt, Member } from '../film/film';
import type { Series, Track } from '../film/track';

/** A quantity with a tab. */
export interface Quantity {
  key: string;
  title: string;
  percent: boolean;
}

export interface Line {
  label: string;
  /** The place of its group, which has a colour and a mark. */
  member: number;
  /** Whether its end has the name: one line of each group has. */
  isNamed: boolean;
  /** Whether its group has no other line. */
  isAlone: boolean;
  t: Float64Array;
  values: Float64Array;
  end: { t: number; value: number } | null;
  /** Steps at which a value is no number. */
  gaps: number[];
  isLog: boolean;
  isKept(t: number): boolean;
}

export interface Range {
  log: boolean;
  lo: number;
  hi: number;
}

const DECADES = 5;

/** The quantities that a run has: its metric by its own name, losses, gradient and learning rate. */
export function names(tracks: Track[], members: Record<string, Member>): Quantity[] {
  const metrics = tracks.flatMap(({ id }) => members[id].metric ?? []);
  const metric = new Set(metrics.map(({ name }) => name)).size === 1 ? metrics[0].name : '';
  const title = metric.charAt(0).toUpperCase() + metric.slice(1);
  const all: Quantity[] = [
    { key: 'metric', title, percent: metrics.every(({ unit }) => unit === '%') },
    { key: 'held_out', title: 'Validation loss', percent: false },
    { key: 'loss', title: 'Train loss', percent: false },
    { key: 'grad_norm', title: 'Gradient', percent: false },
    { key: 'lr', title: 'Learning rate', percent: false },
  ];
  const isThere = (key: string) => tracks.some(({ curves }) => curves[key]?.t.length);
  return all.filter(({ key }) => isThere(key) && (key !== 'metric' || metric !== ''));
}

/** The lines of a quantity, one for each run that has it. */
export function lines({ key }: Quantity, { groups }: Comparison, tracks: Track[], members: Record<string, Member>): Line[] {
  return groups.flatMap(({ label, runs }, member) => {
    const own = tracks.filter(track => runs.includes(track.id) && track.curves[key]?.t.length);
    return own.map((track, i) => lineOf(label, member, i === 0, own.length === 1, track.curves[key], members[track.id].attempts));
  });
}

function lineOf(label: string, member: number, isNamed: boolean, isAlone: boolean, series: Series, attempts: Attempt[] = []): Line {
  const { t, mid: values, log: isLog } = series;
  let last = t.length - 1;
  while (last >= 0 && !Number.isFinite(values[last])) last--;
  const gaps: number[] = [];
  for (let i = 0; i < t.length; i++) if (!Number.isFinite(values[i]) && (i === 0 || Number.isFinite(values[i - 1]))) gaps.push(t[i]);
  const undone = attempts.filter(attempt => !attempt.kept);
  return {
    label, member, isNamed, isAlone, t, values, isLog, gaps,
    end: last < 0 ? null : { t: t[last], value: values[last] },
    isKept: step => !undone.some(({ from, to }) => step > from && step <= to),
  };
}

/** The axis: for shares from below the worst end to 100 %, logarithmic where all lines are; a spike does not set it. */
export function rangeOf(all: Line[], { key, percent }: Quantity, { groups }: Comparison): Range {
  const finite = all.flatMap(line => [...line.values].filter(Number.isFinite)).sort((a, b) => a - b);
  if (!finite.length) return { log: false, lo: 0, hi: 1 };
  if (percent) {
    const ends = groups.flatMap(({ value, lo }) => [lo ?? value ?? 1]);
    const worst = Math.min(1, ...ends, ...all.flatMap(({ end }) => (end ? [end.value] : [])));
    return { log: false, lo: Math.max(0, Math.floor((worst - 0.05) * 10 - 1e-9) / 10), hi: Math.max(1, finite[finite.length - 1]) };
  }
  const [least, most] = [finite[0], finite[finite.length - 1]];
  if (key !== 'lr' && all.every(line => line.isLog) && least > 0) {
    return { log: true, lo: Math.max(least, most / 10 ** DECADES) / 1.15, hi: most * 1.15 };
  }
  const room = (most - least || Math.abs(most) || 1) * 0.04;
  return { log: false, lo: least >= 0 && least < most / 2 ? 0 : least - room, hi: most + room };
}

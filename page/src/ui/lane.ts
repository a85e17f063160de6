/// The shape of a member's lane on the timeline: kept steps on the rail, undone ones below it, arrows back.
import type { FilmEvent } from '../film/film';
import type { Track } from '../film/track';

export interface LaneShape {
  /** Height of the rail. */
  y: number;
  /** How far undone steps lie below it, and whether a step is one of them. */
  drop: number;
  isBelow(t: number): boolean;
  /** SVG paths. */
  kept: string[];
  undone: string[];
  arcs: string[];
  tips: string[];
  marks: { kind: string; x: number; y: number }[];
  words: { x: number; y: number; text: string; anchor: 'start' | 'end' } | null;
}

/** How far undone steps lie below the rail. */
const DROP = 12;
/** Height of an arrow's bow above the rail, at most. */
const BOW = 30;
/** A mark that would cover the one before is left out, unless it is more than a dot. */
const NEAR = 5;
const LETTER = 6;
/** Events that are drawn otherwise: rewinds as crosses and arrows, the end by the rail's own. */
const otherwise = ({ kind, to }: FilmEvent): boolean => kind === 'end' || (kind === 'rewind' && to !== undefined);

const fixed = (v: number): string => v.toFixed(1);

/** The lane of a track whose film has so many steps, in a box of this size. */
export function laneOf(track: Track, steps: number, width: number, height: number, big: boolean): LaneShape {
  const y = big ? Math.round(height * 0.55) : height / 2;
  const drop = big ? Math.min(DROP, height - y - 3) : 0;
  const x = (t: number) => (t / Math.max(1, steps)) * width;
  const spans = track.attempts.length ? track.attempts : [{ from: 0, to: track.last, kept: true }];
  const kept = spans.filter(span => span.kept).map(({ from, to }) => `M${fixed(x(from))} ${y}H${fixed(x(to))}`);
  const undone = spans.filter(span => !span.kept).map(({ from, to }, i, all) => {
    const [a, b] = [x(from), x(to)];
    const begins = !drop || all[i - 1]?.to === from;
    const way = Math.min(8, (b - a) / 2);
    return begins ? `M${fixed(a)} ${y + drop}H${fixed(b)}` : `M${fixed(a)} ${y}C${fixed(a + way * 0.75)} ${y} ${fixed(a)} ${y + drop} ${fixed(a + way)} ${y + drop}H${fixed(b)}`;
  });
  const back = track.events.filter(event => event.to !== undefined);
  const arcs = big ? back.map(({ t, to }) => {
    const [a, b] = [x(t), x(to!)];
    const bow = y - Math.min(BOW, y - 2, 14 + (a - b) / 6) * 1.3;
    return `M${fixed(a)} ${y + drop - 5}C${fixed(a - 4)} ${fixed(bow)} ${fixed(b + 4)} ${fixed(bow)} ${fixed(b)} ${y - 8}`;
  }) : [];
  const tips = big ? [...new Set(back.map(({ to }) => x(to!)))].map(at => `M${fixed(at)} ${y - 3}l-3.6-7h7.2z`) : [];
  const isBelow = (t: number) => track.attempts.some(({ from, to, kept }) => !kept && t > from && t <= to);
  const crosses = back.map(({ t }) => ({ kind: 'cross', x: x(t), y: isBelow(t) ? y + drop : y }));
  let before = -Infinity;
  const dots = track.events.filter(event => !otherwise(event)).flatMap(({ kind, t }) => {
    const mark = { kind, x: x(t), y: isBelow(t) ? y + drop : y };
    const plain = !['target', 'best', 'stop', 'diverged', 'undefined'].includes(kind);
    if (plain && mark.x - before < NEAR) return [];
    if (plain) before = mark.x;
    return [mark];
  });
  return { y, drop, isBelow, kept, undone, arcs, tips, marks: [...dots, ...crosses], words: big && !back.length ? wordsOf(track, x, y, width) : null };
}

/** What stands beside the flag of the best measurement. */
function wordsOf(track: Track, x: (t: number) => number, y: number, width: number): LaneShape['words'] {
  const best = track.events.find(({ kind }) => kind === 'best');
  if (!best) return null;
  const at = x(best.t);
  if (at > width - 14) return null; // the head stands there
  const text = best.text.replace('validation ', '').replace(',', '');
  const size = text.length * LETTER;
  if (at + 14 + size < width - 12) return { x: at + 13, y: y - 6, text, anchor: 'start' };
  return at - 10 - size > 0 ? { x: at - 7, y: y - 6, text, anchor: 'end' } : null;
}

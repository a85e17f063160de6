/// What a play film's headline says: who arrived, who is still on the way, who fell out. Ties are not ordered.
import type { Track } from '../film/track';
import { count, powerOfTen, short } from '../ui/numbers';

/** Members' names wear their colours: they stand as a member's index; the initial one begins the sentence. */
export type Part = string | { member: number; initial: boolean };

/** Share of a loss by which rounding may change it: losses nearer than that are the same. */
const ROUNDING = 1e-12;

/** One thing that is said of several members, by the verb's two forms; `rest` follows the verb. */
interface Saying {
  members: number[];
  one: string;
  several: string;
  rest: string;
}

/** The headline at the end of a film. */
export function headline(tracks: Track[], least: number): Part[] {
  const by = (kind: string) => tracks.map((_, i) => i).filter(i => tracks[i].ending!.kind === kind);
  const moving = by('moving');
  const size = Math.max(Math.abs(least), ...tracks.map(track => Math.abs(track.path.loss[0])).filter(Number.isFinite));
  const above = (i: number) => {
    const gap = tracks[i].path.loss[tracks[i].last] - least;
    return Math.abs(gap) <= ROUNDING * size ? 0 : gap;
  };
  const reached = arrivals(tracks, by('reached'));
  const lowest = moving.filter(i => above(i) === 0);
  const it = reached.length || lowest.length ? 'it' : 'the lowest point';
  const gaps = grouped(moving.filter(i => above(i) > 0).sort((a, b) => above(a) - above(b)), i => gapText(above(i)));
  const sayings: Saying[] = [
    ...reached,
    { members: lowest, one: 'ends', several: 'end', rest: ' at the lowest point' },
    ...gaps.map(([gap, members], k) => ({ members, one: k ? '' : 'is', several: k ? '' : 'are', rest: k ? ` ${gap}` : ` still ${gap} above ${it}` })),
    { members: moving.filter(i => above(i) < 0), one: 'is', several: 'are', rest: ' lower than the whole surface shown' },
    ...losses(tracks, by('undefined'), 'leaves the function’s domain', 'leave the function’s domain'),
    ...losses(tracks, by('diverged'), 'diverges', 'diverge'),
  ];
  return sentence(sayings, tracks.length);
}

/** The headline at a step before the end: only what has happened until then. */
export function headlineAt(tracks: Track[], t: number): Part[] {
  const over = (kind: string) => tracks.map((_, i) => i).filter(i => tracks[i].ending!.kind === kind && tracks[i].ending!.step <= t);
  const sayings = [
    ...arrivals(tracks, over('reached')),
    ...each(tracks, over('undefined'), 'leaves the function’s domain', 'leave the function’s domain'),
    ...each(tracks, over('diverged'), 'diverges', 'diverge'),
  ];
  if (sayings.length) return sentence(sayings, Infinity);
  const on = Object.values(tracks[0].path.on)[0];
  const from = on?.x.length ? ` from x ${short(on.x[0], 3)}, y ${short(on.y[0], 3)}` : '';
  return sentence([{ members: tracks.map((_, i) => i), one: 'descends', several: 'descend', rest: from }], Infinity);
}

/** Those that reached the minimum, the first ones first, those of one step together. */
function arrivals(tracks: Track[], members: number[]): Saying[] {
  const step = (i: number) => tracks[i].ending!.step;
  return grouped([...members].sort((a, b) => step(a) - step(b)), i => count(step(i))).map(([steps, group], k) =>
    k ? { members: group, one: '', several: '', rest: ` in ${steps}` }
      : { members: group, one: 'reaches', several: 'reach', rest: ` the minimum in ${steps} steps` });
}

/** What ended some members early: all in one where it ended all, else each with its step. */
function losses(tracks: Track[], members: number[], one: string, several: string): Saying[] {
  return members.length === tracks.length ? [{ members, one, several, rest: '' }] : each(tracks, members, one, several);
}

const each = (tracks: Track[], members: number[], one: string, several: string): Saying[] =>
  grouped(members, i => count(tracks[i].ending!.step)).map(([step, group], k) =>
    ({ members: group, one: k ? '' : one, several: k ? '' : several, rest: ` at step ${step}` }));

/** Members of equal keys together, in the order of their first one. */
function grouped(members: number[], key: (i: number) => string): [string, number[]][] {
  const groups = new Map<string, number[]>();
  for (const i of members) groups.set(key(i), [...(groups.get(key(i)) ?? []), i]);
  return [...groups];
}

const gapText = (gap: number): string => (gap < 1e-4 ? powerOfTen(Math.floor(Math.log10(gap))) : short(gap, 2));

/** Sayings one after another: a saying without a verb continues the one before it. */
function sentence(sayings: Saying[], total: number): Part[] {
  const out: Part[] = [];
  for (const { members, one, several, rest } of sayings) {
    if (!members.length) continue;
    const verb = members.length > 1 ? several : one;
    const all = members.length === total && members.length > 1 ? (members.length === 2 ? ' both' : ' all') : '';
    if (out.length) out.push(verb ? '; ' : ', ');
    members.forEach((member, k) => {
      if (k) out.push(k === members.length - 1 ? ' and ' : ', ');
      out.push({ member, initial: out.length === 0 });
    });
    const isA = verb === 'are' || verb === 'is'; // "are all", but "all diverge"
    out.push(`${verb && isA ? ` ${verb}${all}` : `${all}${verb && ` ${verb}`}`}${rest}`);
  }
  return [...out, '.'];
}

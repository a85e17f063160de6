/// What happened to the members of a film, in the order of steps, in words.
import type { FilmEvent } from './film';
import { keptSteps } from './kept';
import type { Track } from './track';

/** An event of a member. */
export interface Happening {
  member: number;
  track: Track;
  event: FilmEvent;
}

/** Kinds of events that a guard causes. */
const GUARD = new Set(['clip', 'skip', 'lower', 'rewind']);

const TITLES: Record<string, string> = {
  clip: 'Gradient clipped', skip: 'Step skipped', lower: 'Learning rate lowered', rewind: 'Went back', stop: 'Stopped', stage: 'Next stage',
  accept: 'New level accepted', aside: 'Guard stepped aside', note: 'Note',
  best: 'Best measurement', end: 'Finished', target: 'Target reached', diverged: 'Diverged', undefined: 'No value',
};
const FILTERS: Record<string, string> = {
  clip: 'Clipped', skip: 'Skipped', lower: 'Rate lowered', rewind: 'Rewinds', stop: 'Stops', stage: 'Stages',
  accept: 'New levels', aside: 'Stepped aside', note: 'Notes',
  target: 'Targets', diverged: 'Diverged',
};

/** All events. */
export function happenings(tracks: Track[]): Happening[] {
  return tracks
    .flatMap((track, member) => track.events.map(event => ({ track, member, event })))
    .sort((a, b) => a.event.t - b.event.t);
}

/** An event on one line. */
export function lineOf({ done, text, to }: FilmEvent): string {
  if (!done) return text;
  const [, ...details] = done.split('; ');
  return to === undefined ? done : [`back to step ${to.toLocaleString('en-US')}`, ...details].join('; ');
}

/** What an event is. */
export const titleOf = ({ kind }: FilmEvent): string => TITLES[kind] ?? kind[0].toUpperCase() + kind.slice(1).replaceAll('_', ' ');

/** Kinds that happen once in every run. */
const ONCE = new Set(['best', 'end']);

/** Kinds with their counts, in the order in which they first happened. */
export function kindsOf(all: Happening[]): { kind: string; name: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const { event } of all) if (!ONCE.has(event.kind)) counts.set(event.kind, (counts.get(event.kind) ?? 0) + 1);
  return [...counts].map(([kind, count]) => ({ kind, name: FILTERS[kind] ?? titleOf({ kind, t: 0, text: '' }), count }));
}

const NUMBERS = ['No', 'One', 'Two', 'Three', 'Four', 'Five', 'Six', 'Seven', 'Eight', 'Nine'];
const counted = (n: number, one: string): string => `${NUMBERS[n] ?? n.toLocaleString('en-US')} ${one}${n === 1 ? '' : 's'}`;

/** What a run's events amount to. */
export function summaryOf(track: Track): string {
  const rewinds = track.events.filter(({ kind }) => kind === 'rewind').length;
  const guards = track.events.filter(({ kind }) => GUARD.has(kind)).length;
  if (!guards) return track.guarded === false ? 'The guard was off.' : 'The guard never stepped in.';
  if (!rewinds || !track.attempts.length) return `The guard stepped in ${guards === 1 ? 'once' : `${guards.toLocaleString('en-US')} times`}.`;
  const taken = track.attempts.at(-1)!.to;
  const undone = taken - keptSteps(track.attempts, taken);
  return `${counted(rewinds, 'rewind')}, ${undone.toLocaleString('en-US')} of ${taken.toLocaleString('en-US')} steps undone. Steps are counted as taken.`;
}

/** What the link to all events says. */
export function linkOf(all: Happening[], tracks: Track[]): string {
  const guards = all.some(({ event }) => GUARD.has(event.kind));
  const events = all.length === 0 ? 'No events' : all.length === 1 ? '1 event' : `All ${all.length.toLocaleString('en-US')} events`;
  if (tracks.length > 1 || guards) return events;
  const guard = tracks[0].guarded;
  return guard === null ? events : `${all.length > 1 ? `${all.length} events` : events}; ${guard ? 'the guard never stepped in' : 'the guard was off'}`;
}

/** The index of the event that plays at a step: the last one up to it; −1 before the first. */
export function nowPlaying(all: Happening[], t: number): number {
  let now = -1;
  all.forEach(({ event }, i) => event.t <= t && (now = i));
  return now;
}

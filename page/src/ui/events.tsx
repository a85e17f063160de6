/// Events: up to three of them on a line each in the footer, and all of them in a sheet, with what was seen and done.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import './events.css';
import { happenings, kindsOf, lineOf, linkOf, nowPlaying, summaryOf, titleOf, type Happening } from '../film/events';
import { Digits } from './math';
import { count } from './numbers';
import { Sheet } from './sheet';
import type { Theme } from '../render/theme';
import type { Track } from '../film/track';

/** Lines in the footer; the timeline has the others. */
const LISTED = 3;
/** Cards that are drawn at once. */
const MOST = 400;

export interface EventsProps {
  tracks: Track[];
  t: number;
  theme: Theme;
  onSeek(t: number): void;
}

/** The events around the step; each is a button that goes there. */
export function EventLines({ tracks, t, theme, onSeek, onAll }: EventsProps & { onAll(): void }) {
  const all = useMemo(() => happenings(tracks), [tracks]);
  const passed = nowPlaying(all, t) + 1;
  const link = useMemo(() => linkOf(all, tracks), [all, tracks]);
  const from = Math.max(0, Math.min(all.length - LISTED, passed - LISTED + 1));
  return (
    <ul class="happenings" aria-label="Events">
      {all.slice(from, from + LISTED).map(({ track, member, event }) => (
        <li key={`${track.id} ${event.t} ${event.kind}`} class={event.t <= t ? 'event-line' : 'event-line ahead'} style={{ '--name': theme.names[member % 6] }}>
          <button onClick={() => onSeek(event.t)}>
            <b>{count(event.t)}</b>
            {tracks.length > 1 && <span class="who">{track.name} </span>}<Digits text={lineOf(event)} />
          </button>
        </li>
      ))}
      <li>{all.length ? <button class="all" onClick={onAll}>{link} ›</button> : link}</li>
    </ul>
  );
}

export interface EventSheetProps extends EventsProps {
  open: boolean;
  onClose(): void;
  /** Whether undone steps are folded away, and what changes that; null where none were undone. */
  folded: boolean | null;
  onFold(folded: boolean): void;
}

export function EventSheet({ tracks, t, theme, open, folded, onSeek, onClose, onFold }: EventSheetProps) {
  const [kind, filter] = useState('');
  const all = useMemo(() => happenings(tracks), [tracks]);
  const kinds = useMemo(() => kindsOf(all), [all]);
  const now = all[nowPlaying(all, t)];
  const shown = all.filter(({ event }) => !kind || event.kind === kind);
  return (
    <Sheet open={open} title="Events" name="happened" onClose={onClose}>
      <p class="lead">{tracks.length === 1 ? summaryOf(tracks[0]) : `${all.length ? count(all.length) : 'No'} events of ${tracks.length} runs.`}</p>
      {folded !== null && <Fold folded={folded} onFold={onFold} />}
      {kinds.length > 0 && all.length > 3 && (
        <div class="filters" role="group" aria-label="Kinds of events">
          <button aria-pressed={!kind} onClick={() => filter('')}>All {count(all.length)}</button>
          {kinds.map(({ kind: one, name, count: n }) => (
            <button key={one} aria-pressed={kind === one} onClick={() => filter(one)}>{name} {count(n)}</button>
          ))}
        </div>
      )}
      <ol class="cards">
        {shown.slice(0, MOST).map(happening => (
          <Card key={`${happening.track.id} ${happening.event.t} ${happening.event.kind}`} happening={happening} on={happening === now}
            alone={tracks.length === 1} theme={theme} onSeek={onSeek} />
        ))}
      </ol>
      {shown.length > MOST && <p class="lead">The first {count(MOST)} of {count(shown.length)}.</p>}
    </Sheet>
  );
}

interface CardProps {
  happening: Happening;
  on: boolean;
  alone: boolean;
  theme: Theme;
  onSeek(t: number): void;
}

function Card({ happening: { track, member, event }, on, alone, theme, onSeek }: CardProps) {
  const card = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (on) card.current!.scrollIntoView?.({ block: 'nearest' });
  }, [on]);
  const parts = [['saw', event.seen], ['did', event.done], ['after', event.after]].filter(([, text]) => text);
  return (
    <li class={on ? 'card on' : 'card'} ref={card} aria-current={on ? 'step' : undefined} style={{ '--name': theme.names[member % 6] }}>
      <button onClick={() => onSeek(event.t)} aria-label={`Go to step ${count(event.t)}`}>
        {count(event.t)}
        {event.step !== undefined && <small>step {count(event.step)} kept</small>}
      </button>
      <div>
        <h3>{!alone && <span class="who">{track.name}: </span>}{titleOf(event)}</h3>
        {parts.length ? (
          <dl>{parts.map(([name, text]) => [<dt key={name}>{name}</dt>, <dd key={`${name} text`}><Digits text={sentence(text!)} /></dd>])}</dl>
        ) : <p><Digits text={sentence(event.text)} /></p>}
      </div>
    </li>
  );
}

/** Words as a sentence; a quantity's symbol stays as it is. */
const sentence = (text: string): string => `${/^lr\b/.test(text) ? 'l' : text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;

/** Whether steps are shown as taken, undone ones included, or only those that were kept. */
export function Fold({ folded, onFold }: { folded: boolean; onFold(folded: boolean): void }) {
  return (
    <div class="choose" role="group" aria-label="Steps that are shown">
      <button aria-pressed={!folded} onClick={() => onFold(false)} title="All steps taken (K)">taken</button>
      <button aria-pressed={folded} onClick={() => onFold(true)} title="Only steps that were kept (K)">kept</button>
    </div>
  );
}

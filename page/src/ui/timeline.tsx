/// The footer: play, a lane for each member with its events, a scrubber over them, and the events in words.
import { Glyph } from './icons';
import { Digits } from './math';
import { count, decimal, linearTicks } from './numbers';
import type { Player } from './player';
import type { Theme } from '../render/theme';
import { lossAt, type Track } from '../film/track';

export interface TimelineProps {
  tracks: Track[];
  steps: number;
  player: Player;
  selected: number;
  theme: Theme;
  live: boolean;
}

/** Events in the list; the others are on the lanes. */
const LISTED = 3;
const LANES_PX = 54;

export function Timeline({ tracks, steps, player, selected, theme, live }: TimelineProps) {
  const { t, playing, speed } = player;
  const now = Math.floor(t);
  const share = (step: number) => `${(step / Math.max(1, steps)) * 100}%`;
  const losses = tracks.slice(0, 6).map(track => `${track.name} loss ${decimal(lossAt(track, now))}`).join('; ');
  return (
    <footer>
      <div class="transport">
        <button class="go" onClick={player.toggle} aria-label={playing ? 'Pause' : 'Play'}>
          <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
            <path d={playing ? 'M4.5 3h3v12h-3zM10.5 3h3v12h-3z' : 'M5 2.7v12.6L15.5 9Z'} fill="currentColor" />
          </svg>
        </button>
        <div class="clock">
          <b>{count(now)}</b>
          <span>{`of ${count(steps)} steps${live ? ', live' : ''}`}</span>
        </div>
        <button class="quiet speed" onClick={player.nextSpeed} aria-label={`Speed ${speed}×`}>{speed === 0.25 ? '¼' : speed}×</button>
      </div>
      <div class="lanes">
        {tracks.map((track, i) => (
          <Lane key={track.id} track={track} member={i} on={i === selected} big={tracks.length === 1}
            height={Math.min(18, LANES_PX / tracks.length)} t={t} steps={steps} theme={theme} />
        ))}
        <div class="axis" aria-hidden="true">
          {linearTicks(0, steps, 6).map(v => <span key={v} style={{ left: share(v), transform: `translateX(-${share(v)})` }}>{count(v)}</span>)}
        </div>
        <i class="head" style={{ transform: `translateX(${share(t)})` }}><b /></i>
        <input class="scrub" type="range" min={0} max={steps} step={1} value={now}
          onInput={e => player.seek(Number(e.currentTarget.value))}
          aria-label="Step" aria-valuetext={`step ${count(now)} of ${count(steps)}; ${losses}`} />
      </div>
      <Events tracks={tracks} t={t} theme={theme} onSeek={player.seek} />
    </footer>
  );
}

interface LaneProps {
  track: Track;
  member: number;
  on: boolean;
  big: boolean;
  height: number;
  t: number;
  steps: number;
  theme: Theme;
}

function Lane({ track, member, on, big, height, t, steps, theme }: LaneProps) {
  const colour = theme.members[member % 6];
  const share = (step: number) => `${(step / Math.max(1, steps)) * 100}%`;
  const now = Math.min(t, track.last) / Math.max(1, steps);
  const style = { '--c': colour, '--end': share(track.last), height: big ? undefined : `${height}px` };
  return (
    <div class={`lane${on ? ' on' : ''}${big ? ' big' : ''}`} style={style}>
      <i class="rail" />
      <i class="run" style={{ transform: `scaleX(${now})` }} />
      {track.events.map((event, k) => (
        <i key={k} class={`event ${event.kind}`} title={`${track.name}, step ${count(event.t)}: ${event.text}`}
          style={{ left: share(event.t), opacity: event.t <= t ? 1 : 0.35 }}>
          <EventMark kind={event.kind} />
        </i>
      ))}
      {track.events.filter(event => event.to !== undefined).map((event, k) => [
        <i key={`landing ${k}`} class="event landing" style={{ left: share(event.to!), opacity: event.t <= t ? 1 : 0.35 }}>
          <EventMark kind="landing" />
        </i>,
        <svg key={k} class="arc" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"
          style={{ left: share(event.to!), width: share(event.t - event.to!), opacity: event.t <= t ? 1 : 0.35 }}>
          <path d="M100 100C100 -30 0 -30 0 100" />
        </svg>,
      ])}
      <i class="at" style={{ transform: `translateX(${now * 100}%)` }}><Glyph member={member} colour={colour} /></i>
    </div>
  );
}

/** A flag where a target is reached, an arrowhead where a rewind lands, a cross for a clip, a dot for the others. */
function EventMark({ kind }: { kind: string }) {
  const shape = {
    target: <path d="M-3.5 6V-6L5-3-3.5 0" class="solid" />,
    clip: <path d="M-3.6-3.6 3.6 3.6M3.6-3.6-3.6 3.6" class="line" />,
    diverged: <path d="M-3.6-3.6 3.6 3.6M3.6-3.6-3.6 3.6" class="line bad" />,
    undefined: <path d="M-3.6-3.6 3.6 3.6M3.6-3.6-3.6 3.6" class="line bad" />,
    landing: <path d="M-4-2H4L0 5Z" class="solid" />,
    stop: <path d="M-3.5-3.5H3.5V3.5H-3.5Z" class="solid" />,
  }[kind] ?? <circle r="2.6" class="solid" />;
  return <svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{shape}</svg>;
}

interface EventsProps {
  tracks: Track[];
  t: number;
  theme: Theme;
  onSeek(t: number): void;
}

/** The events around the step in words; each is a button that goes there. */
function Events({ tracks, t, theme, onSeek }: EventsProps) {
  const all = tracks.flatMap((track, member) => track.events.map(event => ({ track, member, event })))
    .sort((a, b) => a.event.t - b.event.t);
  const passed = all.filter(({ event }) => event.t <= t).length;
  const from = Math.max(0, Math.min(all.length - LISTED, passed - LISTED + 1));
  const shown = all.slice(from, from + LISTED);
  return (
    <ul class="events" aria-label="Events">
      {shown.map(({ track, member, event }) => (
        <li key={`${track.id} ${event.t} ${event.kind}`} style={{ '--name': theme.names[member % 6] }}>
          <button class="link" onClick={() => onSeek(event.t)} title={event.text}>
            <b>{count(event.t)}</b>
            {tracks.length > 1 && <span class="who">{track.name}</span>} <Digits text={event.text} />
          </button>
        </li>
      ))}
      {all.length > LISTED && <li class="more">{count(all.length)} events</li>}
    </ul>
  );
}

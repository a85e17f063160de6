/// The footer: play, a lane for each member with its events, a scrubber over them, and the events in words.
import { useMemo } from 'preact/hooks';
import './timeline.css';
import { useSize } from '../render/canvas';
import { EventLines, Fold } from './events';
import { keptSteps } from '../film/kept';
import { Glyph } from './icons';
import { laneOf, type LaneShape } from './lane';
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
  /** Whether undone steps are folded away; null where none were undone. */
  folded: boolean | null;
  onFold(folded: boolean): void;
  onEvents(): void;
}

const LANES_PX = 54;
/** Ticks of the axis of steps are not nearer. */
const TICK_PX = 76;

export function Timeline({ tracks, steps, player, selected, theme, live, folded, onFold, onEvents }: TimelineProps) {
  const { t, playing, speed } = player;
  const [box, width] = useSize();
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
        <Clock track={tracks[selected]} now={now} steps={steps} live={live} />
        <div class="more">
          <button class="quiet speed" onClick={player.nextSpeed} aria-label={`Speed ${speed}×`}>{speed === 0.25 ? '¼' : speed}×</button>
          {folded !== null && <Fold folded={folded} onFold={onFold} />}
        </div>
      </div>
      <div class="lanes" ref={box}>
        {tracks.map((track, i) => (
          <Lane key={track.id} track={track} member={i} on={i === selected} big={tracks.length === 1}
            height={Math.min(18, LANES_PX / tracks.length)} t={t} steps={steps} theme={theme} />
        ))}
        <div class="axis" aria-hidden="true">
          {ticksOf(steps, width).map(v => <span key={v} style={{ left: share(v), transform: `translateX(-${share(v)})` }}>{count(v)}</span>)}
        </div>
        <i class="head" style={{ transform: `translateX(${share(t)})` }}><b /></i>
        <input class="scrub" type="range" min={0} max={steps} step={1} value={now}
          onInput={e => player.seek(Number(e.currentTarget.value))}
          aria-label="Step" aria-valuetext={`step ${count(now)} of ${count(steps)}; ${losses}`} />
      </div>
      <EventLines tracks={tracks} t={t} theme={theme} onSeek={player.seek} onAll={onEvents} />
    </footer>
  );
}

/** The step; where some were undone, the number that was kept, of how many taken. */
function Clock({ track, now, steps, live }: { track: Track; now: number; steps: number; live: boolean }) {
  if (!track.attempts.length) {
    return <div class="clock"><b>{count(now)}</b><span>{`of ${count(steps)} steps${live ? ', live' : ''}`}</span></div>;
  }
  return <div class="clock"><b>{count(keptSteps(track.attempts, now))}</b><span>{`kept, of ${count(now)} taken${live ? ', live' : ''}`}</span></div>;
}

/** The ends, and round numbers between them that have room. */
export function ticksOf(steps: number, width: number): number[] {
  const about = Math.max(1, Math.floor(width / TICK_PX) - 1);
  const near = (TICK_PX * 0.75 * steps) / Math.max(1, width);
  const between = width ? linearTicks(0, steps, about).filter(v => v >= near && v <= steps - near) : [];
  return [0, ...between, steps];
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
  const [box, width, tall] = useSize();
  const colour = theme.members[member % 6];
  const now = (Math.min(t, track.last) / Math.max(1, steps)) * width;
  const shape = useMemo(() => laneOf(track, steps, width, tall, big), [track, steps, width, tall, big]);
  const drawn = useMemo(() => <Drawing shape={shape} />, [shape]); // it does not change while the film plays
  const again = useMemo(() => <Drawing shape={shape} />, [shape]);
  return (
    <div class={`lane${on ? ' on' : ''}${big ? ' big' : ''}`} ref={box} style={{ '--c': colour, height: big ? undefined : `${height}px` }}>
      <svg class="ahead" aria-hidden="true">{drawn}</svg>
      <svg aria-hidden="true" style={{ clipPath: `inset(-60px ${width - now - 6}px -60px -20px)` }}>{again}</svg>
      <i class="at" style={{ transform: `translateX(${now}px)`, top: `${shape.y + (shape.isBelow(t) ? shape.drop : 0)}px` }}><Glyph member={member} colour={colour} /></i>
    </div>
  );
}

function Drawing({ shape }: { shape: LaneShape }) {
  return (
    <>
      {shape.kept.map(d => <path key={d} class="kept" d={d} />)}
      {shape.undone.map(d => <path key={d} class="undone" d={d} />)}
      {shape.arcs.map(d => <path key={d} class="arc" d={d} />)}
      {shape.tips.map(d => <path key={d} class="tip" d={d} />)}
      {shape.marks.map(({ kind, x, y }, i) => <Mark key={i} kind={kind} x={x} y={y} />)}
      {shape.words && <text x={shape.words.x} y={shape.words.y} text-anchor={shape.words.anchor}>{shape.words.text}</text>}
    </>
  );
}

/** A flag for a target and the best measurement, a cross for what went wrong, a square for a stop, a dot for the others. */
function Mark({ kind, x, y }: { kind: string; x: number; y: number }) {
  const at = `translate(${x} ${y})`;
  switch (kind) {
    case 'target': case 'best': return <path transform={at} class="flag" d="M0 0V-13L8-9.800 0-6.600" />;
    case 'cross': case 'diverged': case 'undefined': return <path transform={at} class="cross" d="M-3.500-3.500 3.500 3.500M3.500-3.500-3.500 3.500" />;
    case 'stop': return <path transform={at} class="solid" d="M-3.500-3.500H3.500V3.500H-3.500Z" />;
    default: return <circle transform={at} r="3" />;
  }
}

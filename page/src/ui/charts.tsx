/// The curves of a film: one tab for each quantity, the metric's by its own name, and what else there is behind "⋯".
import { useMemo, useRef, useState } from 'preact/hooks';
import { Curves } from './curves';
import { useMedia } from './document';
import { Formula } from './math';
import { hasDirections, Momentum } from './momentum';
import { short, wilson } from './numbers';
import type { Line } from '../render/range';
import { constants, type Theme } from '../render/theme';
import type { Track } from '../film/track';

export interface ChartsProps {
  tracks: Track[];
  t: number;
  steps: number;
  selected: number;
  theme: Theme;
  onSeek(t: number): void;
}

/** A quantity's tab: the key of its curve, or what else it shows. */
interface Tab {
  key: string;
  name: string;
  /** Whether it stands behind "⋯". */
  extra: boolean;
}

const { lossDecades, lrDecades } = constants.charts;
const NONE: never[] = [];
/** Windows in which fewer tabs have room. */
const SMALL = '(max-width: 419px)';

export function Charts({ tracks, t, steps, selected, theme, onSeek }: ChartsProps) {
  const [chosen, choose] = useState('loss');
  const track = tracks[selected];
  const small = useMedia(SMALL);
  const tabs = useMemo(() => tabsOf(tracks, track, small), [tracks, track, small]);
  const tab = tabs.find(({ key }) => key === chosen) ?? tabs[0];
  const { key } = tab;
  const upper = useMemo(() => linesOf(tracks, key, theme, selected), [tracks, key, theme, selected]);
  const lower = useMemo(() => linesOf(tracks, 'lr', theme, selected), [tracks, theme, selected]);
  const interval = useMemo(() => intervalOf(track, key, tracks.length), [track, key, tracks]);
  const shown = { attempts: tracks.length === 1 ? track.attempts : NONE, steps, t, theme, onSeek };
  const drawn = key !== 'momentum' && key !== 'rule';
  return (
    <>
      <section class="chart grow" aria-label={tab.name}>
        <Tabs tabs={tabs} chosen={key} onChoose={choose} />
        {key === 'momentum' && track.eigenvalues.some(lambda => lambda < 0) && (
          <p class="key"><span><svg width="9" height="10" aria-hidden="true"><circle class="ring" cx="4.5" cy="5" r="3.2" /></svg>negative curvature</span></p>
        )}
        {key === 'momentum' && <Momentum key={track.id} track={track} />}
        {key === 'rule' && <Rule track={track} />}
        {drawn && <Key lines={upper} undone={shown.attempts.some(({ kept }) => !kept)} interval={interval !== null} alone={tracks.length === 1} />}
        {drawn && (
          <Curves {...shown} lines={upper} label={`${tab.name} against the step; a table follows at the end of the page`}
            percent={track.metrics[key]?.unit === '%'} interval={interval} decades={key === 'lr' ? lrDecades : lossDecades} />
        )}
      </section>
      {drawn && key !== 'lr' && lower.length > 0 && (
        <section class="chart small" aria-label="Learning rate">
          <p class="key"><span>{tracks.length === 1 && <svg width="14" height="10" aria-hidden="true"><path class="line" d="M0 5H14" /></svg>}learning rate</span></p>
          <Curves {...shown} lines={lower} label="Learning rate against the step" decades={lrDecades} />
        </section>
      )}
    </>
  );
}

/** A metric's name as people write it. */
export function named(name: string): string {
  const words = name.split('_').map(word => (constants.acronyms.includes(word) ? word.toUpperCase() : word)).join(' ');
  return words && words[0].toUpperCase() + words.slice(1);
}

function tabsOf(tracks: Track[], track: Track, small: boolean): Tab[] {
  const has = (key: string) => tracks.some(({ curves }) => curves[key]?.t.length);
  const tab = (key: string, name: string, extra = false): Tab => ({ key, name, extra });
  const metrics = Object.keys(track.metrics).filter(has);
  const rule = tracks.length === 1 && track.mathml !== '' && !!track.verdict?.numbers.length;
  return [
    tab('loss', 'Loss'),
    ...metrics.slice(0, 1).map(key => tab(key, named(track.metrics[key].name))),
    ...(has('grad_norm') ? [tab('grad_norm', 'Gradient')] : []),
    ...(has('lr') ? [tab('lr', 'Learning rate', small && metrics.length > 0)] : []),
    ...metrics.slice(1).map(key => tab(key, named(track.metrics[key].name), true)),
    ...(hasDirections(track) ? [tab('momentum', 'Momentum', true)] : []),
    ...(rule ? [tab('rule', 'Update rule', true)] : []),
  ];
}

interface TabsProps {
  tabs: Tab[];
  chosen: string;
  onChoose(key: string): void;
}

/** The tabs; one behind "⋯" stands beside it once it is chosen. Arrow keys move between those that are seen. */
function Tabs({ tabs, chosen, onChoose }: TabsProps) {
  const [open, show] = useState(false);
  const row = useRef<HTMLDivElement>(null);
  const extras = tabs.filter(({ extra, key }) => extra && key !== chosen);
  const seen = tabs.filter(({ extra, key }) => !extra || key === chosen);
  if (seen.length === 1 && !extras.length) return <h2>{seen[0].name}</h2>;
  const take = (key: string) => {
    show(false);
    onChoose(key);
  };
  const move = (e: KeyboardEvent) => {
    if (e.key === 'Escape' && open) show(false);
    else if (e.key === 'ArrowLeft' || e.key === 'ArrowRight') {
      const at = seen.findIndex(({ key }) => key === chosen);
      const next = (at + (e.key === 'ArrowLeft' ? -1 : 1) + seen.length) % seen.length;
      onChoose(seen[next].key);
      row.current!.querySelectorAll<HTMLElement>('[role=tab]')[next]?.focus();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div class="tabs" ref={row} onKeyDown={move} onBlurCapture={e => !row.current!.contains(e.relatedTarget as Node) && show(false)}>
      <div role="tablist" aria-label="Curves" style={{ display: 'contents' }}>
        {seen.map(({ key, name }) => (
          <button key={key} role="tab" class={key.startsWith('metric') ? 'metric' : undefined} aria-selected={key === chosen} tabIndex={key === chosen ? 0 : -1} onClick={() => take(key)}>{name}</button>
        ))}
      </div>
      {extras.length > 0 && (
        <div class="rest">
          <button class="others" aria-label="More curves" aria-expanded={open} onClick={() => show(on => !on)}>⋯</button>
          {open && <div class="menu">{extras.map(({ key, name }) => <button key={key} onClick={() => take(key)}>{name}</button>)}</div>}
        </div>
      )}
    </div>
  );
}

/** What the signs of a chart mean, in a row of its own above the data. */
function Key({ lines, undone, interval, alone }: { lines: Line[]; undone: boolean; interval: boolean; alone: boolean }) {
  const { train, validation, nan, infinite, finite } = useMemo(() => ({
    finite: lines.some(({ series }) => series.mid.some(Number.isFinite)),
    train: lines.some(line => line.kind === 'train'),
    validation: lines.some(line => line.kind === 'validation'),
    nan: lines.some(({ series }) => series.mid.some(Number.isNaN)),
    infinite: lines.some(({ series }) => series.hi.some(v => v === Infinity)),
  }), [lines]);
  if (!finite) return <p class="key" />;
  return (
    <p class="key">
      {train && alone && <span><svg width="14" height="10" aria-hidden="true"><path class="line" d="M0 5H14" /></svg>train</span>}
      {train && alone && <span><svg width="14" height="10" aria-hidden="true"><path class="band" d="M0 1H14V9H0Z" /></svg>single batches</span>}
      {validation && (
        <span><svg width="14" height="10" aria-hidden="true"><path class="thin" d="M0 5H14" /><circle class="dots" cx="7" cy="5" r="2.6" /></svg>validation</span>
      )}
      {interval && <span><svg width="9" height="12" aria-hidden="true"><path class="dots" d="M4.5 1V11M0.500 1H8.500M0.500 11H8.500" /></svg>95 %</span>}
      {undone && <span><svg width="14" height="10" aria-hidden="true"><path class="hatch" d="M0 10 10 0M4 10 14 0M8 10 14 4M0 6 6 0" /></svg>undone</span>}
      {nan && <span><svg width="14" height="10" aria-hidden="true"><path class="nan" d="M0 0H14V10H0Z" /><path class="top" d="M0 0H14V2H0Z" /></svg>NaN</span>}
      {infinite && <span><svg width="9" height="10" aria-hidden="true"><path class="top" d="M4.500 1 9 9H0Z" /></svg>infinite</span>}
    </p>
  );
}

/** A rule's formula and its settings. */
export function Rule({ track }: { track: Track }) {
  return (
    <div class="rule">
      <Formula mathml={track.mathml} />
      <p class="settings">{settings(track)}</p>
    </div>
  );
}

function settings({ hyper, schedule }: Track): string {
  const values = Object.entries(hyper).map(([name, value]) => `${name} ${typeof value === 'number' ? short(value) : value}`);
  return [...values, schedule].filter(Boolean).join(' · ');
}

/** The interval of a metric's last value, where it is a share of samples and the only member's. */
function intervalOf(track: Track, key: string, members: number): [number, number] | null {
  const samples = track.metrics[key]?.samples;
  const last = track.curves[key]?.mid.at(-1);
  return samples && members === 1 && last !== undefined && Number.isFinite(last) ? wilson(last, samples) : null;
}

/** One line for each member that has the curve, the selected one last and so on top; with the loss its validation losses. */
function linesOf(tracks: Track[], key: string, theme: Theme, selected: number): Line[] {
  const alone = tracks.length === 1;
  const measured = key === 'metric' || key.startsWith('metric ');
  const lines = tracks
    .map((track, member) => ({ track, member }))
    .filter(({ track }) => track.curves[key]?.t.length)
    .sort((a, b) => Number(a.member === selected) - Number(b.member === selected))
    .map(({ track, member }): Line => ({
      series: track.curves[key], last: track.last, member: alone && measured ? -1 : member, colour: theme.members[member % 6],
      kind: measured ? 'validation' : key === 'lr' || !isBanded(track, key) ? 'line' : 'train',
    }));
  const own = tracks[selected];
  if (key !== 'loss' || !own.curves.held_out?.t.length) return lines;
  return [...lines, { series: own.curves.held_out, last: own.last, member: -1, colour: theme.ink, kind: 'validation' }];
}

/** Whether single values differ from the line. */
const isBanded = ({ curves }: Track, key: string): boolean => curves[key].mid.some((v, k) => curves[key].lo[k] < v || curves[key].hi[k] > v);

/// The right column: members or the verdict's numbers, the rule's formula with its sliders, the curves.
import { useMemo, useState } from 'preact/hooks';
import { Rate, Slider, Text } from './controls';
import { Curves, type Line } from './curves';
import type { Film } from '../film/film';
import { Formula } from './math';
import { Members } from './members';
import { hasDirections, Momentum } from './momentum';
import { short } from './numbers';
import type { Play } from '../play/play';
import { constants, type Theme } from '../render/theme';
import type { Track } from '../film/track';
import { Numbers } from './verdict';

export interface ChartsProps {
  tracks: Track[];
  t: number;
  steps: number;
  selected: number;
  theme: Theme;
  onSeek(t: number): void;
}

export interface AsideProps extends ChartsProps {
  film: Film;
  play: Play | null;
  /** Whether the curves are here; where there is no surface they have its place. */
  charts: boolean;
  onSelect(member: number): void;
}

/** With more numbers the list may need scrolling, by the keyboard too. */
const FEW = 5;

export function Aside(props: AsideProps) {
  const { film, play, tracks, t, selected, theme, onSelect } = props;
  const track = tracks[selected];
  const alone = tracks.length === 1;
  const numbers = track.verdict?.numbers ?? [];
  return (
    <aside aria-label="Runs and curves">
      <div class="facts" tabIndex={numbers.length > FEW ? 0 : undefined} role="group" aria-label="Facts">
        {!alone && <Members tracks={tracks} t={t} selected={selected} theme={theme} onSelect={onSelect} />}
        {(film.kind === 'run' || !play) && numbers.length > 0 && <Numbers numbers={numbers} />}
        {play ? (
          <div class="rule">
            <Formula mathml={track.mathml} />
            <Controls play={play} track={track} t={t} />
          </div>
        ) : (!alone || !numbers.length) && <Rule track={track} />}
      </div>
      {props.charts && <Charts {...props} />}
    </aside>
  );
}

/** A rule's formula and its settings. */
function Rule({ track }: { track: Track }) {
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

/** The largest batch noise. */
const MOST_NOISE = 100;

function Controls({ play, track, t }: { play: Play; track: Track; t: number }) {
  const { hyper, schedule } = track;
  const momentum = ['beta', 'beta1'].find(name => typeof hyper[name] === 'number');
  return (
    <>
      <Rate value={Number(hyper.lr)} zones={play.zones} reach={play.reach} limit={play.limit} onChange={lr => play.setHyper('lr', lr)} />
      {momentum && (
        <Slider symbol="β" label="momentum" value={Number(hyper[momentum])} from={p => Number((p * 0.99).toFixed(3))} to={v => v / 0.99}
          onChange={value => play.setHyper(momentum, value)} />
      )}
      <Slider symbol="σ" label="batch noise" value={play.setup.noise} from={p => Number((p * p * MOST_NOISE).toPrecision(2))}
        to={v => Math.sqrt(v / MOST_NOISE)} onChange={play.setNoise} />
      <Text id="schedule" symbol="schedule" label="of the learning rate" value={schedule} onChange={play.setSchedule} />
      <p class="here">{play.here(t)}</p>
    </>
  );
}

type Quantity = 'loss' | 'grad_norm' | 'momentum' | 'rule';
const TITLES: Record<Quantity, string> = { loss: 'Loss', grad_norm: 'Gradient norm', momentum: 'Momentum', rule: 'Update rule' };

const { lossDecades, lrDecades } = constants.charts;

export function Charts({ tracks, t, steps, selected, theme, onSeek }: ChartsProps) {
  const [chosen, show] = useState<Quantity>('loss');
  const offered = (Object.keys(TITLES) as Quantity[]).filter(name => isOffered(name, tracks, selected));
  const quantity = offered.includes(chosen) ? chosen : 'loss';
  const upper = useMemo(() => [
    ...lines(tracks, quantity, theme, false, selected),
    ...(quantity === 'loss' ? lines(tracks, 'held_out', theme, true, selected) : []),
  ], [tracks, quantity, theme, selected]);
  const lower = useMemo(() => lines(tracks, 'lr', theme, false, selected), [tracks, theme, selected]);
  const banded = upper.some(line => line.series.lo !== line.series.hi && !line.dots) && tracks.length === 1;
  return (
    <>
      <section class="chart grow" aria-label={TITLES[quantity]}>
        <h2>
          {offered.map(name => offered.length === 1 ? TITLES[name] : (
            <button key={name} aria-pressed={name === quantity} onClick={() => show(name)}>{TITLES[name]}</button>
          ))}
          {banded && <span><i class="band" />per-step range</span>}
          {banded && <span><i class="smooth" />running median</span>}
          {upper.some(line => line.dots) && <span><i class="dot" />validation</span>}
          {quantity === 'momentum' && tracks[selected].eigenvalues.some(lambda => lambda < 0) && <span><i class="ring" />negative curvature</span>}
        </h2>
        {quantity === 'momentum' && <Momentum key={tracks[selected].id} track={tracks[selected]} />}
        {quantity === 'rule' && <Rule track={tracks[selected]} />}
        {(quantity === 'loss' || quantity === 'grad_norm') && (
          <Curves lines={upper} steps={steps} t={t} theme={theme} label={`${TITLES[quantity]} against the step; a table follows at the end of the page`} decades={lossDecades} onSeek={onSeek} />
        )}
      </section>
      {quantity !== 'momentum' && lower.length > 0 && (
        <section class="chart small" aria-label="Learning rate">
          <h2>Learning rate</h2>
          <Curves lines={lower} steps={steps} t={t} theme={theme} label="Learning rate against the step" decades={lrDecades} onSeek={onSeek} />
        </section>
      )}
    </>
  );
}

/** Whether there is something to show; a rule has a tab where the verdict's numbers have taken its place. */
function isOffered(name: Quantity, tracks: Track[], selected: number): boolean {
  const track = tracks[selected];
  if (name === 'rule') return tracks.length === 1 && track.mathml !== '' && !!track.verdict?.numbers.length;
  if (name === 'momentum') return hasDirections(track);
  return name === 'loss' || tracks.some(other => other.curves[name]);
}

/** One line for each member that has the curve, the selected one last and so on top. */
function lines(tracks: Track[], name: string, theme: Theme, dots: boolean, selected: number): Line[] {
  return tracks
    .map((track, member) => ({ track, member }))
    .filter(({ track, member }) => track.curves[name]?.t.length && (!dots || member === selected))
    .sort((a, b) => Number(a.member === selected) - Number(b.member === selected))
    .map(({ track, member }) => ({ series: track.curves[name], last: track.last, member, colour: theme.members[member % 6], dots }));
}

/// The right column: the result, the curves, and the verdict's numbers; or members, the rule's formula with its sliders.
import { Rate, Slider, Text } from './controls';
import { Charts, Rule, type ChartsProps } from './charts';
import type { Film } from '../film/film';
import { Formula } from './math';
import { Members } from './members';
import type { Play } from '../play/play';
import { Readings } from './readings';
import { Results } from './result';
import type { Track } from '../film/track';

export interface AsideProps extends ChartsProps {
  film: Film;
  play: Play | null;
  /** Whether the curves are here; where there is no surface they have its place. */
  charts: boolean;
  onSelect(member: number): void;
}

export function Aside(props: AsideProps) {
  const { film, play, tracks, t, steps, selected, theme, onSelect } = props;
  const track = tracks[selected];
  const alone = tracks.length === 1;
  const numbers = (film.kind === 'run' || !play) ? track.verdict?.numbers ?? [] : [];
  const charts = props.charts && <Charts {...props} />;
  const isRun = film.kind === 'run';
  return (
    <aside aria-label="Result and curves">
      {isRun && <Results track={track} t={t} last={film.live ? track.last : steps} />}
      {isRun && charts}
      <div class="facts" role="group" aria-label="Facts">
        {!alone && <Members tracks={tracks} t={t} selected={selected} theme={theme} onSelect={onSelect} />}
        {numbers.length > 0 && <Readings numbers={numbers} ahead={t < steps && !film.live} />}
        {play ? (
          <div class="rule">
            <Formula mathml={track.mathml} />
            <Controls play={play} track={track} t={t} />
          </div>
        ) : (!alone || !numbers.length) && <Rule track={track} />}
      </div>
      {!isRun && charts}
    </aside>
  );
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

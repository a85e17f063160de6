/// Momentum on the run's own curvature: every measured direction as a dot, moved by two sliders.
import { useState } from 'preact/hooks';
import { useSize } from '../render/canvas';
import { Slider } from './controls';
import { best, edges, fate, largest, radius, share, summary, comparison, type Settings } from '../play/heavyball';
import { Digits } from './math';
import { count, decimal, logTicks, short, tickText } from './numbers';
import type { Track } from '../film/track';

const LEFT = 46;
const RIGHT = 14;
const TOP = 8;
const BOTTOM = 34;
/** |1 − ρ| on a logarithmic axis, on both sides of ρ = 1, cut here. Growth has half the height. */
const NEAREST = 1e-4;
const BELOW = 4;
const ABOVE = 2;
const TICKS = [0, 0.9, 0.99, 0.999, 1];
const POINTS = 160;
/** Decades of the learning-rate slider around the best value, and decades of 1 − momentum. */
const RATES = 2;
const MOMENTA = 3;
/** Rows of the hidden table. */
const ROWS = 40;
/** Width of a letter of a zone's name. */
const LETTER = 6.4;

/** Whether there is anything to show of a member. */
export const hasDirections = (track: Track): boolean => track.eigenvalues.some(lambda => lambda !== 0);

export function Momentum({ track }: { track: Track }) {
  const { eigenvalues } = track;
  const optimum = best(eigenvalues);
  const own = settingsOf(track);
  const [settings, set] = useState<Settings>(own ?? optimum ?? { alpha: 1 / largest(eigenvalues), beta: 0 });
  const middle = optimum?.alpha ?? settings.alpha;
  const steps = Math.max(1, track.last);
  const words = summary(settings, eigenvalues, steps);
  return (
    <section class="momentum" aria-label="Momentum on the run’s curvature">
      <Picture settings={settings} eigenvalues={eigenvalues} steps={steps} words={words} />
      <Slider symbol="α" label="learning rate" value={settings.alpha} onChange={alpha => set({ ...settings, alpha })}
        from={p => Number((middle * 10 ** (RATES * (2 * p - 1))).toPrecision(3))}
        to={alpha => Math.min(1, Math.max(0, (Math.log10(alpha / middle) / RATES + 1) / 2))} />
      <Slider symbol="β" label="momentum" value={settings.beta} onChange={beta => set({ ...settings, beta })}
        from={p => Number((1 - 10 ** (-MOMENTA * p)).toPrecision(3))} to={beta => Math.min(1, -Math.log10(1 - beta) / MOMENTA)} />
      <p class="here" aria-live="polite">{words}</p>
      <p class="here">
        {optimum ? (
          <>
            Fastest: <button class="best" onClick={() => set(optimum)}><Digits text={`α ${decimal(optimum.alpha, 2)}, β ${share(optimum.beta)}`} /></button>
            {`: ${comparison(settings, optimum, eigenvalues)}.`}
          </>
        ) : 'No positive curvature measured, so no best momentum exists.'}
        {!own && ` This run used ${track.rule || 'another rule'}. Shown: what SGD with momentum would do on its curvature.`}
      </p>
      <Table settings={settings} eigenvalues={eigenvalues} steps={steps} />
    </section>
  );
}

/** The run's own settings, where they are heavy ball's. */
function settingsOf({ rule, hyper }: Track): Settings | null {
  const [alpha, beta] = [Number(hyper.lr), rule === 'gradient_descent' ? 0 : Number(hyper.beta)];
  return ['gradient_descent', 'momentum'].includes(rule) && alpha > 0 && beta >= 0 ? { alpha, beta } : null;
}

interface PictureProps {
  settings: Settings;
  eigenvalues: number[];
  steps: number;
  words: string;
}

function Picture({ settings, eigenvalues, steps, words }: PictureProps) {
  const [box, width, height] = useSize();
  const greatest = largest(eigenvalues);
  const sizes = eigenvalues.map(Math.abs).filter(size => size > 0);
  const [lo, hi] = [Math.min(...sizes) / 1.8, greatest * 1.8];
  const x = (lambda: number) => LEFT + Math.min(1, Math.max(0, Math.log(lambda / lo) / Math.log(hi / lo))) * (width - LEFT - RIGHT);
  const y = (rho: number) => TOP + ((ABOVE - nearness(rho)) / (ABOVE + BELOW)) * (height - TOP - BOTTOM);
  const line = (sign: number) => 'M' + Array.from({ length: POINTS + 1 }, (_, i) => lo * (hi / lo) ** (i / POINTS))
    .map(size => `${x(size).toFixed(1)} ${y(radius(settings, sign * size)).toFixed(1)}`).join('L');
  const floor = height - BOTTOM;
  return (
    <div class="plot directions" ref={box}>
      <svg width={width} height={height} role="img" aria-label={`Contraction factor, the share of the distance left after a step, against curvature. ${words}`}>
        <rect class="lost" x={LEFT} y={TOP} width={Math.max(0, width - LEFT - RIGHT)} height={Math.max(0, y(1) - TOP)} />
        {TICKS.map(rho => (
          <g key={rho}>
            <path class={rho === 1 ? 'one' : 'grid'} d={`M${LEFT} ${y(rho)}H${width - RIGHT}`} />
            <text class="tick left" x={LEFT - 8} y={y(rho) + 4}>{short(rho)}</text>
          </g>
        ))}
        <Zones settings={settings} steps={steps} x={x} from={TOP} to={floor} left={LEFT} right={width - RIGHT} />
        <text class="tick word" x={LEFT + 6} y={y(1) - 6}>grows</text>
        <text class="tick word" x={LEFT + 6} y={y(0) - 6}>contraction factor ρ: share of the distance left after a step</text>
        <path class="curve" d={line(1)} />
        {eigenvalues.some(lambda => lambda < 0) && <path class="curve negative" d={line(-1)} />}
        {eigenvalues.map((lambda, i) => lambda !== 0 && (
          <circle key={i} class={`${fate(settings, lambda, greatest, steps)}${lambda < 0 ? ' negative' : ''}`}
            cx={x(Math.abs(lambda))} cy={y(radius(settings, lambda))} r={4} />
        ))}
        <text class="name left" x={LEFT - 8} y={TOP + 9}>ρ</text>
        <text class="name left" x={LEFT - 8} y={height - 3}>|λ|</text>
        {logTicks(lo, hi, 5).map(size => (
          <text key={size} class="tick middle" x={x(size)} y={height - 3}>{raised(tickText(size, true))}</text>
        ))}
      </svg>
    </div>
  );
}

/** Position of ρ: decades of 1 − ρ below 1, half as many above. */
function nearness(rho: number): number {
  const decades = Math.max(0, Math.log10(Math.abs(1 - rho) / NEAREST));
  return rho > 1 ? Math.min(ABOVE, decades / 2) : -Math.min(BELOW, decades);
}

/** Powers of ten as text of an SVG, which has no <sup>. */
function raised(text: string) {
  const [base, power] = text.split(/(?=[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])(.*)/s);
  const digits = [...(power ?? '')].map(s => (s === '⁻' ? '−' : String('⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(s)))).join('');
  return digits ? <>{base}<tspan dy="-4" font-size="8">{digits}</tspan></> : base;
}

interface ZonesProps {
  settings: Settings;
  steps: number;
  x(lambda: number): number;
  from: number;
  to: number;
  left: number;
  right: number;
}

/** Names of the regions of curvature, below the axis. */
function Zones({ settings, steps, x, from, to, left, right }: ZonesProps) {
  const { slow, converges, oscillates } = edges(settings, steps);
  const ends = [slow, converges, oscillates].map(lambda => (lambda > 0 ? x(lambda) : left));
  const zones = ['slow', 'converges', 'oscillates', 'diverges'].map((name, i) => ({ name, a: i ? ends[i - 1] : left, b: ends[i] ?? right }));
  return (
    <g class="regions">
      {ends.filter(at => at > left && at < right).map((at, i) => <path key={i} d={`M${at} ${from}V${to + 4}`} />)}
      {zones.filter(({ name, a, b }) => b - a > LETTER * name.length).map(({ name, a, b }) => (
        <text key={name} class={`middle ${name}`} x={(a + b) / 2} y={to + 14}>{name}</text>
      ))}
    </g>
  );
}

function Table({ settings, eigenvalues, steps }: { settings: Settings; eigenvalues: number[]; steps: number }) {
  const greatest = largest(eigenvalues);
  const sorted = [...eigenvalues].sort((a, b) => b - a);
  const shown = sorted.length <= ROWS ? sorted : [...sorted.slice(0, ROWS / 2), ...sorted.slice(-ROWS / 2)];
  return (
    <div class="hidden">
      <table>
        <caption>{shown.length < sorted.length ? `The largest and smallest of ${count(sorted.length)} directions` : 'Each direction'} under SGD with momentum at these settings</caption>
        <thead><tr><th scope="col">curvature</th><th scope="col">contraction factor</th><th scope="col">behaviour</th></tr></thead>
        <tbody>
          {shown.map((lambda, i) => (
            <tr key={i}>
              <th scope="row">{short(lambda)}</th><td>{share(radius(settings, lambda))}</td><td>{fate(settings, lambda, greatest, steps)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

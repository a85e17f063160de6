/// Every pairwise difference with its joint interval, and a tick where there is none.
import type { Comparison, Pair } from './comparison';
import { linearTicks, logTicks, short } from '../ui/numbers';

const WORDS = ['no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];

export function Pairs({ comparison }: { comparison: Comparison }) {
  const { groups, pairs, unit, metric, scale, basis } = comparison;
  const many = `${WORDS[pairs.length] ?? pairs.length}`;
  const kind = [
    scale === 'log' ? `ratios of ${metric}` : unit ? `points of ${metric}` : `in ${metric}`,
    !basis ? 'no intervals' : pairs.length > 1 ? `the ${many} intervals (95 %) hold together` : 'with the 95 % interval',
  ].join('; ');
  const drawn = pairs.some(pair => pair.lo !== null);
  const { place, ticks, none } = axis(comparison);
  const sign = scale === 'log' ? '/' : '−';
  return (
    <section class="pairs" aria-label="Differences">
      <h2>Differences <span>{kind}</span></h2>
      <div class="lines" role="table" aria-label="Differences">
        {drawn && (
          <div class="axis-row" aria-hidden="true">
            <span class="gauge">{ticks.map(v => <i key={v} style={{ left: `${place(v)}%` }}>{tick(v, comparison)}</i>)}</span>
          </div>
        )}
        {pairs.map(pair => (
          <div class={`pair ${pair.result}`} role="row" key={`${pair.one} ${pair.other}`}>
            <span class="who" role="cell">{groups[pair.one].label} {sign} {groups[pair.other].label}</span>
            <b role="cell">{pair.text || '–'}</b>
            {drawn && <Bar pair={pair} place={place} none={none} />}
            <span class="between" role="cell">{pair.interval}</span>
            <span class="outcome" role="cell">{result(pair, comparison)}</span>
          </div>
        ))}
      </div>
    </section>
  );
}

function Bar({ pair: { lo, hi }, place, none }: { pair: Pair; place(v: number): number; none: number }) {
  return (
    <span class="gauge" role="presentation">
      <i class="none" style={{ left: `${place(none)}%` }} />
      {lo !== null && hi !== null && <i class="interval" style={{ left: `${place(lo)}%`, width: `${Math.max(0.8, place(hi) - place(lo))}%` }} />}
    </span>
  );
}

/** Which one is higher; neither where the interval has no difference in it. */
function result({ one, other, result }: Pair, { groups }: Comparison): string {
  if (result === 'tie') return 'tie';
  if (result === 'unknown') return 'not known';
  return `${groups[result === 'higher' ? one : other].label} higher`;
}

const tick = (v: number, { unit, scale }: Comparison): string =>
  scale === 'log' ? `${short(v)}×` : `${v > 0 ? '+' : ''}${short(unit ? 100 * v : v)}`;

/** The axis of the differences, in percent of its width; it has the place of no difference in it. */
function axis({ pairs, scale, unit }: Comparison): { place(v: number): number; ticks: number[]; none: number } {
  const isLog = scale === 'log';
  const none = isLog ? 1 : 0;
  const turn = (v: number) => (isLog ? Math.log(v) : v);
  const ends = [none, ...pairs.flatMap(({ lo, hi }) => [lo, hi]).filter(v => v !== null)].map(turn);
  const [a, b] = [Math.min(...ends), Math.max(...ends)];
  const room = (b - a || 1) * 0.06;
  const [from, to] = [a - room, b + room];
  const scaled = unit ? 100 : 1;
  const ticks = isLog ? logTicks(Math.exp(from), Math.exp(to), 3) : linearTicks(from * scaled, to * scaled, 3).map(v => v / scaled);
  const inside = ticks.length > 4 ? ticks.filter((_, i) => i % 2 === 0) : ticks;
  return { place: v => ((turn(v) - from) / (to - from)) * 100, ticks: inside.includes(none) ? inside : [...inside, none], none };
}

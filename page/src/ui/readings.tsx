/// A verdict's numbers: a row each, with what it means; symbol, interval and method once it is opened.
import './readings.css';
import { useMedia } from './document';
import type { Quantity } from '../film/film';
import { Digits, Symbol } from './math';
import { short } from './numbers';
import { TERMS } from './terms';

/** Windows in which all rows stand behind one. */
const LOW = '(min-width: 1000px) and (max-height: 719px)';

/** `ahead`: the film has not come to its end, of which these numbers are. */
export function Readings({ numbers, ahead }: { numbers: Quantity[]; ahead: boolean }) {
  const low = useMedia(LOW);
  const rows = numbers.map((quantity, i) => <Reading key={i} quantity={quantity} />);
  const calls = numbers.filter(({ state }) => state === 'act').length;
  const look = ahead ? 'readings ahead' : 'readings';
  if (!low) return <section class={look} aria-label="At the last step"><h2>At the last step<span>95 % intervals</span></h2>{rows}</section>;
  return (
    <section class={look} aria-label="At the last step">
      <details class="brief">
        <summary><em>At the last step</em><b>{calls ? `${calls} to act on` : 'nothing to act on'}</b></summary>
        {rows}
      </details>
    </section>
  );
}

function Reading({ quantity }: { quantity: Quantity }) {
  const { name, text, title, display, words, state } = quantity;
  const term = TERMS.find(([symbol]) => symbol === name);
  const value = withInterval(quantity);
  return (
    <details class={state ?? 'ok'}>
      <summary>
        <em>{title ?? term?.[1] ?? name}<span class="hidden">{state === 'act' ? ', something to act on' : ''}</span></em>
        <b><Digits text={display ?? value} /></b>
        {words && <p><Digits text={words} /></p>}
      </summary>
      <div class="detail">
        <span><Symbol name={name} /> <Digits text={value} /></span>
        <Whisker quantity={quantity} />
        <p><Digits text={`${text}.`} />{term && ` ${term[2][0].toUpperCase()}${term[2].slice(1)}.`}</p>
      </div>
    </details>
  );
}

/** A quantity's value and the ends of its interval, infinite where there is none. */
const ends = ({ value, lo, hi }: Quantity) => ({ value: value ?? Infinity, lo: lo ?? -Infinity, hi: hi ?? Infinity });

/** A number with two significant digits at most, large ones too. */
const significant = (v: number): string => short(Number.isFinite(v) ? Number(v.toPrecision(2)) : v);

/** "412 ± 6" where the interval is even, "1,900 – 2,700" where it is not. The error has two digits, the value no more. */
export function withInterval(quantity: Quantity): string {
  const { value, lo, hi } = ends(quantity);
  if (!(hi > lo)) return short(value);
  const half = (hi - lo) / 2;
  const even = Math.abs(value - lo - half) < 0.05 * half;
  if (!even) return `${significant(lo)} – ${significant(hi)}`;
  const error = Number(half.toPrecision(2));
  const size = Math.floor(Math.log10(error) + 1e-9);
  const unit = 10 ** (error === Number(half.toPrecision(1)) ? size : size - 1);
  return `${short(Math.round(value / unit) * unit, 6)} ± ${short(error)}`;
}

const ROOM = 0.2;

/** The interval on a line with a tick where the reference is. */
function Whisker({ quantity }: { quantity: Quantity }) {
  const { reference } = quantity;
  const { value, lo, hi } = ends(quantity);
  const marks = [lo, hi, value, ...(reference === undefined ? [] : [reference])].filter(Number.isFinite);
  const [least, greatest] = [Math.min(...marks), Math.max(...marks)];
  const room = (greatest - least || 1) * ROOM;
  const x = (v: number) => Math.min(100, Math.max(0, ((v - least + room) / (greatest - least + 2 * room)) * 100));
  return (
    <svg class="whisker" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">
      <path d="M0 7H100" class="line" />
      {reference !== undefined && <path d={`M${x(reference)} 1V13`} class="reference" />}
      <path d={`M${x(lo)} 7H${Math.max(x(hi), x(lo) + 1.5)}`} class="interval" />
    </svg>
  );
}

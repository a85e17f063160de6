/// The sentence above the relief, and the verdict's numbers with their intervals.
import type { Quantity } from '../film/film';
import { Digits, Symbol } from './math';
import { short } from './numbers';
import { tooltip } from './terms';
import { constants } from '../render/theme';

/** A piece of the headline, and the colour of what it names. */
export interface Piece {
  text: string;
  colour?: string;
}

export function Verdict({ pieces, advice }: { pieces: Piece[]; advice: string }) {
  return (
    <div class="verdict">
      <h1 aria-live="polite">
        {pieces.map(({ text, colour }, i) => (colour ? <span key={i} style={{ color: colour }}>{text}</span> : <Digits key={i} text={text} />))}
      </h1>
      {advice && <p class="advice"><Digits text={advice} /></p>}
    </div>
  );
}

/** A headline with its phrases in colours: the first occurrence of each. */
export function coloured(headline: string, phrases: [phrase: string, colour: string][]): Piece[] {
  const found = phrases
    .map(([phrase, colour]) => ({ at: headline.toLowerCase().indexOf(phrase.toLowerCase()), length: phrase.length, colour }))
    .filter(({ at, length }) => at >= 0 && length > 0)
    .sort((a, b) => a.at - b.at);
  const pieces: Piece[] = [];
  let from = 0;
  for (const { at, length, colour } of found) {
    if (at < from) continue;
    pieces.push({ text: headline.slice(from, at) }, { text: headline.slice(at, at + length), colour });
    from = at + length;
  }
  return [...pieces, { text: headline.slice(from) }].filter(piece => piece.text);
}

/** The first phrase of a run's headline that says where it ended: of today's verdicts, and of stored runs' older ones. */
export function placeIn(headline: string, colour: string): [phrase: string, colour: string][] {
  const at = (place: string) => headline.toLowerCase().indexOf(place);
  const first = constants.places.filter(place => at(place) >= 0).sort((a, b) => at(a) - at(b))[0];
  return first ? [[first, colour]] : [];
}

export function Numbers({ numbers }: { numbers: Quantity[] }) {
  return (
    <dl class="numbers">
      {numbers.map((quantity, i) => (
        <div class="number" key={i}>
          <dt title={tooltip(quantity.name)}><Symbol name={quantity.name} /></dt>
          <dd>
            <b>{withInterval(quantity)}</b>
            <Whisker quantity={quantity} />
            <span class="why">{quantity.text}</span>
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** A quantity's value and the ends of its interval, infinite where there is none. */
const ends = ({ value, lo, hi }: Quantity) => ({ value: value ?? Infinity, lo: lo ?? -Infinity, hi: hi ?? Infinity });

/** "412 ± 6" where the interval is even, "1,900 – 2,700" where it is not. */
export function withInterval(quantity: Quantity): string {
  const { value, lo, hi } = ends(quantity);
  if (!(hi > lo)) return short(value);
  const half = (hi - lo) / 2;
  const even = Math.abs(value - lo - half) < 0.05 * half;
  if (!even) return `${short(lo)} – ${short(hi)}`;
  const digits = Math.max(1, Math.ceil(Math.log10(Math.abs(value) / half)) + 1);
  return `${short(value, Math.min(6, digits))} ± ${short(half, 2)}`;
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

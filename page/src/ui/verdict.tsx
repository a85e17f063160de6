/// The sentence above the relief: the metric and how the run ended, why, and what to do next, with commands to copy.
import { useState } from 'preact/hooks';
import './verdict.css';
import { Digits } from './math';
import { count } from './numbers';
import { constants } from '../render/theme';
import { measuredAt, rowAt } from './result';
import type { Track } from '../film/track';

/** A piece of the headline, and the colour of what it names. */
export interface Piece {
  text: string;
  colour?: string;
}

export interface VerdictProps {
  pieces: Piece[];
  /** Lines; commands stand between backticks. */
  advice: string;
  /** What is said at a step before the end; null at the end. */
  now: Piece[] | null;
}

/** While the film plays its end keeps its place, unseen, so that nothing moves when it comes. */
export function Verdict({ pieces, advice, now }: VerdictProps) {
  const lines = advice.split('\n').filter(Boolean);
  return (
    <>
      <div class="verdict">
        <h1 aria-live={now ? 'off' : 'polite'}><Pieces pieces={now ?? pieces} /></h1>
        {!now && lines.map(line => <Advice key={line} line={line} />)}
      </div>
      {now && (
        <div class="ending" aria-hidden="true">
          <p>{pieces.map(({ text }) => text).join('')}</p>
          {lines.map(line => <p class="advice" key={line}>{line.replaceAll('`', '')}</p>)}
        </div>
      )}
    </>
  );
}

const Pieces = ({ pieces }: { pieces: Piece[] }) => (
  <>{pieces.map(({ text, colour }, i) => (colour ? <span key={i} style={{ color: colour }}>{text}</span> : <Digits key={i} text={text} />))}</>
);

/** A line of advice, its commands as buttons that copy them. */
function Advice({ line }: { line: string }) {
  const [copied, set] = useState(-1);
  const copy = async (element: HTMLElement, i: number) => {
    const text = element.querySelector('code')!;
    try {
      await navigator.clipboard.writeText(text.textContent!);
    } catch {
      getSelection()!.selectAllChildren(text); // where the page may not copy, it is selected at least
      return;
    }
    set(i);
  };
  return (
    <p class="advice">
      {line.split('`').map((part, i) => (i % 2 === 0 ? <Digits key={i} text={part} /> : (
        <button key={i} class="copy" onClick={e => void copy(e.currentTarget, i)} aria-label={`Copy ${part}`}>
          <code>{part}</code>{copied === i && <span class="copied" role="status">copied</span>}
        </button>
      )))}
    </p>
  );
}

/** Where a phrase stands as a whole: "adam" is not found in "adamw". */
function placeOf(text: string, phrase: string): number {
  const isLetter = (c: string | undefined) => c !== undefined && /[\p{L}\p{N}_]/u.test(c);
  for (let at = text.indexOf(phrase); at >= 0; at = text.indexOf(phrase, at + 1)) {
    if (!isLetter(text[at - 1]) && !isLetter(text[at + phrase.length])) return at;
  }
  return -1;
}

/** A headline with its phrases in colours: the first occurrence of each. */
export function coloured(headline: string, phrases: [phrase: string, colour: string][]): Piece[] {
  const found = phrases
    .map(([phrase, colour]) => ({ at: placeOf(headline.toLowerCase(), phrase.toLowerCase()), length: phrase.length, colour }))
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

/** What a run's headline is about: its metric; in films of older versions the place where the run ended. */
export function placeIn(headline: string, colour: string, track?: Track): [phrase: string, colour: string][] {
  const row = track?.result[0];
  if (row) {
    const phrases = [`${row.value} ${row.label}`, `${row.label} ${row.value}`];
    const phrase = phrases.find(text => headline.toLowerCase().includes(text.toLowerCase()));
    if (phrase) return [[phrase, colour]];
  }
  const at = (place: string) => headline.toLowerCase().indexOf(place);
  const first = constants.places.filter(place => at(place) >= 0).sort((a, b) => at(a) - at(b))[0];
  return first ? [[first, colour]] : [];
}

/** Parts of a film after which the sentence changes, where nothing was measured. */
const PARTS = 20;

/** What is said of a run at a step before its end: how good it is there, and not how it ended. */
export function sentenceAt(track: Track, t: number, steps: number, colour: string): Piece[] {
  const row = track.result[0];
  const train = row?.label.startsWith('Train');
  const measured = train ? null : measuredAt(track.curves[track.metrics.metric ? 'metric' : 'held_out'], t);
  if (!row || (!train && !measured)) return [{ text: `Step ${count(t)} of ${count(steps)}` }];
  const step = measured?.step ?? Math.floor((t / steps) * PARTS) * (steps / PARTS);
  const { value, label } = rowAt(track, row, step);
  const name = label[0].toLowerCase() + label.slice(1);
  const text = value.endsWith('%') ? `${value} ${name}` : `${label} ${value}`;
  return [{ text, colour }, { text: ` at step ${count(step)} of ${count(steps)}` }];
}

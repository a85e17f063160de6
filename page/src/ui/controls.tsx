/// Controls of a play film: learning rate, momentum, batch noise, schedule, function.
import { useEffect, useState } from 'preact/hooks';
import { useSize } from '../render/canvas';
import { short } from './numbers';
import { tooltip } from './terms';
import type { Zones } from '../play/stability';
import { TextError } from '../play/text';

interface SliderProps {
  symbol: string;
  label: string;
  value: number;
  /** From the slider's place, 0 … 1, to the value, and back. */
  from(place: number): number;
  to(value: number): number;
  /** Ends of the good zone, 0 … 1. */
  zone?: [number, number];
  onChange(value: number): void;
}

const PLACES = 200;
/** Width of the longest word below the slider; "good" has half of it. */
const WORD = 50;

export function Slider({ symbol, label, value, from, to, zone, onChange }: SliderProps) {
  const style = zone && { '--right': `${zone[0] * 100}%`, '--beyond': `${zone[1] * 100}%` };
  return (
    <label class="control">
      <span class="symbol" title={tooltip(symbol)}>{symbol}</span>
      <span class="label">{label}</span>
      <span class={zone ? 'track zoned' : 'track'} style={style}>
        <input type="range" min={0} max={PLACES} value={Math.round(to(value) * PLACES)} aria-valuetext={short(value)}
          onInput={e => onChange(from(Number(e.currentTarget.value) / PLACES))} />
      </span>
      <output>{short(value, 2)}</output>
    </label>
  );
}

interface RateProps {
  value: number;
  zones: Zones | null;
  /** The smallest and the largest learning rate. */
  reach: [number, number];
  /** The largest stable learning rate at the minimum; null where it is unknown. */
  limit: number | null;
  onChange(value: number): void;
}

/** The learning rate's slider with its zones. */
export function Rate({ value, zones, reach: [lo, hi], limit, onChange }: RateProps) {
  const place = (rate: number) => Math.min(1, Math.max(0, Math.log(rate / lo) / Math.log(hi / lo)));
  const stable = limit !== null && limit < hi;
  const beyond = stable ? limit : (zones?.tooLarge ?? hi);
  const [a, b] = [place(Math.min(zones?.right ?? lo, beyond)), place(beyond)];
  const [box, width] = useSize();
  const [before, after] = [a * width > WORD, (1 - b) * width > WORD]; // whether there is room for words
  const middle = ((a + b) / 2) * width;
  const between = b > a && middle - WORD / 4 > (before ? WORD : 0) && middle + WORD / 4 < width - (after ? WORD : 0);
  return (
    <>
      <Slider symbol="α" label="learning rate" value={value} zone={[a, b]} onChange={onChange}
        from={p => Number((lo * (hi / lo) ** p).toPrecision(3))} to={place} />
      <div class="zones" aria-hidden="true" ref={box}>
        <span style={{ width: `${a * 100}%` }}>{before && 'too low'}</span>
        <span class="right" style={{ width: `${(b - a) * 100}%` }}>{between && 'good'}</span>
        <span class="beyond">{after && (stable ? 'diverges' : zones?.beyond)}</span>
      </div>
    </>
  );
}

interface TextProps {
  symbol: string;
  label: string;
  value: string;
  id: string;
  /** Takes the text or throws a TextError. */
  onChange(text: string): void;
}

/** A line of text that takes effect as soon as it parses; errors are shown with their position. */
export function Text({ symbol, label, value, id, onChange }: TextProps) {
  const [text, setText] = useState(value);
  const [error, setError] = useState<TextError | null>(null);
  useEffect(() => {
    setText(value);
    setError(null);
  }, [value]);
  const change = (typed: string) => {
    setText(typed);
    try {
      onChange(typed);
      setError(null);
    } catch (problem) {
      if (!(problem instanceof TextError)) throw problem;
      setError(problem);
    }
  };
  return (
    <div class="text">
      <label class="symbol" for={id}>{symbol}<span class="hidden"> {label}</span></label>
      <input id={id} type="text" value={text} spellcheck={false} autocomplete="off" style={{ width: `${text.length + 3}ch` }} aria-invalid={error !== null}
        aria-describedby={error ? `${id}-error` : undefined} onInput={e => change(e.currentTarget.value)} />
      {error && (
        <p class="error" id={`${id}-error`} role="alert">
          <code aria-hidden="true">{text.slice(0, error.position)}<mark>{text.slice(error.position, error.position + 1) || ' '}</mark>{text.slice(error.position + 1)}</code>
          Character {error.position + 1}: {error.problem}.
        </p>
      )}
    </div>
  );
}

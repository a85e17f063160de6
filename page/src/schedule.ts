/// A schedule's text, read by the same grammar as Python's: factor of the base rate at step t = 1 … T.
//
// schedule  = product {">>" product}
// product   = factor {"*" factor}
// factor    = number | "(" schedule ")" | name ["(" [argument {"," argument}] ")"]
// argument  = [name "="] ["-"] number ["%" | "epoch" | "epochs" | "step" | "steps"]
import { TextError } from './expression';

/** A factor at each local step s = 1 … n of a stretch. */
type Factor = (s: number) => number;

interface Piece {
  /** Exact steps, or null where it takes the rest. */
  length: number | null;
  /** Its factors on a stretch of n whole steps. */
  over(n: number, exact: number): Factor;
}

type Arguments = Record<string, number>;

interface Part {
  /** In order; those without a default must be given. Lengths are steps here. */
  parameters: Record<string, number | 'needed' | 'rest'>;
  lengths: string[];
  /** The parameter that says how long the part lasts. */
  lasts: string;
  factor(n: number, given: Arguments): Factor;
}

const halfWave = (from: number, to: number, share: number) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share));

const PARTS: Record<string, Part> = {
  constant: { parameters: { length: 'rest' }, lengths: ['length'], lasts: 'length', factor: () => () => 1 },
  warmup: { parameters: { length: 'needed' }, lengths: ['length'], lasts: 'length', factor: n => s => s / n },
  cosine: {
    parameters: { length: 'rest', floor: 0 }, lengths: ['length'], lasts: 'length',
    factor: (n, { floor }) => s => floor + ((1 - floor) * (1 + Math.cos((Math.PI * s) / n))) / 2,
  },
  linear: {
    parameters: { length: 'rest', end: 0 }, lengths: ['length'], lasts: 'length',
    factor: (n, { end }) => s => 1 - s / n + end * (s / n),
  },
  polynomial: {
    parameters: { power: 'needed', end: 0, length: 'rest' }, lengths: ['length'], lasts: 'length',
    factor: (n, { power, end }) => s => end + (1 - end) * (1 - s / n) ** power,
  },
  exponential: {
    parameters: { end: 'needed', length: 'rest' }, lengths: ['length'], lasts: 'length',
    factor: (n, { end }) => s => end ** (s / n),
  },
  step: {
    parameters: { every: 'needed', gamma: 0.1, length: 'rest' }, lengths: ['every', 'length'], lasts: 'length',
    factor: (_, { every, gamma }) => s => gamma ** Math.floor((s - 1) / whole(every)),
  },
  one_cycle: {
    parameters: { length: 'rest', rise: 0.3, div: 25, final_div: 1e4 }, lengths: ['length'], lasts: 'length',
    factor: (n, { rise, div, final_div }) => {
      const [first, last, peak, end] = [1 / div, 1 / div / final_div, rise * n - 1, n - 1];
      return s => (peak > 0 && s - 1 <= peak ? halfWave(first, 1, (s - 1) / peak) : halfWave(1, last, (s - 1 - peak) / (end - peak)));
    },
  },
  cosine_restarts: {
    parameters: { first: 'needed', mult: 1, floor: 0, length: 'rest' }, lengths: ['first', 'length'], lasts: 'length',
    factor: (_, { first, mult, floor }) => s => {
      let [e, n] = [s - 1, whole(first)];
      while (e >= n) [e, n] = [e - n, n * mult];
      return floor + ((1 - floor) * (1 + Math.cos((Math.PI * e) / n))) / 2;
    },
  },
  inverse_sqrt: {
    parameters: { warmup: 'needed', length: 'rest' }, lengths: ['warmup', 'length'], lasts: 'length',
    factor: (_, { warmup }) => s => (s < whole(warmup) ? s / whole(warmup) : Math.sqrt(whole(warmup) / s)),
  },
};

/** Shares are computed in floating point here: what is whole but for its rounding is whole. */
const whole = (steps: number) => Math.ceil(steps - 1e-9);

/**
 * The factor at each step of a run; throws a TextError.
 *
 * @param T steps of the run. An epoch is one step: the page's descents have no data.
 */
export function schedule(text: string, T: number): (t: number) => number {
  const pieces = read(text, T);
  const factor = sequence(pieces, T, text);
  return t => factor(Math.min(t, T));
}

/** Parts one after another; boundaries are added up exactly and then rounded up. */
function sequence(pieces: Piece[], T: number, text: string): Factor {
  const known = pieces.reduce((sum, piece) => sum + (piece.length ?? 0), 0);
  if (known > T + 1e-6) throw new TextError(0, `‘${text}’ lasts ${known} steps, but there are ${T}`);
  const rest = Math.max(0, T - known);
  let begin = 0;
  const laid = pieces.map(piece => {
    const exact = piece.length ?? rest;
    const start = whole(begin);
    begin += exact;
    return { start, n: whole(begin) - start, piece, exact };
  });
  if (laid.every(part => part.n === 0)) laid[0].n = 1;
  const live = laid.filter(part => part.n > 0).map(part => ({ ...part, factor: part.piece.over(part.n, part.exact) }));
  const last = live[live.length - 1];
  return s => {
    const step = Math.min(s, last.start + last.n);
    const active = live.findLast(part => part.start < step) ?? live[0];
    return active.factor(step - active.start);
  };
}

interface Token {
  kind: 'number' | 'name' | 'sign' | 'end';
  text: string;
  at: number;
}

const TOKEN = /(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[A-Za-z_]\w*)|(?<sign>>>|[*(),=%-])|\s+/y;

function tokens(text: string): Token[] {
  const found: Token[] = [];
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const groups = TOKEN.exec(text)?.groups;
    if (!groups) throw new TextError(at, `‘${text[at]}’ does not belong in a schedule; use >> to join, * to multiply`);
    const kind = (['number', 'name', 'sign'] as const).find(k => groups[k] !== undefined);
    if (kind) found.push({ kind, text: groups[kind], at });
  }
  return [...found, { kind: 'end', text: '', at: text.length }];
}

const UNITS: Record<string, (value: number, T: number) => number> = {
  '%': (v, T) => (v * T) / 100, epoch: v => v, epochs: v => v, step: v => v, steps: v => v,
};

function read(text: string, T: number): Piece[] {
  const list = tokens(text);
  let index = 0;
  const next = () => list[index];
  const takes = (sign: string) => next().kind === 'sign' && next().text === sign && Boolean(++index);
  const shown = () => (next().kind === 'end' ? 'the end' : `‘${next().text}’`);
  const fail = (at: number, problem: string): never => {
    throw new TextError(at, problem);
  };

  function joined(): Piece[] {
    const pieces = product();
    while (takes('>>')) {
      const at = next().at;
      pieces.push(...product());
      if (pieces.filter(piece => piece.length === null).length > 1) fail(at, 'two parts would take the rest of the run; give one a length, such as 50%');
    }
    return pieces;
  }

  function product(): Piece[] {
    const at = next().at;
    const factors = [factor()];
    while (takes('*')) factors.push(factor());
    const scale = factors.reduce<number>((product, f) => (typeof f === 'number' ? product * f : product), 1);
    const sequences = factors.filter(f => typeof f !== 'number');
    if (!sequences.length) fail(at, `a number alone is no schedule; write ${scale} * constant`);
    if (sequences.length === 1 && scale === 1) return sequences[0];
    const lengths = sequences.map(pieces => pieces.reduce<number | null>((sum, p) => (sum === null || p.length === null ? null : sum + p.length), 0));
    return [{
      length: lengths.includes(null) ? null : Math.max(...(lengths as number[])),
      over: (_, exact) => {
        const curves = sequences.map(pieces => sequence(pieces, exact, text));
        return s => curves.reduce((product, curve) => product * curve(s), scale);
      },
    }];
  }

  function factor(): number | Piece[] {
    const token = next();
    index++;
    if (token.kind === 'number') return Number(token.text);
    if (token.kind === 'name') return [part(token)];
    if (token.text === '(') {
      const pieces = joined();
      if (!takes(')')) fail(next().at, `expected ‘)’, found ${shown()}`);
      return pieces;
    }
    index--;
    return fail(token.at, `expected a part such as cosine, a number or ‘(’, found ${shown()}`);
  }

  function part(name: Token): Piece {
    if (name.text === 'plateau') fail(name.at, 'a plateau needs the losses of epochs, which the page does not have');
    if (!Object.hasOwn(PARTS, name.text)) fail(name.at, `there is no schedule ‘${name.text}’; there are ${Object.keys(PARTS).join(', ')}`);
    const kind = PARTS[name.text];
    const given: Arguments = {};
    if (takes('(')) {
      while (!takes(')')) {
        argument(kind, name.text, given);
        if (!takes(',') && next().text !== ')') fail(next().at, `expected ‘,’ or ‘)’, found ${shown()}`);
      }
    }
    for (const [key, value] of Object.entries(kind.parameters)) {
      if (key in given) continue;
      if (value === 'needed') fail(name.at, `${name.text} needs ${key}`);
      if (typeof value === 'number') given[key] = value;
    }
    return { length: given[kind.lasts] ?? null, over: n => kind.factor(n, given) };
  }

  function argument(kind: Part, owner: string, given: Arguments): void {
    const keys = Object.keys(kind.parameters);
    const start = next();
    let key = keys[Object.keys(given).length];
    if (start.kind === 'name') {
      index++;
      key = start.text;
      if (!takes('=')) fail(next().at, `expected ‘=’ after ‘${key}’, found ${shown()}`);
    }
    if (!keys.includes(key) || key in given) fail(start.at, `${owner} takes ${keys.join(', ')}, each once`);
    const sign = takes('-') ? -1 : 1;
    const number = next();
    if (number.kind !== 'number') fail(number.at, `expected a number or a length such as 5%, found ${shown()}`);
    index++;
    const unit = Object.hasOwn(UNITS, next().text) ? UNITS[list[index++].text] : UNITS.steps;
    const value = sign * Number(number.text);
    given[key] = kind.lengths.includes(key) ? unit(value, T) : value;
    if (kind.lengths.includes(key) && !(given[key] > 0)) fail(number.at, 'a length is above 0');
  }

  if (next().kind === 'end') fail(0, 'the text is empty; expected a schedule such as warmup(5%) >> cosine');
  const pieces = joined();
  if (next().kind !== 'end') fail(next().at, `expected ‘>>’, ‘*’ or the end, found ${shown()}`);
  return pieces;
}

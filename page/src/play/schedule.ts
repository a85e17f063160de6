/// A schedule's text, read by the same grammar as Python's: factor of the base rate at step t = 1 … T.
//
// schedule  = product {">>" product}
// product   = factor {"*" factor}
// factor    = number | "(" schedule ")" | name ["(" [argument {"," argument}] ")"]
// argument  = [name "="] (single | "[" single {"," single} "]" | word)
// single    = ["-"] number ["%" | "epoch" | "epochs" | "step" | "steps"]
import { Reader, scan, TextError, type Token } from './text';

/** A factor at each local step s = 1 … n of a stretch. */
type Factor = (s: number) => number;

interface Piece {
  /** Exact steps, or null where it takes the rest. */
  length: number | null;
  /** Its factors on a stretch of n whole steps. */
  over(n: number, exact: number): Factor;
}

// A list of lengths and a word are read where a part takes them; its formula knows which it has.
type Arguments = Record<string, any>;

interface Part {
  /** In order; those without a default must be given. Lengths are steps here. */
  parameters: Record<string, number | 'needed' | 'rest'>;
  lengths: string[];
  /** Parameters that take one of a few words, the first by default. */
  words?: Record<string, string[]>;
  /** The parameter that says how long the part lasts. */
  lasts: string;
  factor(n: number, given: Arguments): Factor;
}

const line = (from: number, to: number, share: number) => (to - from) * share + from;
const halfWave = (from: number, to: number, share: number) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share));

const PARTS: Record<string, Part> = {
  constant: { parameters: { length: 'rest' }, lengths: ['length'], lasts: 'length', factor: () => () => 1 },
  warmup: { parameters: { length: 'needed' }, lengths: ['length'], lasts: 'length', factor: n => s => s / n },
  cosine: {
    parameters: { length: 'rest', floor: 0, min_lr: 'rest' }, lengths: ['length'], lasts: 'length',
    factor: (n, { floor }) => s => floor + ((1 - floor) * (1 + Math.cos((Math.PI * s) / n))) / 2,
  },
  linear: {
    parameters: { length: 'rest', end: 0, min_lr: 'rest' }, lengths: ['length'], lasts: 'length',
    factor: (n, { end }) => s => 1 - s / n + end * (s / n),
  },
  polynomial: {
    parameters: { power: 'needed', end: 0, length: 'rest', min_lr: 'rest' }, lengths: ['length'], lasts: 'length',
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
  multistep: {
    parameters: { milestones: 'needed', gamma: 0.1, length: 'rest' }, lengths: ['milestones', 'length'], lasts: 'length',
    factor: (_, { milestones, gamma }) => s => gamma ** [milestones].flat().filter(milestone => whole(milestone) <= s - 1).length,
  },
  cooldown: {
    parameters: { length: 'rest', floor: 0, power: 0.5, min_lr: 'rest' }, lengths: ['length'], lasts: 'length',
    factor: (n, { floor, power }) => s => floor + (1 - floor) * (1 - (s / n) ** power),
  },
  one_cycle: {
    parameters: { length: 'rest', rise: 0.3, div: 25, final_div: 1e4, peak: 1, phases: 2, anneal: 'rest' },
    lengths: ['length'], lasts: 'length', words: { anneal: ['cos', 'linear'] },
    factor: (n, { rise, div, final_div, peak, phases, anneal }) => {
      const [first, last, between] = [1 / div, 1 / div / final_div, anneal === 'linear' ? line : halfWave];
      const middle = phases === 3 ? [[2 * rise * n - 2, peak, first]] : [];
      const all = [[rise * n - 1, first, peak], ...middle, [n - 1, phases === 3 ? first : peak, last]];
      return s => {
        let begin = 0;
        for (const [end, from, to] of all.slice(0, -1)) {
          if (end > begin && s - 1 <= end) return between(from, to, (s - 1 - begin) / (end - begin));
          begin = end;
        }
        const [end, from, to] = all[all.length - 1];
        return between(from, to, (s - 1 - begin) / (end - begin));
      };
    },
  },
  cyclic: {
    parameters: { up: 'needed', down: 'rest', begin: 0.1, peak: 1, cycle_gamma: 1, gamma: 1, length: 'rest' },
    lengths: ['up', 'down', 'length'], lasts: 'length',
    factor: (_, { up, down = up, begin, peak, cycle_gamma, gamma }) => s => {
      const [rising, falling] = [whole(up), whole(down)];
      const cycle = Math.floor((s - 1) / (rising + falling));
      const e = s - 1 - cycle * (rising + falling);
      const rise = e <= rising ? e / rising : (rising + falling - e) / falling;
      return begin + (peak - begin) * rise * cycle_gamma ** cycle * gamma ** (s - 1);
    },
  },
  cosine_restarts: {
    parameters: { first: 'needed', mult: 1, floor: 0, length: 'rest', decay: 1, limit: 'rest', min_lr: 'rest' },
    lengths: ['first', 'length'], lasts: 'length',
    factor: (_, { first, mult, floor, decay, limit = Infinity }) => s => {
      let [e, n, cycle] = [s - 1, whole(first), 0];
      while (e >= n) [e, n, cycle] = [e - n, n * mult, cycle + 1];
      return cycle >= limit ? floor : floor + ((decay ** cycle - floor) * (1 + Math.cos((Math.PI * e) / n))) / 2;
    },
  },
  cosine_cycles: {
    parameters: { cycles: 'needed', floor: 0, decay: 1, length: 'rest', min_lr: 'rest' }, lengths: ['length'], lasts: 'length',
    factor: (n, { cycles, floor, decay }) => s => {
      const cycle = Math.floor((cycles * s) / n);
      const share = ((cycles * s) % n) / n;
      return s >= n ? floor : floor + ((decay ** cycle - floor) * (1 + Math.cos(Math.PI * share))) / 2;
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
 * @param base the base learning rate, which min_lr needs; null for another hyperparameter.
 */
export function schedule(text: string, T: number, base: number | null = null): (t: number) => number {
  const pieces = new Parser(text, T, base).whole();
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

const NAMES = '[A-Za-z_]\\w*';
const SIGNS = '>>|[\\]\\[*(),=%-]';
const UNITS: Record<string, (value: number, T: number) => number> = {
  '%': (v, T) => (v * T) / 100, epoch: v => v, epochs: v => v, step: v => v, steps: v => v,
};

/** Recursive descent: one method for each line of the grammar. */
class Parser extends Reader {
  constructor(private readonly text: string, private readonly T: number, private readonly base: number | null) {
    super(scan(text, NAMES, SIGNS, 'a schedule; use >> to join, * to multiply'));
  }

  whole(): Piece[] {
    if (this.ended) this.fail(0, 'the text is empty; expected a schedule such as warmup(5%) >> cosine');
    const pieces = this.joined();
    if (!this.ended) this.fail(this.next.at, `expected ‘>>’, ‘*’ or the end, found ${this.shown}`);
    return pieces;
  }

  private joined(): Piece[] {
    const pieces = this.product();
    while (this.takes('>>')) {
      const { at } = this.next;
      pieces.push(...this.product());
      if (pieces.filter(piece => piece.length === null).length > 1) {
        this.fail(at, 'two parts would take the rest of the run; give one a length, such as 50%');
      }
    }
    return pieces;
  }

  private product(): Piece[] {
    const { at } = this.next;
    const factors = [this.factor()];
    while (this.takes('*')) factors.push(this.factor());
    const scale = factors.reduce<number>((all, f) => (typeof f === 'number' ? all * f : all), 1);
    const sequences = factors.filter(f => typeof f !== 'number');
    if (!sequences.length) this.fail(at, `a number alone is no schedule; write ${scale} * constant`);
    return sequences.length === 1 && scale === 1 ? [...sequences[0]] : [multiplied(scale, sequences, this.text)];
  }

  private factor(): number | Piece[] {
    const found = this.shown;
    const token = this.advance();
    if (token.kind === 'number') return Number(token.text);
    if (token.kind === 'name') return [this.part(token)];
    if (token.text !== '(') this.fail(token.at, `expected a part such as cosine, a number or ‘(’, found ${found}`);
    const pieces = this.joined();
    if (!this.takes(')')) this.fail(this.next.at, `expected ‘)’, found ${this.shown}`);
    return pieces;
  }

  private part({ text: name, at }: Token): Piece {
    if (name === 'plateau') this.fail(at, 'a plateau needs the losses of epochs, which the page does not have');
    if (!Object.hasOwn(PARTS, name)) this.fail(at, `there is no schedule ‘${name}’; there are ${Object.keys(PARTS).join(', ')}`);
    const kind = PARTS[name];
    const given = this.takes('(') ? this.given(kind, name) : {};
    for (const [key, value] of Object.entries(kind.parameters)) {
      if (key in given) continue;
      if (value === 'needed') this.fail(at, `${name} needs ${key}`);
      if (typeof value === 'number') given[key] = value;
    }
    if ('min_lr' in given) {
      if (this.base === null) this.fail(at, 'min_lr is for the learning rate; give a relative least value, such as floor');
      given['floor' in kind.parameters ? 'floor' : 'end'] = Math.min(1, given.min_lr / this.base!);
    }
    return { length: given[kind.lasts] ?? null, over: n => kind.factor(n, given) };
  }

  private given(kind: Part, owner: string): Arguments {
    const given: Arguments = {};
    while (!this.takes(')')) {
      this.argument(kind, owner, given);
      if (!this.takes(',') && this.next.text !== ')') this.fail(this.next.at, `expected ‘,’ or ‘)’, found ${this.shown}`);
    }
    return given;
  }

  private argument(kind: Part, owner: string, given: Arguments): void {
    const keys = Object.keys(kind.parameters);
    const start = this.next;
    let key = keys[Object.keys(given).length];
    if (start.kind === 'name') {
      key = this.advance().text;
      if (!this.takes('=')) this.fail(this.next.at, `expected ‘=’ after ‘${key}’, found ${this.shown}`);
    }
    if (!keys.includes(key) || key in given) this.fail(start.at, `${owner} takes ${keys.join(', ')}, each once`);
    const words = kind.words?.[key];
    if (words) {
      if (!words.includes(this.next.text)) this.fail(this.next.at, `${key} of ${owner} is ${words.join(' or ')}`);
      given[key] = this.advance().text;
    } else if (key === 'milestones' && this.takes('[')) {
      given[key] = [this.single(true)];
      while (this.takes(',')) given[key].push(this.single(true));
      if (!this.takes(']')) this.fail(this.next.at, `expected ‘]’, found ${this.shown}`);
    } else {
      given[key] = this.single(kind.lengths.includes(key));
    }
  }

  private single(isLength: boolean): number {
    const sign = this.takes('-') ? -1 : 1;
    if (this.next.kind !== 'number') this.fail(this.next.at, `expected a number or a length such as 5%, found ${this.shown}`);
    const number = this.advance();
    const unit = Object.hasOwn(UNITS, this.next.text) ? UNITS[this.advance().text] : UNITS.steps;
    const value = isLength ? unit(sign * Number(number.text), this.T) : sign * Number(number.text);
    if (isLength && !(value > 0)) this.fail(number.at, 'a length is above 0');
    return value;
  }
}

/** The product of sequences, step by step; a shorter one holds its last value. */
function multiplied(scale: number, sequences: Piece[][], text: string): Piece {
  const lengths = sequences.map(pieces =>
    pieces.some(piece => piece.length === null) ? null : pieces.reduce((sum, piece) => sum + piece.length!, 0));
  return {
    length: lengths.includes(null) ? null : Math.max(...(lengths as number[])),
    over: (_, exact) => {
      const curves = sequences.map(pieces => sequence(pieces, exact, text));
      return s => curves.reduce((all, curve) => all * curve(s), scale);
    },
  };
}

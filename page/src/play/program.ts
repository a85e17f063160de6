/// An update rule as the program that `steepest/rules/backends/page.py` lowers it to, run here; the format is told there.

export interface Op {
  op: string;
  /** Numbers, or names of values: inputs, or what an operation before was called. */
  args: (string | number)[];
  to: string;
}

export interface Slot {
  name: string;
  /** What it is before the first step: a number or its name, or "w", the weight. */
  start: number | string;
  /** One number for each weight, or one for the member. */
  each: 'weight' | 'member';
}

/** What `Member.js` holds, as JSON. */
export interface Program {
  name: string;
  /** All hyperparameters without `t`, with their values; `Member.hyper` wins over these. */
  hypers: Record<string, number | string>;
  slots: Slot[];
  /** Computed once a step, from hyperparameters, `t` and the member's slots. */
  once: Op[];
  /** Computed for each weight, from `w`, `g`, slots and all of the above. */
  body: Op[];
  /** The new weight and slots, by name. */
  out: Record<string, string | number>;
  /** The weight that the rule reports, computed after a step from the new `w` and slots; null: `w` itself. */
  reported: { once: Op[]; body: Op[]; out: { w: string | number } } | null;
}

/** Numbers that JSON lacks, by their names. */
const NUMBERS: Record<string, number> = { Infinity: Infinity, '-Infinity': -Infinity, NaN: NaN };

const truth = (b: boolean) => (b ? 1 : 0);

const OPERATIONS: Record<string, (a: number, b: number, c: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  pow: (a, b) => a ** b,
  neg: a => -a,
  sqrt: Math.sqrt,
  exp: Math.exp,
  log: Math.log,
  abs: Math.abs,
  sign: Math.sign,
  maximum: (a, b) => Math.max(a, b),
  minimum: (a, b) => Math.min(a, b),
  where: (a, b, c) => (a ? b : c),
  lt: (a, b) => truth(a < b),
  le: (a, b) => truth(a <= b),
  gt: (a, b) => truth(a > b),
  ge: (a, b) => truth(a >= b),
  eq: (a, b) => truth(a === b),
  ne: (a, b) => truth(a !== b),
  and: (a, b) => truth(Boolean(a) && Boolean(b)),
  or: (a, b) => truth(Boolean(a) || Boolean(b)),
  not: a => truth(!a),
};

/** A rule in motion: its slots for some weights. */
export interface Mover {
  /** Moves the weights in place, given the gradient and this step's hyperparameters. */
  step(w: Float64Array, g: Float64Array, hypers: Record<string, number>): void;
  /** The point that the rule reports. */
  reported(w: Float64Array): Float64Array;
  /** A slot's numbers, one for each weight; null where the rule has no such slot. */
  slot(name: string): Float64Array | null;
}

/** A rule at its first step, at the weights w. */
export function mover(program: Program, w: Float64Array): Mover {
  const places = new Map<string, number>();
  const place = (name: string): number => {
    if (!places.has(name)) places.set(name, places.size);
    return places.get(name)!;
  };
  const inputs = ['w', 'g', 't', ...Object.keys(program.hypers), ...program.slots.map(s => s.name)];
  inputs.forEach(place);
  const { reported } = program;
  const all = [...program.once, ...program.body, ...(reported?.once ?? []), ...(reported?.body ?? [])];
  const constants: number[] = [];
  const constant = (x: string | number) => typeof x === 'number' && constants.push(x);
  all.forEach(({ args, to }) => {
    place(to);
    args.forEach(constant);
  });
  [...Object.values(program.out), ...Object.values(reported?.out ?? {})].forEach(constant);
  constants.forEach(c => place(`#${c}`));
  Object.keys(NUMBERS).forEach(place);
  const x = new Float64Array(places.size);
  constants.forEach(c => (x[place(`#${c}`)] = c));
  Object.entries(NUMBERS).forEach(([name, value]) => (x[place(name)] = value));
  const compiled = (ops: Op[]) => ops.map(op => instruction(op, x, places));
  const [once, each] = [compiled(program.once), compiled(program.body)];
  const [reportOnce, reportEach] = [compiled(reported?.once ?? []), compiled(reported?.body ?? [])];
  const output = (of: string | number) => place(typeof of === 'number' ? `#${of}` : of);
  const newWeight = output(program.out.w);
  const newSlots = program.slots.map(slot => output(program.out[slot.name]));
  const started = (start: number | string, w: number) =>
    typeof start === 'number' ? start : start === 'w' ? w : NUMBERS[start];
  const state = program.slots.map(slot => Float64Array.from(w, v => started(slot.start, v)));
  const at = program.slots.map(slot => place(slot.name));
  const load = (i: number) => {
    for (let s = 0; s < state.length; s++) x[at[s]] = state[s][i];
  };
  const [atW, atG, atT] = ['w', 'g', 't'].map(place);
  const atHypers = Object.keys(program.hypers).map((name): [string, number] => [name, place(name)]);
  const run = (ops: (() => void)[]) => {
    for (let i = 0; i < ops.length; i++) ops[i]();
  };
  let t = 0;
  return {
    step(w, g, hypers) {
      x[atT] = ++t;
      for (const [name, to] of atHypers) x[to] = hypers[name];
      load(0);
      run(once);
      for (let i = 0; i < w.length; i++) {
        load(i);
        x[atW] = w[i];
        x[atG] = g[i];
        run(each);
        w[i] = x[newWeight];
        for (let s = 0; s < state.length; s++) state[s][i] = x[newSlots[s]];
      }
    },
    reported(w) {
      if (!reported) return w;
      load(0);
      run(reportOnce);
      return w.map((v, i) => {
        load(i);
        x[atW] = v;
        run(reportEach);
        return x[output(reported.out.w)];
      });
    },
    slot(name) {
      const s = program.slots.findIndex(slot => slot.name === name);
      return s < 0 ? null : state[s];
    },
  };
}

/** One operation as a function on the register file. */
function instruction({ op, args, to }: Op, x: Float64Array, places: Map<string, number>): () => void {
  const operation = Object.hasOwn(OPERATIONS, op) ? OPERATIONS[op] : undefined;
  if (!operation) throw new TypeError(`there is no operation '${op}'; there are ${Object.keys(OPERATIONS).join(', ')}`);
  const [a, b = 0, c = 0] = args.map(argument => {
    const at = places.get(typeof argument === 'number' ? `#${argument}` : argument);
    if (at === undefined) throw new TypeError(`'${to}' is made of '${argument}', which is no input and no earlier result`);
    return at;
  });
  const at = places.get(to)!;
  return () => {
    x[at] = operation(x[a], x[b], x[c]);
  };
}

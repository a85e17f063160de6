/// An update rule, traced from its Python formula into straight-line arithmetic, and run here. README.md describes it.

/** [name of the result, operation, operands…]; an operand is the name of an input or of an earlier result, or a number. */
export type Op = [name: string, op: string, ...operands: (string | number)[]];

export interface Slot {
  name: string;
  /** What it is before the first step; "w": the weight itself. */
  start: number | 'w';
  /** One number for each weight, or one for the member. */
  per: 'weight' | 'member';
}

/** What `Member.js` holds, as JSON. */
export interface Program {
  slots: Slot[];
  /** All hyperparameters without `t`, with their values; `Member.hyper` wins over these. */
  hypers: Record<string, number>;
  /** Computed once a step, from hyperparameters, `t` and member slots. */
  member: Op[];
  /** Computed once a step for each weight, from `w`, `g`, slots and all of the above. */
  weight: Op[];
  /** Names of the new weight and of the new slots, in the order of `slots`. */
  outputs: string[];
  /** The weight that the rule reports, computed after a step from the new `w` and slots; null: `w` itself. */
  report: { member: Op[]; weight: Op[]; output: string } | null;
}

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
  const all = [...program.member, ...program.weight, ...(program.report?.member ?? []), ...(program.report?.weight ?? [])];
  const constants: number[] = [];
  all.forEach(([name, , ...operands]) => {
    place(name);
    operands.forEach(x => typeof x === 'number' && constants.push(x));
  });
  constants.forEach(c => place(`#${c}`));
  const x = new Float64Array(places.size);
  constants.forEach(c => (x[place(`#${c}`)] = c));
  const compiled = (ops: Op[]) => ops.map(op => instruction(op, x, places));
  const [once, each] = [compiled(program.member), compiled(program.weight)];
  const [reportOnce, reportEach] = [compiled(program.report?.member ?? []), compiled(program.report?.weight ?? [])];
  const outputs = program.outputs.map(place);
  const state = program.slots.map(slot => Float64Array.from(w, v => (slot.start === 'w' ? v : slot.start)));
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
        w[i] = x[outputs[0]];
        for (let s = 0; s < state.length; s++) state[s][i] = x[outputs[s + 1]];
      }
    },
    reported(w) {
      const { report } = program;
      if (!report) return w;
      load(0);
      run(reportOnce);
      return w.map((v, i) => {
        load(i);
        x[atW] = v;
        run(reportEach);
        return x[place(report.output)];
      });
    },
    slot(name) {
      const s = program.slots.findIndex(slot => slot.name === name);
      return s < 0 ? null : state[s];
    },
  };
}

/** One operation as a function on the register file. */
function instruction([name, op, ...operands]: Op, x: Float64Array, places: Map<string, number>): () => void {
  const operation = Object.hasOwn(OPERATIONS, op) ? OPERATIONS[op] : undefined;
  if (!operation) throw new TypeError(`there is no operation '${op}'; there are ${Object.keys(OPERATIONS).join(', ')}`);
  const [a, b = 0, c = 0] = operands.map(operand => {
    const at = places.get(typeof operand === 'number' ? `#${operand}` : operand);
    if (at === undefined) throw new TypeError(`'${name}' is made of '${operand}', which is no input and no earlier result`);
    return at;
  });
  const to = places.get(name)!;
  return () => {
    x[to] = operation(x[a], x[b], x[c]);
  };
}

// The format of steepest/formula/javascript.py, run: [{program, hypers, start, gradients}] on standard input, the
// weights after each step on standard output. A number that JSON lacks is its name as text, on both sides.
import { readFileSync } from "node:fs";

const operations = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, pow: (a, b) => a ** b,
  neg: (a) => -a, sqrt: Math.sqrt, sign: Math.sign, abs: Math.abs, exp: Math.exp, log: Math.log,
  maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b), where: (condition, a, b) => (condition ? a : b),
  lt: (a, b) => a < b, le: (a, b) => a <= b, gt: (a, b) => a > b, ge: (a, b) => a >= b,
  eq: (a, b) => a === b, ne: (a, b) => a !== b, and: (a, b) => a && b, or: (a, b) => a || b, not: (a) => !a,
};

// Every name and every number has a place in one array of values.
class Values {
  constructor() {
    this.places = new Map();
    this.values = [];
    for (const x of [Infinity, -Infinity, NaN]) this.set(String(x), x);
  }
  place(argument) {
    const key = typeof argument === "number" ? `number ${argument}` : argument;
    if (!this.places.has(key)) {
      this.places.set(key, this.values.length);
      this.values.push(typeof argument === "number" ? argument : undefined);
    }
    return this.places.get(key);
  }
  set(name, x) { this.values[this.place(name)] = x; }
  get(argument) { return this.values[this.place(argument)]; }
  ready(steps) {
    const v = this.values;
    const ready = steps.map(({ op, args, to }) => [operations[op], ...args.map((a) => this.place(a)), this.place(to)]);
    return () => {
      for (const s of ready) {
        if (s.length === 3) v[s[2]] = s[0](v[s[1]]);
        else if (s.length === 4) v[s[3]] = s[0](v[s[1]], v[s[2]]);
        else v[s[4]] = s[0](v[s[1]], v[s[2]], v[s[3]]);
      }
    };
  }
}

function descend({ program, hypers, start, gradients }) {
  const values = new Values();
  const parts = [program, program.reported].filter((x) => x !== null);
  const [step, report] = parts.map((x) => ({ once: values.ready(x.once), body: values.ready(x.body), out: x.out }));
  const starts = (each, x) =>
    program.slots.filter((s) => s.each === each)
      .map((s) => [s.name, s.start === "w" ? x : typeof s.start === "number" ? s.start : values.get(s.start)]);
  const set = (pairs) => pairs.forEach(([name, x]) => values.set(name, x));
  const renewed = (pairs) => pairs.map(([name]) => [name, values.get(program.out[name])]);
  let w = start;
  let member = starts("member");
  let slots = start.map((x) => starts("weight", x));
  return gradients.map((gradient, n) => {
    set([...Object.entries(hypers[n]), ["t", n + 1], ...member]);
    step.once();
    const after = renewed(member);
    w = w.map((x, i) => {
      set([["w", x], ["g", gradient[i]], ...slots[i]]);
      step.body();
      slots[i] = renewed(slots[i]);
      return values.get(program.out.w);
    });
    member = after;
    if (report === undefined) return w;
    set(member);
    report.once();
    return w.map((x, i) => {
      set([["w", x], ...slots[i]]);
      report.body();
      return values.get(report.out.w);
    });
  });
}

const spell = (key, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
const given = JSON.parse(readFileSync(0, "utf8"));
for (const one of given) one.gradients = one.gradients.map((row) => row.map(Number));
process.stdout.write(JSON.stringify(given.map(descend), spell));

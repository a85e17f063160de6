// Steps through rules as the page does: programs, hyperparameters and gradients of every step come as JSON, the points that
// the rules report go out.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { mover } = await import(pathToFileURL(process.argv[2]).href);
const NAMED = { Infinity, '-Infinity': -Infinity, NaN };
const number = x => (typeof x === 'string' ? NAMED[x] : x);
const spelled = x => (Number.isFinite(x) ? x : String(x));
const answers = JSON.parse(readFileSync(0, 'utf8')).map(({ program, hypers, start, gradients }) => {
  const w = Float64Array.from(start);
  const rule = mover(program, w);
  return gradients.map((g, i) => {
    rule.step(w, Float64Array.from(g, number), hypers[i]);
    return Array.from(rule.reported(w), spelled);
  });
});
process.stdout.write(JSON.stringify(answers));

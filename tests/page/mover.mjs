// Steps through a rule with given gradients: a program and gradients come as JSON, all weights and reports go out.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { mover } = await import(pathToFileURL(process.argv[2]).href);
const cases = JSON.parse(readFileSync(0, 'utf8'));
const answers = cases.map(({ program, hypers, start, gradients }) => {
  const w = Float64Array.from(start);
  const rule = mover(program, w);
  return gradients.map(g => {
    rule.step(w, Float64Array.from(g), hypers);
    return [[...w], [...rule.reported(w)]];
  });
});
process.stdout.write(JSON.stringify(answers));

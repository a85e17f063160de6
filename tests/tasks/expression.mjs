// Reads functions as the page does: a line of JSON with a text and points comes in, a line with values and gradients, or
// with where the mistake is, goes out.
import { registerHooks } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// The page's modules name one another without their suffix, as its bundler has it.
registerHooks({ resolve: (name, context, next) => next(/^\.\.?\/[\w/]+$/.test(name) ? `${name}.ts` : name, context) });
const { terrain } = await import(pathToFileURL(process.argv[2]).href);
const spelled = x => (Number.isFinite(x) ? x : String(x));
for await (const line of createInterface({ input: process.stdin })) {
  const { text, points } = JSON.parse(line);
  let answer;
  try {
    const land = terrain(text);
    answer = { values: points.map(([x, y]) => spelled(land.value(x, y))), gradients: points.map(([x, y]) => {
      const jet = land.jet(x, y);
      return [spelled(jet.x), spelled(jet.y)];
    }) };
  } catch (error) {
    if (error.position === undefined) throw error;
    answer = { position: error.position, problem: error.problem };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

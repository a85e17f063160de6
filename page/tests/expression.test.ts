import { describe, expect, it } from 'vitest';
import { parse, terrain } from '../src/expression';
import { TextError } from '../src/play/text';

const AT: [number, number][] = [[0.3, -0.7], [1.2, 0.4], [-0.8, 1.5]];
const FORMULAS: [string, (x: number, y: number) => number][] = [
  ['(1 - x)^2 + 100 (y - x^2)^2', (x, y) => (1 - x) ** 2 + 100 * (y - x * x) ** 2],
  ['(1 − x)² + 100·(y − x²)²', (x, y) => (1 - x) ** 2 + 100 * (y - x * x) ** 2],
  ['-x**2 + 3xy/2', (x, y) => -(x ** 2) + (3 * x * y) / 2],
  ['2^-x * exp(-y²)', (x, y) => 2 ** -x * Math.exp(-(y ** 2))],
  ['20 + x^2 - 10cos(2 pi x) + sin(x y)', (x, y) => 20 + x * x - 10 * Math.cos(2 * Math.PI * x) + Math.sin(x * y)],
  ['sigmoid(8(x - 1)) + 0.02(x² + y²)', (x, y) => 1 / (1 + Math.exp(-8 * (x - 1))) + 0.02 * (x * x + y * y)],
  ['sqrt(x^2 + y^2 + 1)^3 + log(4 + x) + tanh(y) + atan(x*y)', (x, y) =>
    Math.sqrt(x * x + y * y + 1) ** 3 + Math.log(4 + x) + Math.tanh(y) + Math.atan(x * y)],
  ['(3 + x)^(y/2)', (x, y) => (3 + x) ** (y / 2)],
  ['x^3 - 3x y^2 + abs(x) tan(y/4)', (x, y) => x ** 3 - 3 * x * y * y + Math.abs(x) * Math.tan(y / 4)],
  ['1/(2 + x + y)^2', (x, y) => 1 / (2 + x + y) ** 2],
];

describe.each(FORMULAS)('%s', (text, f) => {
  it.each(AT)('is what it says at (%f, %f), and so are its derivatives', (x, y) => {
    const land = terrain(text);
    const jet = land.jet(x, y);
    expect(land.value(x, y)).toBeCloseTo(f(x, y), 12);
    expect(jet.v).toBeCloseTo(f(x, y), 12);
    const h = 1e-4;
    const close = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThan(2e-5 * (1 + Math.abs(b)));
    close(jet.x, (f(x + h, y) - f(x - h, y)) / (2 * h));
    close(jet.y, (f(x, y + h) - f(x, y - h)) / (2 * h));
    close(jet.xx, (f(x + h, y) - 2 * f(x, y) + f(x - h, y)) / h ** 2);
    close(jet.yy, (f(x, y + h) - 2 * f(x, y) + f(x, y - h)) / h ** 2);
    close(jet.xy, (f(x + h, y + h) - f(x + h, y - h) - f(x - h, y + h) + f(x - h, y - h)) / (4 * h ** 2));
  });
});

it.each([
  ['x^2 +', 5, 'the end'],
  ['x + $', 4, '‘$’'],
  ['sin x', 4, '‘(’ after sin'],
  ['(x + 1', 6, '‘)’ for the ‘(’ at character 1'],
  ['foo(x)', 0, 'there is no ‘foo’'],
  ['constructor', 0, 'there is no ‘constructor’'],
  ['__proto__', 0, '‘_’'],
  ['x y)', 3, 'an operator or the end'],
  ['', 0, 'empty'],
  ['('.repeat(100), 61, 'nested'],
])('%s: the mistake is at character %i', (text, position, words) => {
  try {
    parse(text);
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(TextError);
    expect((error as TextError).position).toBe(position);
    expect((error as TextError).problem).toContain(words);
  }
});

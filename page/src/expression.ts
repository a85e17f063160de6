/// A function of x and y that somebody typed, read by hand and by a whitelist; nothing is evaluated as code.
//
// sum      = product {("+" | "-") product}
// product  = signed {["*" | "/"] signed}                 two things side by side are multiplied: 2x, 3(x + 1)y
// signed   = {"+" | "-"} power
// power    = atom [("^" | "**") signed | superscript]    x^2, x**2 and x² are the same, and bind before a sign
// atom     = number | "x" | "y" | "pi" | "e" | function "(" sum ")" | "(" sum ")"
import * as jets from './jet';
import type { Jet } from './jet';

export type Node =
  | { kind: 'number'; value: number; name?: string }
  | { kind: 'variable'; name: 'x' | 'y' }
  | { kind: 'call'; name: string; of: Node }
  | { kind: 'negative'; of: Node }
  | { kind: 'binary'; op: '+' | '-' | '*' | '/' | '^'; a: Node; b: Node };

/** What is wrong with a text, and at which of its characters, from 0. */
export class TextError extends Error {
  constructor(readonly position: number, readonly problem: string) {
    super(`character ${position + 1}: ${problem}`);
  }
}

/** A function of two numbers with its exact gradient and Hessian. */
export interface Terrain {
  text: string;
  tree: Node;
  value(x: number, y: number): number;
  jet(x: number, y: number): Jet;
}

/** The function that a text means; throws a TextError. */
export function terrain(text: string): Terrain {
  const tree = parse(text);
  const jet = compile(tree);
  const value = plain(tree);
  return { text, tree, value, jet: (x, y) => jet(jets.variableX(x), jets.variableY(y)) };
}

// -- Reading ----------------------------------------------------------------------------------------------------------

interface Token {
  kind: 'number' | 'name' | 'sign' | 'end';
  text: string;
  at: number;
}

const TOKEN = /(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[A-Za-z]+|[πσ])|(?<sign>\*\*|[-+*/^()−·²³⁴])|\s+/y;
const SAME: Record<string, string> = { '**': '^', '−': '-', '·': '*' };
const SUPERSCRIPTS: Record<string, number> = { '²': 2, '³': 3, '⁴': 4 };
const CONSTANTS: Record<string, number> = { pi: Math.PI, π: Math.PI, e: Math.E };
const ALIASES: Record<string, string> = { ln: 'log', σ: 'sigmoid', arctan: 'atan' };
const DEEPEST = 60;

function tokens(text: string): Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const groups = TOKEN.exec(text)?.groups;
    if (!groups) throw new TextError(at, `‘${text[at]}’ does not belong in a formula of x and y`);
    const kind = (['number', 'name', 'sign'] as const).find(k => groups[k] !== undefined);
    if (kind === 'name') found.push(...names(groups.name, at));
    else if (kind) found.push({ kind, text: SAME[groups[kind]] ?? groups[kind], at });
  }
  return [...found, { kind: 'end', text: '', at: text.length }];
}

/** A name that nobody has, but whose letters are all x and y, is a product: xy. */
function names(text: string, at: number): Token[] {
  if (/^[xy]{2,}$/.test(text)) return [...text].map((letter, i) => ({ kind: 'name', text: letter, at: at + i }));
  return [{ kind: 'name', text: ALIASES[text] ?? text, at }];
}

/** The tree of a text; throws a TextError. */
export function parse(text: string): Node {
  const list = tokens(text);
  let index = 0;
  let depth = 0;
  const next = () => list[index];
  const takes = (sign: string) => next().kind === 'sign' && next().text === sign && Boolean(++index);
  const shown = () => (next().kind === 'end' ? 'the end' : `‘${next().text}’`);

  function sum(): Node {
    let node = product();
    for (;;) {
      if (takes('+')) node = { kind: 'binary', op: '+', a: node, b: product() };
      else if (takes('-')) node = { kind: 'binary', op: '-', a: node, b: product() };
      else return node;
    }
  }

  function product(): Node {
    let node = signed();
    for (;;) {
      const beside = next().kind === 'number' || next().kind === 'name' || next().text === '(';
      if (takes('*') || beside) node = { kind: 'binary', op: '*', a: node, b: beside ? raised() : signed() };
      else if (takes('/')) node = { kind: 'binary', op: '/', a: node, b: signed() };
      else return node;
    }
  }

  function signed(): Node {
    if (takes('-')) return { kind: 'negative', of: nested(signed) };
    return takes('+') ? nested(signed) : raised();
  }

  function raised(): Node {
    const base = atom();
    if (takes('^')) return { kind: 'binary', op: '^', a: base, b: nested(signed) };
    const exponent = next().kind === 'sign' ? SUPERSCRIPTS[next().text] : undefined;
    if (exponent === undefined) return base;
    index++;
    return { kind: 'binary', op: '^', a: base, b: { kind: 'number', value: exponent } };
  }

  function atom(): Node {
    const token = next();
    index++;
    if (token.kind === 'number') return { kind: 'number', value: Number(token.text) };
    if (token.text === '(') return closed(token);
    if (token.kind === 'name') return named(token);
    index--;
    throw new TextError(token.at, `expected a number, x, y or ‘(’, found ${shown()}`);
  }

  function named(token: Token): Node {
    const name = token.text;
    if (name === 'x' || name === 'y') return { kind: 'variable', name };
    if (Object.hasOwn(CONSTANTS, name)) return { kind: 'number', value: CONSTANTS[name], name };
    if (!Object.hasOwn(jets.FUNCTIONS, name)) {
      throw new TextError(token.at, `there is no ‘${name}’; there are x, y, pi, e and ${Object.keys(jets.FUNCTIONS).join(', ')}`);
    }
    const opening = next();
    if (!takes('(')) throw new TextError(opening.at, `expected ‘(’ after ${name}, found ${shown()}`);
    return { kind: 'call', name, of: closed(opening) };
  }

  function closed(opening: Token): Node {
    const node = nested(sum);
    if (!takes(')')) {
      throw new TextError(next().at, `expected ‘)’ for the ‘(’ at character ${opening.at + 1}, found ${shown()}`);
    }
    return node;
  }

  function nested(part: () => Node): Node {
    if (++depth > DEEPEST) throw new TextError(next().at, `nested more than ${DEEPEST} deep`);
    const node = part();
    depth--;
    return node;
  }

  if (next().kind === 'end') throw new TextError(0, 'the formula is empty; expected one such as x^2 − y^2');
  const whole = sum();
  if (next().kind !== 'end') throw new TextError(next().at, `expected an operator or the end, found ${shown()}`);
  return whole;
}

// -- Computing --------------------------------------------------------------------------------------------------------

type OnJets = (x: Jet, y: Jet) => Jet;
type OnNumbers = (x: number, y: number) => number;

function compile(node: Node): OnJets {
  switch (node.kind) {
    case 'number': {
      const value = jets.constant(node.value);
      return () => value;
    }
    case 'variable':
      return node.name === 'x' ? x => x : (_, y) => y;
    case 'negative': {
      const of = compile(node.of);
      return (x, y) => jets.subtract(jets.constant(0), of(x, y));
    }
    case 'call': {
      const of = compile(node.of);
      const f = jets.FUNCTIONS[node.name];
      return (x, y) => {
        const u = of(x, y);
        return jets.chain(u, ...f(u.v));
      };
    }
    case 'binary': {
      const [a, b] = [compile(node.a), compile(node.b)];
      const op = { '+': jets.add, '-': jets.subtract, '*': jets.multiply, '/': jets.divide, '^': jets.power }[node.op];
      return (x, y) => op(a(x, y), b(x, y));
    }
  }
}

/** The value alone, for grids. */
function plain(node: Node): OnNumbers {
  switch (node.kind) {
    case 'number':
      return () => node.value;
    case 'variable':
      return node.name === 'x' ? x => x : (_, y) => y;
    case 'negative': {
      const of = plain(node.of);
      return (x, y) => -of(x, y);
    }
    case 'call': {
      const of = plain(node.of);
      const f = jets.FUNCTIONS[node.name];
      return (x, y) => f(of(x, y))[0];
    }
    case 'binary': {
      const [a, b] = [plain(node.a), plain(node.b)];
      switch (node.op) {
        case '+': return (x, y) => a(x, y) + b(x, y);
        case '-': return (x, y) => a(x, y) - b(x, y);
        case '*': return (x, y) => a(x, y) * b(x, y);
        case '/': return (x, y) => a(x, y) / b(x, y);
        case '^': return (x, y) => a(x, y) ** b(x, y);
      }
    }
  }
}

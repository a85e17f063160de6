/// A function of x and y that somebody typed, read by hand and by a whitelist; nothing is evaluated as code.
//
// sum      = product {("+" | "-") product}
// product  = signed {["*" | "/"] signed}                 two things side by side are multiplied: 2x, 3(x + 1)y
// signed   = {"+" | "-"} power
// power    = atom [("^" | "**") signed | superscript]    x^2, x**2 and x² are the same, and bind before a sign
// atom     = number | "x" | "y" | "pi" | "e" | function "(" sum ")" | "(" sum ")"
import * as jets from './play/jet';
import type { Jet } from './play/jet';
import { Reader, scan, type Token } from './play/text';

type Node =
  | { kind: 'number'; value: number }
  | { kind: 'variable'; name: 'x' | 'y' }
  | { kind: 'call'; name: string; of: Node }
  | { kind: 'negative'; of: Node }
  | { kind: 'binary'; op: '+' | '-' | '*' | '/' | '^'; a: Node; b: Node };

/** A function of two numbers with its exact gradient and Hessian. */
export interface Terrain {
  text: string;
  value(x: number, y: number): number;
  jet(x: number, y: number): Jet;
}

/** The function that a text means; throws a TextError. */
export function terrain(text: string): Terrain {
  const tree = parse(text);
  const jet = compile(tree);
  const value = plain(tree);
  return { text, value, jet: (x, y) => jet(jets.variableX(x), jets.variableY(y)) };
}

// -- Reading ----------------------------------------------------------------------------------------------------------

const NAMES = '[A-Za-z]+|[πσ]';
const SIGNS = '\\*\\*|[-+*/^()−·²³⁴]';
const SAME = new Map([['**', '^'], ['−', '-'], ['·', '*'], ['ln', 'log'], ['σ', 'sigmoid'], ['arctan', 'atan']]);
const SUPERSCRIPTS = new Map([['²', 2], ['³', 3], ['⁴', 4]]);
const CONSTANTS = new Map([['pi', Math.PI], ['π', Math.PI], ['e', Math.E]]);
const DEEPEST = 60;

function tokens(text: string): Token[] {
  return scan(text, NAMES, SIGNS, 'a formula of x and y').flatMap(token => {
    // Letters that are all x and y are a product: xy.
    if (/^[xy]{2,}$/.test(token.text)) return [...token.text].map((letter, i): Token => ({ kind: 'name', text: letter, at: token.at + i }));
    return [{ ...token, text: SAME.get(token.text) ?? token.text }];
  });
}

/** The tree of a text; throws a TextError. */
export function parse(text: string): Node {
  return new Parser(tokens(text)).whole();
}

/** Recursive descent: one method for each line of the grammar. */
class Parser extends Reader {
  private depth = 0;

  whole(): Node {
    if (this.ended) this.fail(0, 'the formula is empty; expected one such as x^2 − y^2');
    const node = this.sum();
    if (!this.ended) this.fail(this.next.at, `expected an operator or the end, found ${this.shown}`);
    return node;
  }

  private sum(): Node {
    let node = this.product();
    for (;;) {
      if (this.takes('+')) node = { kind: 'binary', op: '+', a: node, b: this.product() };
      else if (this.takes('-')) node = { kind: 'binary', op: '-', a: node, b: this.product() };
      else return node;
    }
  }

  private product(): Node {
    let node = this.signed();
    for (;;) {
      if (this.takes('*')) node = { kind: 'binary', op: '*', a: node, b: this.signed() };
      else if (this.takes('/')) node = { kind: 'binary', op: '/', a: node, b: this.signed() };
      else if (this.next.kind === 'number' || this.next.kind === 'name' || this.next.text === '(') {
        node = { kind: 'binary', op: '*', a: node, b: this.power() };
      } else return node;
    }
  }

  private signed(): Node {
    if (this.takes('-')) return { kind: 'negative', of: this.nested(() => this.signed()) };
    return this.takes('+') ? this.nested(() => this.signed()) : this.power();
  }

  private power(): Node {
    const base = this.atom();
    if (this.takes('^')) return { kind: 'binary', op: '^', a: base, b: this.nested(() => this.signed()) };
    const exponent = SUPERSCRIPTS.get(this.next.text);
    if (exponent === undefined) return base;
    this.advance();
    return { kind: 'binary', op: '^', a: base, b: { kind: 'number', value: exponent } };
  }

  private atom(): Node {
    const found = this.shown;
    const token = this.advance();
    if (token.kind === 'number') return { kind: 'number', value: Number(token.text) };
    if (token.kind === 'name') return this.named(token);
    if (token.text === '(') return this.closed(token);
    return this.fail(token.at, `expected a number, x, y or ‘(’, found ${found}`);
  }

  private named({ text: name, at }: Token): Node {
    if (name === 'x' || name === 'y') return { kind: 'variable', name };
    const value = CONSTANTS.get(name);
    if (value !== undefined) return { kind: 'number', value };
    if (!Object.hasOwn(jets.FUNCTIONS, name)) {
      this.fail(at, `there is no ‘${name}’; there are x, y, pi, e and ${Object.keys(jets.FUNCTIONS).join(', ')}`);
    }
    const opening = this.next;
    if (!this.takes('(')) this.fail(opening.at, `expected ‘(’ after ${name}, found ${this.shown}`);
    return { kind: 'call', name, of: this.closed(opening) };
  }

  private closed(opening: Token): Node {
    const node = this.nested(() => this.sum());
    if (!this.takes(')')) this.fail(this.next.at, `expected ‘)’ for the ‘(’ at character ${opening.at + 1}, found ${this.shown}`);
    return node;
  }

  private nested(part: () => Node): Node {
    if (++this.depth > DEEPEST) this.fail(this.next.at, `nested more than ${DEEPEST} deep`);
    const node = part();
    this.depth--;
    return node;
  }
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

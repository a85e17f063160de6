/// A function of x and y that somebody typed, read by hand and by a whitelist; nothing is evaluated as code.
//
// sum      = product {("+" | "-") product}
// product  = signed {["*" | "/"] signed}                 two things side by side are multiplied: 2x, 3(x + 1)y
// signed   = {"+" | "-"} power
// power    = atom [("^" | "**") signed | superscript]    x^2, x**2 and x² are the same, and bind before a sign
// atom     = number | "x" | "y" | "pi" | "e" | function "(" sum {"," sum} ")" | "(" sum ")" | "|" sum "|" | "√" atom
import * as jets from './play/jet';
import type { Jet } from './play/jet';
import { Reader, scan, type Token } from './play/text';

type Node =
  | { kind: 'number'; value: number }
  | { kind: 'variable'; name: 'x' | 'y' }
  | { kind: 'call'; name: string; of: Node }
  | { kind: 'negative'; of: Node }
  | { kind: 'binary'; op: Operator; a: Node; b: Node };

type Operator = '+' | '-' | '*' | '/' | '^' | 'max' | 'min';

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

const NAMES = 'log10|log2|[A-Za-z]+|[πσ]';
const SIGNS = '\\*\\*|[-+*/^()|,√−–—·×⋅∙∗÷∕]|⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+';
const SAME = new Map([
  ['**', '^'], ['−', '-'], ['–', '-'], ['—', '-'], ['·', '*'], ['×', '*'], ['⋅', '*'], ['∙', '*'], ['∗', '*'], ['÷', '/'], ['∕', '/'],
  ['ln', 'log'], ['σ', 'sigmoid'], ['arctan', 'atan'],
]);
const SUPERSCRIPT = /^⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+$/;
/** Functions of two or more arguments. */
const EXTREMES = ['max', 'min'] as const;
/** What to write instead of names and characters that people try. */
const ALTERNATIVES: Record<string, string> = {
  pow: 'x^2', square: 'x^2', cbrt: 'x^(1/3)', sign: 'x/|x|', sgn: 'x/|x|', relu: 'max(0, x)', softplus: 'log(1 + exp(x))',
  sinh: '(exp(x) − exp(−x))/2', cosh: '(exp(x) + exp(−x))/2', sec: '1/cos(x)', csc: '1/sin(x)', cot: '1/tan(x)', tg: 'tan(x)',
  arctg: 'atan(x)', lg: 'log10(x)', lb: 'log2(x)', r: 'sqrt(x^2 + y^2)', norm: 'sqrt(x^2 + y^2)',
  '[': '(', ']': ')', '{': '(', '}': ')', '=': 'only what stands to the right of it', '.': 'sin(x), not np.sin(x)',
  '½': '1/2', '¼': '1/4', '¾': '3/4', '∞': 'a large number', '≤': 'max or min', '≥': 'max or min', '<': 'max or min', '>': 'max or min',
};
const COMMA = '‘,’ separates the arguments of max and min; write decimals with a point, such as 0.5';
const CONSTANTS = new Map([['pi', Math.PI], ['π', Math.PI], ['e', Math.E]]);
const DEEPEST = 60;
/** The number of a superscript, as text. */
const lowered = (text: string) => [...text].map(digit => (digit === '⁻' ? '-' : '⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(digit))).join('');

const isExtreme = (name: string): name is 'max' | 'min' => (EXTREMES as readonly string[]).includes(name);

/** A problem with what to write instead of a text, where that is known. */
function advised(problem: string, text: string): string {
  const lower = /^[\x00-\x7f]*$/.test(text) ? text.toLowerCase() : text;
  const known = lower !== text && (['x', 'y'].includes(lower) || CONSTANTS.has(lower) || SAME.has(lower) || Object.hasOwn(jets.FUNCTIONS, lower) || isExtreme(lower));
  const instead = known ? lower : Object.hasOwn(ALTERNATIVES, lower) ? ALTERNATIVES[lower] : '';
  return instead ? `${problem}; write ${instead}` : problem;
}

function tokens(text: string): Token[] {
  return scan(text, NAMES, SIGNS, 'a formula of x and y', advised).flatMap(token => {
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
  /** Open bars since the last open bracket: where there are some, the next ‘|’ closes one. */
  private bars = 0;

  whole(): Node {
    if (this.ended) this.fail(0, 'the formula is empty; expected one such as x^2 − y^2');
    const node = this.sum();
    if (!this.ended) this.fail(this.next.at, this.unexpected('an operator or the end'));
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
      else if (this.next.kind === 'number' || this.next.kind === 'name' || this.next.text === '(' || this.next.text === '√' || (this.next.text === '|' && !this.bars)) {
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
    if (!SUPERSCRIPT.test(this.next.text)) return base;
    return { kind: 'binary', op: '^', a: base, b: { kind: 'number', value: Number(lowered(this.advance().text)) } };
  }

  private atom(): Node {
    const problem = this.unexpected('a number, x, y or ‘(’');
    const token = this.advance();
    if (token.kind === 'number') return { kind: 'number', value: Number(token.text) };
    if (token.kind === 'name') return this.named(token);
    if (token.text === '(') return this.bracket(token);
    if (token.text === '|') return this.absolute(token);
    if (token.text !== '√') this.fail(token.at, problem);
    const of = this.nested(() => this.atom());
    if (this.next.text === '^' || SUPERSCRIPT.test(this.next.text)) {
      this.fail(this.next.at, 'a power after a root can mean two things; write √(x²) or (√x)²');
    }
    return { kind: 'call', name: 'sqrt', of };
  }

  private named({ text: name, at }: Token): Node {
    if (name === 'x' || name === 'y') return { kind: 'variable', name };
    const value = CONSTANTS.get(name);
    if (value !== undefined) return { kind: 'number', value };
    if (!Object.hasOwn(jets.FUNCTIONS, name) && !isExtreme(name)) {
      const problem = `there is no ‘${name}’`;
      const better = advised(problem, name);
      this.fail(at, better !== problem ? better : `${problem}; there are x, y, pi, e and ${[...Object.keys(jets.FUNCTIONS), ...EXTREMES].join(', ')}`);
    }
    const opening = this.next;
    if (!this.takes('(')) this.fail(opening.at, `expected ‘(’ after ${name}, found ${this.shown}`);
    return this.call(name, opening);
  }

  private call(name: string, opening: Token): Node {
    const outside = this.bars;
    this.bars = 0;
    const parts = [this.nested(() => this.sum())];
    while (this.next.text === ',') {
      if (!isExtreme(name)) this.fail(this.next.at, `${name} has one argument; write decimals with a point, such as 0.5`);
      this.advance();
      parts.push(this.nested(() => this.sum()));
    }
    this.close(opening);
    this.bars = outside;
    if (!isExtreme(name)) return { kind: 'call', name, of: parts[0] };
    if (parts.length < 2) this.fail(opening.at, `${name} has two arguments or more, such as ${name}(x, y)`);
    return parts.reduce((a, b) => ({ kind: 'binary', op: name, a, b }));
  }

  private bracket(opening: Token): Node {
    const outside = this.bars;
    this.bars = 0;
    const node = this.nested(() => this.sum());
    this.close(opening);
    this.bars = outside;
    return node;
  }

  private close(opening: Token): void {
    if (!this.takes(')')) this.fail(this.next.at, this.unexpected(`‘)’ for the ‘(’ at character ${opening.at + 1}`));
  }

  private absolute(opening: Token): Node {
    this.bars++;
    const of = this.nested(() => this.sum());
    if (!this.takes('|')) this.fail(this.next.at, this.unexpected(`‘|’ for the ‘|’ at character ${opening.at + 1}`));
    this.bars--;
    return { kind: 'call', name: 'abs', of };
  }

  private unexpected(expected: string): string {
    return this.next.text === ',' ? COMMA : `expected ${expected}, found ${this.shown}`;
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
      const op = { '+': jets.add, '-': jets.subtract, '*': jets.multiply, '/': jets.divide, '^': jets.power, max: jets.maximum, min: jets.minimum }[node.op];
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
        case 'max': return (x, y) => Math.max(a(x, y), b(x, y));
        case 'min': return (x, y) => Math.min(a(x, y), b(x, y));
      }
    }
  }
}

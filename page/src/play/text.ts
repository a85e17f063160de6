/// Reading what somebody typed: tokens, and errors that say where.

/** What is wrong with a text, and at which of its characters, from 0. */
export class TextError extends Error {
  constructor(readonly position: number, readonly problem: string) {
    super(`character ${position + 1}: ${problem}`);
  }
}

export interface Token {
  kind: 'number' | 'name' | 'sign' | 'end';
  text: string;
  at: number;
}

/** Numbers, and the names and signs of a grammar, one after another; `advice` says what to write instead of a character. */
export function scan(text: string, names: string, signs: string, hint: string, advice = (problem: string, _: string) => problem): Token[] {
  const pattern = new RegExp(`(?<number>(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?)|(?<name>${names})|(?<sign>${signs})|\\s+`, 'y');
  const found: Token[] = [];
  for (let at = 0; at < text.length; at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const groups = pattern.exec(text)?.groups;
    if (!groups) throw new TextError(at, advice(`‘${text[at]}’ does not belong in ${hint}`, text[at]));
    const kind = (['number', 'name', 'sign'] as const).find(k => groups[k] !== undefined);
    if (kind) found.push({ kind, text: groups[kind], at });
  }
  return [...found, { kind: 'end', text: '', at: text.length }];
}

/** A place in a list of tokens. */
export class Reader {
  private index = 0;
  constructor(private readonly tokens: Token[]) {}

  get next(): Token {
    return this.tokens[this.index];
  }

  get ended(): boolean {
    return this.next.kind === 'end';
  }

  get shown(): string {
    return this.ended ? 'the end' : `‘${this.next.text}’`;
  }

  advance(): Token {
    return this.tokens[this.index++];
  }

  /** Whether the next token is this sign, which is then passed. */
  takes(sign: string): boolean {
    const found = this.next.kind === 'sign' && this.next.text === sign;
    if (found) this.index++;
    return found;
  }

  fail(at: number, problem: string): never {
    throw new TextError(at, problem);
  }
}

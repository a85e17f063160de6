/// Formulas: MathML that came with the film, of which only what draws formulas is kept.
import type { ComponentChild } from 'preact';
import { h } from 'preact';
import { useMemo } from 'preact/hooks';

const ELEMENTS = new Set([
  'math', 'mrow', 'mi', 'mo', 'mn', 'mtext', 'mspace', 'msub', 'msup', 'msubsup', 'mfrac', 'msqrt', 'mroot', 'mover',
  'munder', 'munderover', 'mstyle', 'mtable', 'mtr', 'mtd', 'mpadded', 'mphantom',
]);
const ATTRIBUTES = ['class', 'width', 'stretchy', 'accent', 'mathvariant', 'displaystyle', 'form', 'fence', 'separator', 'columnalign'];

/** One or several <math> elements as text. */
export function Formula({ mathml }: { mathml: string }) {
  return useMemo(() => {
    const parsed = new DOMParser().parseFromString(`<formulas>${mathml}</formulas>`, 'text/xml');
    if (parsed.querySelector('parsererror')) return null;
    return <div class="math">{[...parsed.documentElement.childNodes].map(kept)}</div>;
  }, [mathml]);
}

function kept(node: Node): ComponentChild {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  const element = node as Element;
  const name = element.localName;
  if (node.nodeType !== Node.ELEMENT_NODE || !ELEMENTS.has(name)) return null;
  const attributes = Object.fromEntries(
    ATTRIBUTES.filter(key => element.hasAttribute(key)).map(key => [key, element.getAttribute(key)]));
  const children = [...element.childNodes].map(kept);
  return name === 'msqrt' ? root(children) : h(name, attributes, children);
}

/** A root drawn by the document: browsers leave its sign out where no font has a table for mathematics. */
function root(children: ComponentChild[]): ComponentChild {
  return h('mrow', { class: 'root' }, [h('mo', { class: 'radical', form: 'prefix' }, '√'), h('mrow', { class: 'under' }, children)]);
}

const RAISED = /([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/;
const lowered = (text: string) => [...text].map(s => (s === '⁻' ? '−' : String('⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(s)))).join('');

/** Text with its superscripts raised by the document: few fonts have all of them. */
export function Digits({ text }: { text: string }) {
  return <span class="digits">{text.replaceAll('± ', '±\u00a0').split(RAISED).map((part, i) => (i % 2 ? <sup>{lowered(part)}</sup> : part))}</span>;
}

/** A quantity's name: what follows `_` is lowered, what follows `^` is raised. */
export function Symbol({ name }: { name: string }) {
  const parts = name.match(/[_^]?[^_^]+/g) ?? [];
  return (
    <span class="symbol">
      {parts.map(part => (part[0] === '_' ? <sub>{part.slice(1)}</sub> : part[0] === '^' ? <sup>{part.slice(1)}</sup> : part))}
    </span>
  );
}

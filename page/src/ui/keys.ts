/// The keyboard: which key does what. Shortcuts yield to a focused control that wants the key itself.

export type Action =
  | { do: 'play' | 'first' | 'last' | 'theme' | 'map' | 'help' | 'events' | 'kept' | 'close' }
  | { do: 'step' | 'event'; by: number }
  | { do: 'member'; index: number };

const FAR = 50;

/** What is said of the keys in the help. */
export const KEYS: [keys: string, meaning: string][] = [
  ['Space', 'play or pause'],
  ['← →', 'one step back, one step forward'],
  ['Shift ← →', `${FAR} steps`],
  ['Home End', 'first step, last step'],
  ['1 – 9', 'select a run'],
  ['[ ]', 'previous event, next event'],
  ['E', 'all events'],
  ['K', 'all steps taken, or only those that were kept'],
  ['C', 'map instead of the relief'],
  ['T', 'light or dark theme'],
  ['?', 'this help'],
  ['Tab', 'on the surface: arrows rotate it, + and − zoom'],
];

export interface Press {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

/** The control that has the focus: one for text, another one, or none. */
export type Focus = 'text' | 'control' | 'none';

/** The action of a key; null where it has none or where the focused control has it. */
export function actionOf(press: Press, focus: Focus): Action | null {
  const { key, shiftKey } = press;
  if (press.ctrlKey || press.metaKey || press.altKey || focus === 'text') return null;
  const wanted = /^(Arrow|Home|End|Page| $|Enter)/.test(key);
  if (focus === 'control' && wanted) return null;
  if (/^[1-9]$/.test(key)) return { do: 'member', index: Number(key) - 1 };
  switch (key) {
    case ' ': return { do: 'play' };
    case 'ArrowLeft': return { do: 'step', by: shiftKey ? -FAR : -1 };
    case 'ArrowRight': return { do: 'step', by: shiftKey ? FAR : 1 };
    case 'Home': return { do: 'first' };
    case 'End': return { do: 'last' };
    case 't': case 'T': return { do: 'theme' };
    case 'c': case 'C': return { do: 'map' };
    case 'e': case 'E': return { do: 'events' };
    case 'k': case 'K': return { do: 'kept' };
    case '[': return { do: 'event', by: -1 };
    case ']': return { do: 'event', by: 1 };
    case '?': return { do: 'help' };
    case 'Escape': return { do: 'close' };
    default: return null;
  }
}

/** What kind of control an element is. */
export function focusOf(element: Element | null): Focus {
  if (!element) return 'none';
  if (element.matches('input[type=text], textarea')) return 'text';
  return element.matches('button, input, select, a, summary') ? 'control' : 'none';
}

/// A film is its frames folded: live data comes as frames, and what they add up to is the film that would be written.
import { bytes, type Col, type Film } from './film';

export interface Frame {
  event: 'set' | 'append';
  path: string[];
  value: unknown;
}

/** The film after one more frame; the film that was given stays as it is. */
export function fold(film: Film | null, frame: Frame): Film {
  return placed(film, frame.path, old => (frame.event === 'set' ? frame.value : appended(old, frame.value))) as Film;
}

function placed(node: unknown, path: string[], change: (old: unknown) => unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return change(node);
  if (Array.isArray(node)) return node.map((item, i) => (i === Number(key) ? placed(item, rest, change) : item));
  const record = (node ?? {}) as Record<string, unknown>;
  return { ...record, [key]: placed(record[key], rest, change) };
}

function appended(old: unknown, value: unknown): unknown {
  if (Array.isArray(old) && Array.isArray(value)) return [...old, ...value];
  if (isCol(old) && isCol(value) && old.dtype === value.dtype) return concatenated(old, value);
  throw new TypeError(`append to ${JSON.stringify(old)?.slice(0, 60)}: expected two lists or two columns of one dtype`);
}

function isCol(value: unknown): value is Col {
  return typeof value === 'object' && value !== null && 'dtype' in value && 'data' in value;
}

function concatenated(a: Col, b: Col): Col {
  const shape = [a.shape[0] + b.shape[0], ...a.shape.slice(1)];
  return { dtype: a.dtype, shape, data: base64(new Uint8Array([...bytes(a), ...bytes(b)])) };
}

function base64(data: Uint8Array): string {
  let text = '';
  for (const byte of data) text += String.fromCharCode(byte);
  return btoa(text);
}

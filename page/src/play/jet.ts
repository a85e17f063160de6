/// Numbers that know their exact first and second derivatives in x and y (hyper-dual arithmetic).
//
// For z = f(u):  z' = f'(u) u',  z'' = f''(u) u' u'ᵀ + f'(u) u''.   Fike and Alonso 2011, doi:10.2514/6.2011-886.

/** A value, its gradient (x, y) and its Hessian (xx, xy, yy). */
export interface Jet {
  v: number;
  x: number;
  y: number;
  xx: number;
  xy: number;
  yy: number;
}

export const constant = (v: number): Jet => ({ v, x: 0, y: 0, xx: 0, xy: 0, yy: 0 });
export const variableX = (v: number): Jet => ({ ...constant(v), x: 1 });
export const variableY = (v: number): Jet => ({ ...constant(v), y: 1 });

export const add = (a: Jet, b: Jet): Jet => ({
  v: a.v + b.v, x: a.x + b.x, y: a.y + b.y, xx: a.xx + b.xx, xy: a.xy + b.xy, yy: a.yy + b.yy,
});

export const subtract = (a: Jet, b: Jet): Jet => ({
  v: a.v - b.v, x: a.x - b.x, y: a.y - b.y, xx: a.xx - b.xx, xy: a.xy - b.xy, yy: a.yy - b.yy,
});

export const multiply = (a: Jet, b: Jet): Jet => ({
  v: a.v * b.v,
  x: a.x * b.v + a.v * b.x,
  y: a.y * b.v + a.v * b.y,
  xx: a.xx * b.v + 2 * a.x * b.x + a.v * b.xx,
  xy: a.xy * b.v + a.x * b.y + a.y * b.x + a.v * b.xy,
  yy: a.yy * b.v + 2 * a.y * b.y + a.v * b.yy,
});

/** f(u), from f, f' and f'' at u. */
export const chain = (u: Jet, f: number, f1: number, f2: number): Jet => ({
  v: f,
  x: f1 * u.x,
  y: f1 * u.y,
  xx: f2 * u.x * u.x + f1 * u.xx,
  xy: f2 * u.x * u.y + f1 * u.xy,
  yy: f2 * u.y * u.y + f1 * u.yy,
});

export const divide = (a: Jet, b: Jet): Jet => multiply(a, chain(b, 1 / b.v, -1 / b.v ** 2, 2 / b.v ** 3));

/** uⁿ for a number n; a whole n may have a negative base. */
export function powerOf(u: Jet, n: number): Jet {
  if (n === 0) return constant(1);
  if (n === 1) return u;
  return chain(u, u.v ** n, n * u.v ** (n - 1), n === 2 ? 2 : n * (n - 1) * u.v ** (n - 2));
}

/** aᵇ = e^(b log a). */
export function power(a: Jet, b: Jet): Jet {
  const isNumber = b.x === 0 && b.y === 0 && b.xx === 0 && b.xy === 0 && b.yy === 0;
  if (isNumber) return powerOf(a, b.v);
  const exponent = multiply(b, chain(a, Math.log(a.v), 1 / a.v, -1 / a.v ** 2));
  const value = Math.exp(exponent.v);
  return chain(exponent, value, value, value);
}

/** The larger of two; where they are equal the mean of both, as torch has it. */
export function maximum(a: Jet, b: Jet): Jet {
  if (Number.isNaN(a.v) || Number.isNaN(b.v)) return chain(a, NaN, NaN, NaN);
  return a.v > b.v ? a : a.v < b.v ? b : multiply(add(a, b), constant(0.5));
}

/** The smaller of two, likewise. */
export function minimum(a: Jet, b: Jet): Jet {
  if (Number.isNaN(a.v) || Number.isNaN(b.v)) return chain(a, NaN, NaN, NaN);
  return a.v < b.v ? a : a.v > b.v ? b : multiply(add(a, b), constant(0.5));
}

/** A function of one argument with its first two derivatives, [f, f', f'']. */
export type Derived = (u: number) => [number, number, number];

export const FUNCTIONS: Record<string, Derived> = {
  sin: u => [Math.sin(u), Math.cos(u), -Math.sin(u)],
  cos: u => [Math.cos(u), -Math.sin(u), -Math.cos(u)],
  tan: u => {
    const [t, s] = [Math.tan(u), 1 + Math.tan(u) ** 2];
    return [t, s, 2 * t * s];
  },
  exp: u => [Math.exp(u), Math.exp(u), Math.exp(u)],
  log: u => [Math.log(u), 1 / u, -1 / u ** 2],
  log10: u => [Math.log10(u), 1 / (Math.LN10 * u), -1 / (Math.LN10 * u ** 2)],
  log2: u => [Math.log2(u), 1 / (Math.LN2 * u), -1 / (Math.LN2 * u ** 2)],
  sqrt: u => {
    const r = Math.sqrt(u);
    return [r, 0.5 / r, -0.25 / r ** 3];
  },
  abs: u => [Math.abs(u), Math.sign(u), 0],
  tanh: u => {
    const t = Math.tanh(u);
    return [t, 1 - t * t, -2 * t * (1 - t * t)];
  },
  sigmoid: u => {
    const s = 1 / (1 + Math.exp(-u));
    return [s, s * (1 - s), s * (1 - s) * (1 - 2 * s)];
  },
  atan: u => [Math.atan(u), 1 / (1 + u * u), (-2 * u) / (1 + u * u) ** 2],
};

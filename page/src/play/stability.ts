/// Stable learning rates: from the exact curvature at a point, and by trying.
import { descend, type Course, type Descent, type Racer } from './descend';
import type { Jet } from './jet';

/** The smallest and the largest eigenvalue of a symmetric 2 × 2 matrix. */
export function eigenvalues(xx: number, xy: number, yy: number): [number, number] {
  const middle = (xx + yy) / 2;
  const radius = Math.hypot((xx - yy) / 2, xy);
  return [middle - radius, middle + radius];
}

/**
 * The largest stable learning rate of a rule on a quadratic of this curvature; null where no formula is known.
 *
 * Gradient descent 2/λ; heavy ball (2 + 2β)/λ; Nesterov (2 + 2β)/((1 + 2β) λ); Adam 2(1 + β₁)/((1 − β₁) λ) with λ of the
 * Hessian that is preconditioned by √v̂ (Cohen et al. 2022, arXiv:2207.14484).
 */
export function limit(rule: string, hyper: Record<string, number | string>, at: Jet, second: [number, number] | null): number | null {
  const greatest = eigenvalues(at.xx, at.xy, at.yy)[1];
  const beta = Number(hyper.beta ?? 0);
  const over = (numerator: number, curvature = greatest) => (curvature > 0 ? numerator / curvature : Infinity);
  switch (rule) {
    case 'gradient_descent':
      return over(2);
    case 'momentum':
      return over(2 + 2 * beta);
    case 'nesterov':
      return over((2 + 2 * beta) / (1 + 2 * beta));
    case 'adam':
    case 'adamw': {
      if (!second) return null;
      const [a, b] = second.map(s => Math.sqrt(s) + Number(hyper.eps ?? 0));
      const beta1 = Number(hyper.beta1);
      const curvature = eigenvalues(at.xx / a, at.xy / Math.sqrt(a * b), at.yy / b)[1];
      return over((2 * (1 + beta1)) / (1 - beta1), curvature);
    }
    default:
      return null;
  }
}

/** Adam's unbiased second moments before the step from k. */
export function secondAt(descent: Descent, k: number, beta2: number): [number, number] | null {
  if (!descent.second || k < 1) return null;
  const unbias = 1 - beta2 ** k;
  return [descent.second[2 * k] / unbias, descent.second[2 * k + 1] / unbias];
}

/** Zones of a member's learning rate: too low, good, too high. */
export interface Zones {
  /** From here on it gets as far as with any learning rate. */
  right: number;
  /** From here it does not. */
  tooLarge: number;
  /** What happens beyond. */
  beyond: 'diverges' | 'too high';
}

const TRIED = 25;
const EACH_SIDE = 1.5;
/** A learning rate is good where the loss falls by at least this share of the best one's orders of magnitude. */
const AS_GOOD = 1 / 3;
const SMALLEST = 1e-300;

/** The range of a slider around a learning rate. */
export const reach = (middle: number): [number, number] => [middle / 10 ** EACH_SIDE, middle * 10 ** EACH_SIDE];

/** Descends at many learning rates around a rule's own; returns the zones. */
export function zones(racer: Racer, course: Course, middle: number, least: number): Zones {
  const [lo, hi] = reach(middle);
  const rates = Array.from({ length: TRIED }, (_, i) => lo * (hi / lo) ** (i / (TRIED - 1)));
  const ends = rates.map(lr => {
    const { ending, loss, n } = descend({ ...racer, hyper: { ...racer.hyper, lr } }, course);
    const failed = ending.kind === 'diverged' || ending.kind === 'undefined';
    return { failed, left: failed ? Infinity : Math.max(loss[n] - least, 0), reached: ending.kind === 'reached' };
  });
  const before = Math.max(course.terrain.value(...course.start) - least, SMALLEST);
  const fall = ends.map(end => Math.log(before / Math.max(end.left, SMALLEST)));
  const best = Math.max(...fall);
  const good = ends.map((end, i) => end.reached || (!end.failed && fall[i] > 0 && fall[i] >= best * AS_GOOD));
  const [first, last] = [good.indexOf(true), good.lastIndexOf(true)];
  const between = (i: number) => Math.sqrt(rates[Math.max(0, i - 1)] * rates[Math.min(TRIED - 1, i)]);
  if (first < 0) return { right: hi, tooLarge: hi, beyond: 'too high' };
  const faster = ends.slice(last + 1);
  return {
    right: first === 0 ? lo : between(first),
    tooLarge: last === TRIED - 1 ? hi : between(last + 1),
    beyond: 2 * faster.filter(end => end.failed).length > faster.length ? 'diverges' : 'too high',
  };
}

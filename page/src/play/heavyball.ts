/// Heavy ball on a quadratic: along each eigenvector of the Hessian its step is a 2 × 2 matrix of its own.
//
// v ← β v + λ w, w ← w − α v:  (v, w) ← [[β, λ], [−αβ, 1 − αλ]] (v, w), whose eigenvalues z satisfy
// z² − (1 + β − αλ) z + β = 0. The larger |z| is the share of the distance that a step leaves.
// After Polyak 1964, doi:10.1016/0041-5553(64)90137-5, and Goh 2017, doi:10.23915/distill.00006.
import { count, short } from '../ui/numbers';

export interface Settings {
  alpha: number;
  beta: number;
}

/** The share of the distance along a direction of curvature λ that a step leaves; beyond 1 it grows. */
export function radius({ alpha, beta }: Settings, lambda: number): number {
  const trace = 1 + beta - alpha * lambda;
  const discriminant = trace * trace - 4 * beta;
  return discriminant < 0 ? Math.sqrt(beta) : (Math.abs(trace) + Math.sqrt(discriminant)) / 2;
}

const ROUNDING = 1e-9;

/** What becomes of a direction. */
export type Fate = 'grows' | 'flat' | 'crawls' | 'settles' | 'rings' | 'diverges';

/** A curvature below this share of the greatest is flat: of the noise of what measures it. */
export const FLAT = 1e-7;
/** A direction crawls where after the whole run more than this share of the distance is left. */
export const LEFT = 0.5;

/** What becomes of a direction of curvature λ in so many steps; `greatest` is the largest |λ|. */
export function fate(settings: Settings, lambda: number, greatest: number, steps: number): Fate {
  if (Math.abs(lambda) <= FLAT * greatest) return 'flat';
  if (lambda < 0) return 'grows';
  const { crawls, settles, rings } = edges(settings, steps);
  if (lambda >= rings) return 'diverges';
  if (lambda < crawls) return 'crawls';
  return lambda < settles ? 'settles' : 'rings';
}

/** Curvatures up to which directions crawl, settle without ringing, and ring; beyond the last they diverge. */
export interface Edges {
  crawls: number;
  settles: number;
  rings: number;
}

export function edges({ alpha, beta }: Settings, steps: number): Edges {
  const rings = (2 + 2 * beta) / alpha;
  const settles = ((1 - Math.sqrt(beta)) ** 2 / alpha) * (1 - ROUNDING); // at the best settings the slowest is critical
  const slow = LEFT ** (1 / steps);
  // From z² − (1 + β − αλ) z + β = 0 at z = slow; where even ringing is so slow, all that does not diverge crawls.
  const crawls = slow > Math.sqrt(beta) ? ((1 - slow) * (1 - beta / slow)) / alpha : rings;
  return { crawls, settles: Math.max(settles, crawls), rings };
}

/** The rate and momentum with which the slowest direction of positive curvature is fastest; null where there is none. */
export function best(eigenvalues: number[]): Settings | null {
  const [least, greatest] = upward(eigenvalues);
  if (!Number.isFinite(least)) return null;
  const [a, b] = [Math.sqrt(least), Math.sqrt(greatest)];
  return { alpha: (2 / (a + b)) ** 2, beta: ((b - a) / (b + a)) ** 2 };
}

/** The least and the greatest positive curvature that is not flat. */
function upward(eigenvalues: number[]): [number, number] {
  const top = largest(eigenvalues);
  const positive = eigenvalues.filter(lambda => lambda > FLAT * top);
  return [Math.min(...positive), Math.max(...positive)];
}

export const largest = (eigenvalues: number[]): number => Math.max(...eigenvalues.map(Math.abs));

const WORDS: [Fate, string, string][] = [
  ['diverges', 'diverges', 'diverge'],
  ['rings', 'rings', 'ring'],
  ['settles', 'settles without ringing', 'settle without ringing'],
  ['crawls', 'crawls', 'crawl'],
  ['flat', 'is flat', 'are flat'],
  ['grows', 'grows, being of negative curvature', 'grow, being of negative curvature'],
];

/** How many directions do what, in words. */
export function told(settings: Settings, eigenvalues: number[], steps: number): string {
  const greatest = largest(eigenvalues);
  const fates = eigenvalues.map(lambda => fate(settings, lambda, greatest, steps));
  const parts = WORDS.flatMap(([kind, one, many]) => {
    const n = fates.filter(found => found === kind).length;
    return n ? [`${count(n)} ${n === 1 ? one : many}`] : [];
  });
  return `Of ${count(eigenvalues.length)} measured directions ${parts.join(', ')}.`;
}

/** What the best settings are worth: the share that a step leaves in the slowest direction, with them and now. */
export function worth(settings: Settings, bestOnes: Settings, eigenvalues: number[]): string {
  const [least, greatest] = upward(eigenvalues);
  const now = Math.max(radius(settings, least), radius(settings, greatest));
  return `leaves ${share(Math.sqrt(bestOnes.beta))} a step in the slowest direction; now ${now > 1 ? 'one diverges' : `it is ${share(now)}`}`;
}

/** A share with as many digits as tell it from 1. */
export function share(v: number): string {
  const digits = v < 1 ? Math.ceil(-Math.log10(1 - v)) + 1 : 3;
  return v >= 1 - 1e-9 ? short(v) : short(v, Math.min(9, Math.max(2, digits)));
}

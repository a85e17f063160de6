/// Heavy ball on a quadratic: along each eigenvector of the Hessian its step is a 2 × 2 matrix of its own.
//
// v ← β v + λ w, w ← w − α v:  (v, w) ← [[β, λ], [−αβ, 1 − αλ]] (v, w), whose eigenvalues z satisfy
// z² − (1 + β − αλ) z + β = 0. The larger |z| is the contraction factor ρ: the share of the distance left after a step.
// After Polyak 1964, doi:10.1016/0041-5553(64)90137-5, and Goh 2017, doi:10.23915/distill.00006.
import { count, short } from '../ui/numbers';

export interface Settings {
  alpha: number;
  beta: number;
}

/** The contraction factor along a direction of curvature λ: the share of the distance left after a step; above 1 it diverges. */
export function radius({ alpha, beta }: Settings, lambda: number): number {
  const trace = 1 + beta - alpha * lambda;
  const discriminant = trace * trace - 4 * beta;
  return discriminant < 0 ? Math.sqrt(beta) : (Math.abs(trace) + Math.sqrt(discriminant)) / 2;
}

const ROUNDING = 1e-9;

/** Behaviour of a direction. */
export type Fate = 'grows' | 'flat' | 'slow' | 'converges' | 'oscillates' | 'diverges';

/** A curvature below this share of the largest is flat: within the noise of its measurement. */
export const FLAT = 1e-7;
/** A direction is slow where more than this share of the distance is left after the whole run. */
export const LEFT = 0.5;

/** Behaviour of a direction of curvature λ over this many steps; `greatest` is the largest |λ|. */
export function fate(settings: Settings, lambda: number, greatest: number, steps: number): Fate {
  if (Math.abs(lambda) <= FLAT * greatest) return 'flat';
  if (lambda < 0) return 'grows';
  const { slow, converges, oscillates } = edges(settings, steps);
  if (lambda >= oscillates) return 'diverges';
  if (lambda < slow) return 'slow';
  return lambda < converges ? 'converges' : 'oscillates';
}

/** Curvatures up to which directions are slow, converge without oscillation, and oscillate; beyond the last they diverge. */
export interface Edges {
  slow: number;
  converges: number;
  oscillates: number;
}

export function edges({ alpha, beta }: Settings, steps: number): Edges {
  const oscillates = (2 + 2 * beta) / alpha;
  const converges = ((1 - Math.sqrt(beta)) ** 2 / alpha) * (1 - ROUNDING); // at the best settings the slowest is critical
  const limit = LEFT ** (1 / steps);
  // From z² − (1 + β − αλ) z + β = 0 at z = slow; where even ringing is so slow, all that does not diverge slow.
  const slow = limit > Math.sqrt(beta) ? ((1 - limit) * (1 - beta / limit)) / alpha : oscillates;
  return { slow, converges: Math.max(converges, slow), oscillates };
}

/** The learning rate and momentum with which the slowest direction of positive curvature is fastest; null where there is none. */
export function best(eigenvalues: number[]): Settings | null {
  const [least, greatest] = upward(eigenvalues);
  if (!Number.isFinite(least)) return null;
  const [a, b] = [Math.sqrt(least), Math.sqrt(greatest)];
  return { alpha: (2 / (a + b)) ** 2, beta: ((b - a) / (b + a)) ** 2 };
}

/** The smallest and the largest positive curvature that is not flat. */
function upward(eigenvalues: number[]): [number, number] {
  const top = largest(eigenvalues);
  const positive = eigenvalues.filter(lambda => lambda > FLAT * top);
  return [Math.min(...positive), Math.max(...positive)];
}

export const largest = (eigenvalues: number[]): number => Math.max(...eigenvalues.map(Math.abs));

const WORDS: [Fate, string, string][] = [
  ['slow', 'slow (over half the distance left at the end)', 'slow (over half the distance left at the end)'],
  ['converges', 'converges', 'converge'],
  ['oscillates', 'oscillates', 'oscillate'],
  ['diverges', 'diverges', 'diverge'],
  ['flat', 'flat', 'flat'],
  ['grows', 'grows (negative curvature)', 'grow (negative curvature)'],
];

/** The number of directions of each behaviour, in words. */
export function summary(settings: Settings, eigenvalues: number[], steps: number): string {
  const greatest = largest(eigenvalues);
  const fates = eigenvalues.map(lambda => fate(settings, lambda, greatest, steps));
  const parts = WORDS.flatMap(([kind, one, many]) => {
    const n = fates.filter(other => other === kind).length;
    return n ? [`${count(n)} ${n === 1 ? one : many}`] : [];
  });
  const n = eigenvalues.length;
  return `${count(n)} measured direction${n === 1 ? '' : 's'}: ${parts.join(', ')}.`;
}

/** The share of the distance left per step in the slowest direction, with the best settings and with these. */
export function comparison(settings: Settings, optimum: Settings, eigenvalues: number[]): string {
  const [least, greatest] = upward(eigenvalues);
  const now = Math.max(radius(settings, least), radius(settings, greatest));
  return `${percent(Math.sqrt(optimum.beta))} of the distance is left per step in the slowest direction (now ${now > 1 ? 'one diverges' : percent(now)})`;
}

const percent = (v: number) => `${short(100 * v, Math.min(9, Math.max(2, share(v).length - 2)))} %`;

/** A share with enough digits to distinguish it from 1. */
export function share(v: number): string {
  const digits = v < 1 ? Math.ceil(-Math.log10(1 - v)) + 1 : 3;
  return v >= 1 - 1e-9 ? short(v) : short(v, Math.min(9, Math.max(2, digits)));
}

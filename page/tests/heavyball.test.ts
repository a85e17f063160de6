import { describe, expect, it } from 'vitest';
import { best, edges, fate, radius, summary, comparison, type Settings } from '../src/play/heavyball';

/** The share by which many steps of heavy ball change a distance, per step: the oracle of `radius`. */
function measured({ alpha, beta }: Settings, lambda: number): number {
  const STEPS = 4000;
  let [v, w, logarithm] = [0, 1, 0];
  for (let k = 0; k < STEPS; k++) {
    v = beta * v + lambda * w;
    w -= alpha * v;
    const size = Math.hypot(w, v * alpha);
    if (size === 0) return 0;
    [v, w, logarithm] = [v / size, w / size, logarithm + Math.log(size)];
  }
  return Math.exp(logarithm / STEPS);
}

const SETTINGS: Settings[] = [{ alpha: 0.1, beta: 0 }, { alpha: 0.01, beta: 0.9 }, { alpha: 0.5, beta: 0.5 }, { alpha: 0.02, beta: 0.99 }];
const CURVATURES = [-3, -0.1, 0.02, 0.3, 1, 4, 21, 150, 420];

describe.each(SETTINGS)('at α $alpha, β $beta', settings => {
  it.each(CURVATURES)('a step along curvature %f leaves what steps leave', lambda => {
    expect(measured(settings, lambda) / radius(settings, lambda)).toBeCloseTo(1, 2);
  });
  it('zones end where the radius says', () => {
    const { slow, converges, oscillates } = edges(settings, 1000);
    expect(radius(settings, oscillates * 1.0001)).toBeGreaterThan(1);
    expect(radius(settings, oscillates * 0.9999)).toBeLessThan(1);
    if (slow < oscillates) expect(radius(settings, slow) ** 1000).toBeCloseTo(0.5, 6);
    const discriminant = (lambda: number) => (1 + settings.beta - settings.alpha * lambda) ** 2 - 4 * settings.beta;
    if (settings.beta > 0 && converges > slow) {
      expect(discriminant(converges * 1.001)).toBeLessThan(0);
      expect(discriminant(converges * 0.999)).toBeGreaterThan(0);
    }
  });
});

it.each([[100, 0.05], [412, 0.5], [3, 3]])('the best for curvatures %f and %f is better than what lies around it', (greatest, least) => {
  const found = best([least, greatest, -0.4])!;
  const slowest = (s: Settings) => Math.max(radius(s, least), radius(s, greatest));
  const now = slowest(found);
  expect(now).toBeCloseTo(Math.sqrt(found.beta), 6);
  for (const a of [0.95, 1.05]) expect(slowest({ ...found, alpha: found.alpha * a })).toBeGreaterThan(now);
  for (const b of [-0.01, 0.01]) expect(slowest({ ...found, beta: Math.max(1e-3, found.beta + b) })).toBeGreaterThan(now);
});

it('names what becomes of each direction', () => {
  const settings = { alpha: 0.01, beta: 0.81 };
  const fates = [-2, 1e-9, 0.001, 0.5, 50, 400].map(lambda => fate(settings, lambda, 400, 1000));
  expect(fates).toEqual(['grows', 'flat', 'slow', 'converges', 'oscillates', 'diverges']);
  expect(summary(settings, [-2, 0.5, 0.6, 50, 400], 1000)).toBe(
    '5 measured directions: 2 converge, 1 oscillates, 1 diverges, 1 grows (negative curvature).');
});

it('compares settings with the best', () => {
  const eigenvalues = [1, 100];
  const optimum = best(eigenvalues)!;
  expect(optimum.alpha).toBeCloseTo((2 / 11) ** 2);
  expect(optimum.beta).toBeCloseTo((9 / 11) ** 2);
  expect(comparison({ alpha: 0.01, beta: 0 }, optimum, eigenvalues)).toBe('82 % of the distance is left per step in the slowest direction (now 99 %)');
  expect(comparison({ alpha: 0.03, beta: 0 }, optimum, eigenvalues)).toContain('now one diverges');
});

it('has nothing to say of what only curves down', () => {
  expect(best([-1, 0])).toBeNull();
});

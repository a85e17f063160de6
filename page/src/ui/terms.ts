/// Symbols on the page, with their names and meanings: in the help, and as tooltips.

export const TERMS: [symbol: string, name: string, meaning: string][] = [
  ['λ_max', 'largest curvature', 'largest eigenvalue of the Hessian'],
  ['λ_min', 'smallest curvature', 'smallest eigenvalue of the Hessian; below 0 there is a direction of negative curvature'],
  ['λ_P', 'sharpness', 'curvature as the optimizer sees it; above the tick (limit) it is unstable'],
  ['‖∇L‖^2', 'gradient norm²', 'noise removed; an interval that includes 0 means no gradient is measurable'],
  ['B', 'noise scale', 'rough critical batch size; the tick is your batch size'],
  ['w', 'weights', 'the point that descends; each step replaces it'],
  ['g', 'gradient', 'slope of the loss at w on the current batch'],
  ['α', 'learning rate', 'length of a step relative to the gradient'],
  ['β', 'momentum', 'share of the previous step that is added to the next one'],
  ['σ', 'batch noise', 'noise added to the gradient, as small batches do'],
  ['ρ', 'contraction factor', 'share of the distance to the minimum left after one step; above 1 it diverges'],
];

/** The tooltip of a symbol; none where it has no entry. */
export function tooltip(symbol: string): string | undefined {
  const term = TERMS.find(([name]) => name === symbol);
  return term && `${term[1]}: ${term[2]}`;
}

/// How several groups of runs ended, and whether they differ: computed in Python, shown here as it is.

/** A group: one run, or several that differ only in their seeds. */
export interface GroupEnd {
  label: string;
  /** Keys of its members in the film. */
  runs: string[];
  /** Null where nothing was measured, or no number. */
  value: number | null;
  lo: number | null;
  hi: number | null;
  text: string;
}

/** The difference one − other, or the ratio one / other; with the interval that holds together with those of all pairs. */
export interface Pair {
  one: number;
  other: number;
  value: number | null;
  lo: number | null;
  hi: number | null;
  result: 'tie' | 'higher' | 'lower' | 'unknown';
  text: string;
  interval: string;
}

export interface Comparison {
  /** Empty where the runs have no metric in common. */
  metric: string;
  unit: '%' | '';
  better: 'higher' | 'lower' | null;
  samples: number | null;
  /** What the intervals are over; empty where there are none. */
  basis: 'seeds' | 'samples' | '';
  scale: 'linear' | 'log';
  note: string;
  advice: string;
  command: string;
  groups: GroupEnd[];
  pairs: Pair[];
  /** Places of the groups from best to worst: those of one tier tie. Empty where there is no such order. */
  tiers: number[][];
  differing: { name: string; values: string[] }[];
  same: string;
}

/** The groups in the order in which they are drawn: tier by tier, so that those that tie lie together. */
export function drawingOrder({ groups, tiers }: Comparison): number[] {
  return tiers.length ? tiers.flat() : groups.map((_, i) => i);
}

/** Places pushed apart to a distance, in their order and within bounds, each as near its own as that allows. */
export function apart(wanted: number[], distance: number, low: number, high: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const places = order.map(i => wanted[i]);
  const room = Math.min(distance, (high - low) / Math.max(1, places.length - 1));
  for (let pass = 0; pass < 60; pass++) {
    let moved = false;
    for (let k = 1; k < places.length; k++) {
      const lack = room - (places[k] - places[k - 1]);
      if (lack < 0.01) continue;
      moved = true;
      places[k - 1] -= lack / 2;
      places[k] += lack / 2;
    }
    const out = [low - places[0], places[places.length - 1] - high];
    if (out[0] > 0) places.forEach((_, k) => (places[k] = Math.max(places[k], low + k * room)));
    if (out[1] > 0) places.forEach((_, k) => (places[k] = Math.min(places[k], high - (places.length - 1 - k) * room)));
    if (!moved) break;
  }
  const result = new Array<number>(wanted.length);
  order.forEach((i, k) => (result[i] = places[k]));
  return result;
}

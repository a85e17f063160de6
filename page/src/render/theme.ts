/// Colours of the two themes, from the constants that the page shares with the pictures that Python draws.
import constants from '../../../steepest/view/render/constants.json';

export { constants };

/** Colours of the relief. */
export interface Look {
  /** From the smallest loss to the largest. */
  ramp: string[];
  /** Factors of a colour in shadow and in the sun, in linear light. */
  shadow: number[];
  sun: number[];
  /** Darkness of contour lines. */
  thin: number;
  thick: number;
  /** Colour of the block's walls, and the share of the ramp in it. */
  wall: number[];
  strata: number;
}

export interface Theme {
  name: 'light' | 'dark';
  paper: string;
  ink: string;
  ink2: string;
  ink3: string;
  hair: string;
  bad: string;
  /** Outline of what lies on the relief, and its opacity for paths. */
  casing: string;
  opacity: number;
  /** Block edges and leader lines. */
  edge: string;
  /** Brightness of the map. */
  dim: number;
  members: string[];
  /** The same for small text. */
  names: string[];
  look: Look;
}

export const light = constants.themes.light as Theme;
export const dark = constants.themes.dark as Theme;

/// Colours of the two themes. Their distances under four kinds of sight are in the page's specification.

/** How the relief is coloured. */
export interface Look {
  /** From the least loss to the greatest. */
  ramp: string[];
  /** What a colour is multiplied by in shadow and in the sun, in linear light. */
  shadow: [number, number, number];
  sun: [number, number, number];
  /** How dark contours are, thin ones and thick ones. */
  contour: number;
  thick: number;
  /** The block's walls, and how much of the ramp they show. */
  wall: [number, number, number];
  wallRamp: number;
}

export interface Theme {
  name: 'light' | 'dark';
  paper: string;
  /** Around lines and letters that lie on the relief. */
  casing: string;
  ink: string;
  ink2: string;
  ink3: string;
  hair: string;
  /** Block edges and leader lines. */
  edge: string;
  bad: string;
  members: string[];
  /** The same for small text. */
  names: string[];
  look: Look;
}

export const light: Theme = {
  name: 'light',
  paper: '#FAF8F3',
  casing: '#FAF8F3',
  ink: '#1A1E23',
  ink2: '#545B64',
  ink3: '#686E75',
  hair: '#E1DCD0',
  edge: 'rgba(26, 30, 35, 0.55)',
  bad: '#A3271A',
  members: ['#B5340C', '#25109D', '#D07B00', '#A066F0', '#259A95', '#740F2A'],
  names: ['#B5340C', '#25109D', '#995800', '#8546DA', '#177571', '#740F2A'],
  look: {
    ramp: ['#164150', '#2F6B74', '#6FA29A', '#B4C7AC', '#E4DBBF', '#F6EEDC'],
    shadow: [0.3, 0.36, 0.46],
    sun: [1.1, 1.07, 1],
    contour: 0.34,
    thick: 0.5,
    wall: [0.93, 0.915, 0.87],
    wallRamp: 0.3,
  },
};

export const dark: Theme = {
  name: 'dark',
  paper: '#0F1317',
  casing: '#0B0E11',
  ink: '#ECE9E1',
  ink2: '#A5A9AC',
  ink3: '#868B90',
  hair: '#262C33',
  edge: 'rgba(236, 233, 225, 0.42)',
  bad: '#FF8B7A',
  members: ['#F0533F', '#87C3F1', '#FEB311', '#9B62E6', '#90FDDF', '#CC71A4'],
  names: ['#F0533F', '#87C3F1', '#FEB311', '#A878EC', '#90FDDF', '#CC71A4'],
  look: {
    ramp: ['#0B2B38', '#154650', '#2E6467', '#5B8479', '#8FA086', '#BDB899'],
    shadow: [0.16, 0.2, 0.28],
    sun: [1, 0.98, 0.94],
    contour: 0.42,
    thick: 0.6,
    wall: [0.11, 0.13, 0.15],
    wallRamp: 0.35,
  },
};

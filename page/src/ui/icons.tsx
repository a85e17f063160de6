/// The few pictures in the page's buttons, and the members' marks.
import { outline } from '../render/glyph';

const SHAPES = {
  moon: 'M16 11.5A6.5 6.5 0 0 1 8.5 4a6.5 6.5 0 1 0 7.5 7.5Z',
  sun: 'M10 2.5V4M10 16v1.5M2.5 10H4M16 10h1.500M4.7 4.700l1 1M14.3 14.300l1 1M4.7 15.300l1-1M14.3 5.700l1-1M13 10a3 3 0 1 1-6 0 3 3 0 0 1 6 0Z',
  save: 'M10 3v9M6.5 8.5 10 12l3.5-3.500M4 16h12',
  list: 'M7 5h10M7 10h10M7 15h10M3 5h.500M3 10h.500M3 15h.500',
  close: 'M5 5l10 10M15 5 5 15',
  map: 'M3 5.5 7.5 4l5 1.500L17 4v10.500L12.5 16l-5-1.500L3 16ZM7.5 4v10.500M12.5 5.500V16',
};

export const Icon = ({ of }: { of: keyof typeof SHAPES }) => (
  <svg width="18" height="18" viewBox="0 0 20 20" class="icon" aria-hidden="true">
    <path d={SHAPES[of]} />
  </svg>
);

export const Glyph = ({ member, colour }: { member: number; colour: string }) => (
  <svg class="glyph" width="13" height="13" viewBox="-7 -7 14 14" aria-hidden="true">
    <path d={outline(member, 5.2)} fill={colour} />
  </svg>
);

export const Logo = () => (
  <svg width="26" height="20" viewBox="0 0 26 20" class="logo" aria-hidden="true">
    <path d="M2 3c4 0 5.5 12.5 11 12.500S19 8 24 8" />
    <circle cx="13" cy="15.5" r="2.6" />
  </svg>
);

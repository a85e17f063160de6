/// Rectangles on a canvas, in CSS pixels.

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** What a stage has room for: its size, and what lies over it. */
export interface Room {
  width: number;
  height: number;
  overlays: Box[];
}

export const around = (x: number, y: number, across: number, down: number): Box =>
  ({ left: x - across, right: x + across, top: y - down, bottom: y + down });

/** Whether two boxes are nearer than so much, across. */
export const overlap = (a: Box, b: Box, gap = 0): boolean =>
  a.left < b.right + gap && b.left < a.right + gap && a.top < b.bottom && b.top < a.bottom;

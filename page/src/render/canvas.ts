/// Canvases that follow their boxes.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Box } from './boxes';

declare global {
  interface HTMLElement {
    /** Where a canvas inside it has text, in its own pixels: for tests, which see no text on a canvas. */
    textBoxes?: Box[];
    /** What those keep away from. */
    overlayBoxes?: Box[];
  }
}

/** A box's size in whole CSS pixels, [0, 0] before it is known. */
export function useSize(): [preact.RefObject<HTMLDivElement | null>, number, number] {
  const box = useRef<HTMLDivElement>(null);
  const [[width, height], set] = useState<[number, number]>([0, 0]);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      set([Math.round(entry.contentRect.width), Math.round(entry.contentRect.height)]);
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return [box, width, height];
}

/** Device pixels a CSS pixel, at most 2. */
export const density = (): number => Math.min(2, window.devicePixelRatio || 1);

/** A canvas's context, scaled to CSS pixels, empty, and as new: a line's cap that an earlier picture set would change this one. */
export function cleared(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const scale = density();
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext('2d')!;
  context.reset();
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}

/** How often fonts have arrived: what is drawn with them is drawn again. */
export function useFonts(): number {
  const [arrived, set] = useState(0);
  useEffect(() => void document.fonts.ready.then(() => set(n => n + 1)), []);
  return arrived;
}

/// Pointers on the stage: a drag turns it, two fingers zoom, a press without a movement is a click.
import { useRef } from 'preact/hooks';

export interface Gestures {
  turn(azimuth: number, elevation: number): void;
  zoom(factor: number): void;
  click(x: number, y: number): void;
}

type Event = PointerEvent & { currentTarget: HTMLElement };

const CLICK_PIXELS = 4;
/** Radians a pixel. */
const ACROSS = 0.006;
const UP = 0.005;

/** Handlers for an element whose `touch-action` is `pan-y`: one finger up and down scrolls the page. */
export function useGestures({ turn, zoom, click }: Gestures) {
  const fingers = useRef(new Map<number, [x: number, y: number]>());
  const moved = useRef(0);
  const lift = (e: Event) => fingers.current.delete(e.pointerId);
  return {
    onPointerDown: (e: Event) => {
      if (fingers.current.size === 0) moved.current = 0;
      fingers.current.set(e.pointerId, [e.clientX, e.clientY]);
      e.currentTarget.setPointerCapture(e.pointerId);
    },
    onPointerMove: (e: Event) => {
      const from = fingers.current.get(e.pointerId);
      if (!from) return;
      const before = spread(fingers.current);
      fingers.current.set(e.pointerId, [e.clientX, e.clientY]);
      const [dx, dy] = [e.clientX - from[0], e.clientY - from[1]];
      moved.current += Math.abs(dx) + Math.abs(dy);
      if (before) zoom(spread(fingers.current) / before);
      else if (moved.current >= CLICK_PIXELS) turn(-dx * ACROSS, dy * UP);
    },
    onPointerCancel: lift,
    onPointerUp: (e: Event) => {
      if (lift(e) && moved.current < CLICK_PIXELS && fingers.current.size === 0) {
        const { left, top } = e.currentTarget.getBoundingClientRect();
        click(e.clientX - left, e.clientY - top);
      }
    },
  };
}

/** Distance between two fingers; 0 where there are not two. */
function spread(fingers: Map<number, [number, number]>): number {
  const [a, b] = [...fingers.values()];
  return b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0;
}

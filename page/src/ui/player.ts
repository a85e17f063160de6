/// The clock of the film: playing, speed and where it stands.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';

/** The whole film at 1×. */
const FILM_S = 12;
const SPEEDS = [1, 4, 0.25];

export interface Player {
  /** The step, with fractions while playing. */
  t: number;
  playing: boolean;
  speed: number;
  toggle(): void;
  play(): void;
  seek(t: number): void;
  step(by: number): void;
  nextSpeed(): void;
}

/** A clock of so many steps; a live film's clock stays at its end while nobody moves it. */
export function usePlayer(steps: number, first: number): Player {
  const [t, setT] = useState(first);
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(1);
  const before = useRef(steps);
  useEffect(() => {
    setT(now => (now >= before.current ? steps : Math.min(now, steps)));
    before.current = steps;
  }, [steps]);
  useEffect(() => {
    if (!playing) return;
    let [frame, last] = [0, 0];
    const tick = (now: number) => {
      const passed = last ? (now - last) / 1000 : 0;
      last = now;
      setT(old => Math.min(steps, old + (passed * steps * speed) / FILM_S));
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing, speed, steps]);
  useEffect(() => {
    if (t >= steps) setPlaying(false);
  }, [t, steps]);
  const seek = useCallback((to: number) => {
    setPlaying(false);
    setT(Math.round(Math.min(steps, Math.max(0, to))));
  }, [steps]);
  const step = useCallback((by: number) => {
    setPlaying(false);
    setT(old => Math.min(steps, Math.max(0, Math.round(old) + by)));
  }, [steps]);
  const play = useCallback(() => {
    setT(0);
    setPlaying(true);
  }, []);
  const toggle = () => (t >= steps && !playing ? play() : setPlaying(now => !now));
  const nextSpeed = () => setSpeed(now => SPEEDS[(SPEEDS.indexOf(now) + 1) % SPEEDS.length]);
  return { t, playing, speed, toggle, play, seek, step, nextSpeed };
}

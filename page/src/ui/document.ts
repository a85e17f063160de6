/// What the page knows of the window it is in: its theme and its width.
import { useEffect, useState } from 'preact/hooks';
import { dark, light, type Theme } from '../render/theme';

/** From this width on nothing scrolls but the right column: the verdict lies over the stage, and a sheet beside it. */
export const BESIDE = '(min-width: 1000px)';

/** Whether a media query holds. */
export function useMedia(query: string): boolean {
  const [holds, set] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const update = () => set(media.matches);
    update();
    media.addEventListener('change', update);
    return () => media.removeEventListener('change', update);
  }, [query]);
  return holds;
}

/** The theme: the system's until the reader chooses. */
export function useTheme(): [Theme, () => void] {
  const system = useMedia('(prefers-color-scheme: dark)');
  const [chosen, choose] = useState<boolean | null>(null);
  const theme = chosen ?? system ? dark : light;
  document.documentElement.dataset.theme = theme.name;
  return [theme, () => choose(now => !(now ?? system))];
}

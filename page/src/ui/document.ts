/// What the page knows of the window it is in: its theme and its width.
import { useEffect, useState } from 'preact/hooks';
import { constants, dark, light, type Theme } from '../render/theme';

const { medium, wide } = constants.layout;
export const NARROW = `(max-width: ${medium - 1}px)`;
export const MEDIUM = `(min-width: ${medium}px) and (max-width: ${wide - 1}px)`;

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

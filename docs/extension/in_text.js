// A page to play with inside the manual: the manual gives the theme, learns the height, and it plays when it is seen.
(() => {
  const real = window.matchMedia.bind(window);
  const still = real('(prefers-reduced-motion: reduce)').matches;
  const noise = NOISE;
  const dark = new EventTarget();
  dark.matches = real('(prefers-color-scheme: dark)').matches;
  window.matchMedia = query => {
    if (query.includes('prefers-color-scheme')) return dark;
    if (query.includes('prefers-reduced-motion')) return { matches: true };
    return real(query);
  };
  const tell = () => {
    const app = document.getElementById('app');
    if (app) parent.postMessage({ height: Math.ceil(app.getBoundingClientRect().height) }, '*');
  };
  addEventListener('message', ({ source, data }) => {
    if (source !== parent || typeof data?.dark !== 'boolean') return;
    if (data.ask) tell();
    if (data.dark === dark.matches) return;
    dark.matches = data.dark;
    dark.dispatchEvent(new Event('change'));
  });
  const find = text => [...document.querySelectorAll('.control')].find(c => c.querySelector('.label')?.textContent === text);
  addEventListener('load', () => {
    const slider = noise && find('batch noise')?.querySelector('input');
    if (slider) {
      slider.value = String(Math.round(Math.sqrt(noise / 100) * Number(slider.max)));
      slider.dispatchEvent(new Event('input', { bubbles: true }));
    }
    const app = document.getElementById('app');
    new ResizeObserver(tell).observe(app.firstElementChild ?? app);
    tell();
    if (still) return;
    const seen = new IntersectionObserver(entries => {
      if (!entries.some(entry => entry.isIntersecting)) return;
      seen.disconnect();
      document.querySelector('.go')?.click();
    }, { threshold: 0.6 });
    seen.observe(document.querySelector('.scene'));
  });
})();

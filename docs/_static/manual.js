// Pages to play with inside the text: each tells its height, and is told the theme of the manual.
(() => {
  const isDark = () => {
    const { theme } = document.body.dataset;
    return theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  };
  const frames = () => [...document.querySelectorAll('iframe.play')];
  const tell = frame => frame.contentWindow?.postMessage({ dark: isDark() }, '*');
  const ask = frame => frame.contentWindow?.postMessage({ dark: isDark(), ask: true }, '*');
  addEventListener('message', ({ source, data }) => {
    const frame = frames().find(one => one.contentWindow === source);
    if (!frame || typeof data?.height !== 'number') return;
    if (frame.style.height === `${data.height}px`) return;
    frame.style.height = `${Math.min(2000, Math.max(200, data.height))}px`;
    tell(frame);
  });
  addEventListener('DOMContentLoaded', () => {
    for (const frame of frames()) {
      frame.addEventListener('load', () => ask(frame));
      ask(frame);
    }
    new MutationObserver(() => frames().forEach(tell)).observe(document.body, { attributeFilter: ['data-theme'] });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => frames().forEach(tell));
  });
})();

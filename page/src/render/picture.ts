/// The stage as a PNG file.

/** Saves what the canvases of an element show, on paper. */
export function savePicture(element: Element, paper: string, name: string): void {
  const layers = [...element.querySelectorAll('canvas')];
  const { width, height } = layers.reduce((a, b) => (b.width > a.width ? b : a));
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d')!;
  context.fillStyle = paper;
  context.fillRect(0, 0, width, height);
  for (const layer of layers) context.drawImage(layer, 0, 0, width, height);
  const link = document.createElement('a');
  link.href = canvas.toDataURL('image/png');
  link.download = `${name.replace(/[^\w-]+/g, '-')}.png`;
  link.click();
}

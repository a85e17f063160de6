({
  // Frames per second while every frame turns the relief.
  turn: async seconds => {
    const stage = document.querySelector('.stage');
    let frames = 0;
    const began = performance.now();
    while (performance.now() - began < seconds * 1000) {
      stage.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true }));
      await new Promise(requestAnimationFrame);
      frames++;
    }
    return 1000 * frames / (performance.now() - began);
  },
  // Frames per second while the film plays at 1×.
  play: async seconds => {
    window.dispatchEvent(new KeyboardEvent('keydown', { key: 'Home' }));
    window.dispatchEvent(new KeyboardEvent('keydown', { key: ' ' }));
    await new Promise(requestAnimationFrame);
    let frames = 0;
    const began = performance.now();
    while (performance.now() - began < seconds * 1000) {
      await new Promise(requestAnimationFrame);
      frames++;
    }
    return 1000 * frames / (performance.now() - began);
  },
  // How many of the steps, as shares of the run, show a spike. The plot's margins are `charts` of constants.json.
  spikes: steps => {
    const canvas = document.querySelector('.chart.grow canvas');
    const { width, height } = canvas;
    const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    const left = 50, right = 14;
    const top = column => {
      for (let y = 0; y < height; y++) {
        const [red, , blue, alpha] = pixels.subarray(4 * (y * width + column), 4 * (y * width + column) + 4);
        if (alpha > 0 && red > blue + 60) return y; // the line is red, the ticks are grey
      }
      return height;
    };
    return steps.filter(share => {
      const x = Math.round(left + share * (width - left - right));
      return Math.min(top(x - 1), top(x), top(x + 1)) < 0.12 * height;
    }).length;
  },
})

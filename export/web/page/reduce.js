/** What happens to the pixels of a browser before the resize: the arithmetic of Pillow on 8-bit RGB. */

/** The means of blocks; blocks at the right and lower edge may be smaller. */
export function blockMeans({ data, width, height }, across, down) {
  if (across === 1 && down === 1) return { data, width, height };
  const columns = Math.ceil(width / across);
  const rows = Math.ceil(height / down);
  const out = new Uint8Array(columns * rows * 3);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * down);
    for (let column = 0; column < columns; column++) {
      const right = Math.min(width, (column + 1) * across);
      const count = (bottom - row * down) * (right - column * across);
      const share = Math.floor(2 ** 24 / count) / 2 ** 24; // Pillow divides by a product with 24 bits
      let red = count >> 1;
      let green = red;
      let blue = red;
      for (let y = row * down; y < bottom; y++) {
        const end = 3 * (y * width + right);
        for (let at = 3 * (y * width + column * across); at < end; at += 3) {
          red += data[at];
          green += data[at + 1];
          blue += data[at + 2];
        }
      }
      const to = 3 * (row * columns + column);
      out[to] = red * share; // rounded down
      out[to + 1] = green * share;
      out[to + 2] = blue * share;
    }
  }
  return { data: out, width: columns, height: rows };
}

/** The upright image for an EXIF orientation of 1 to 8. */
export function upright({ data, width, height }, orientation) {
  if (orientation === 1) return { data, width, height };
  const turned = orientation >= 5;
  const right = [2, 3, 7, 8].includes(orientation); // begins at the right edge of the stored image
  const bottom = [3, 4, 6, 7].includes(orientation);
  const first = (right ? width - 1 : 0) + (bottom ? (height - 1) * width : 0);
  const steps = [right ? -1 : 1, bottom ? -width : width];
  const [stepX, stepY] = turned ? steps.reverse() : steps;
  const [columns, rows] = turned ? [height, width] : [width, height];
  const out = new Uint8Array(data.length);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, to += 3) {
      const from = 3 * (first + x * stepX + y * stepY);
      out[to] = data[from];
      out[to + 1] = data[from + 1];
      out[to + 2] = data[from + 2];
    }
  }
  return { data: out, width: columns, height: rows };
}

/** Pillow's antialiased BILINEAR resize to a square, in its own fixed-point arithmetic: equal bits. */

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

/** RGB (height, width, 3) to RGB (side, side, 3). */
export function resize({ data, width, height }, side) {
  const rows = (image, lines) => pass(image, lines, side, 3, 3 * width, 3 * side, 3, weights(width, side));
  const columns = (image, lines) => pass(image, lines, side, 3 * lines, 3, 3, 3 * lines, weights(height, side));
  // The order decides about rounding: that of Pillow 13; earlier versions always begin with the rows.
  const tall = height > side && height > 2 * width - side;
  return tall ? rows(columns(data, width), side) : columns(rows(data, height), side);
}

/**
 * Resize one axis of an image to `size` samples.
 *
 * Along the axis, samples are `step` apart before and `outStep` after it; the lines across are `line` and `outLine` apart.
 */
function pass(data, lines, size, step, line, outLine, outStep, table) {
  const out = new Uint8Array(lines * size * 3);
  for (let index = 0; index < lines; index++) {
    for (let at = 0; at < size; at++) {
      const { first, taps } = table[at];
      let from = index * line + first * step;
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      for (let tap = 0; tap < taps.length; tap++, from += step) {
        const weight = taps[tap];
        red += data[from] * weight;
        green += data[from + 1] * weight;
        blue += data[from + 2] * weight;
      }
      const to = index * outLine + at * outStep;
      out[to] = clip(red >> PRECISION_BITS);
      out[to + 1] = clip(green >> PRECISION_BITS);
      out[to + 2] = clip(blue >> PRECISION_BITS);
    }
  }
  return out;
}

function clip(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** For each output sample its first input sample and the integer weights of the triangle filter. */
function weights(from, to) {
  const scale = from / to;
  const support = Math.max(1, scale);
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const taps = [];
    for (let sample = first; sample < last; sample++) {
      taps.push(Math.max(0, 1 - Math.abs((sample - centre + 0.5) * (1 / support))));
    }
    const total = taps.reduce((sum, tap) => sum + tap, 0);
    return { first, taps: Int32Array.from(taps, (tap) => Math.trunc(0.5 + (tap / total) * (1 << PRECISION_BITS))) };
  });
}

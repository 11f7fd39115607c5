/** Resize RGB pixels to a square as Pillow's BILINEAR does: one axis after the other, both rounded to 8 bits. */
export function resize({ data, width, height }, side) {
  if (height > 2 * width - side) {
    const low = resizeAxis(data, 1, height, 3 * width, side); // tall images: as Pillow 13
    return resizeAxis(low, side, width, 3, side);
  }
  const narrow = resizeAxis(data, height, width, 3, side);
  return resizeAxis(narrow, 1, height, 3 * side, side);
}

/** The middle axis of (outer, size, inner) by a triangle filter, widened by the reduction; weights have 22 bits. */
function resizeAxis(pixels, outer, size, inner, target) {
  const result = new Uint8Array(outer * target * inner);
  const reduction = size / target;
  const support = Math.max(1, reduction);
  for (let to = 0; to < target; to++) {
    const centre = (to + 0.5) * reduction;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const end = Math.min(size, Math.floor(centre + support + 0.5));
    const triangle = [];
    for (let from = first; from < end; from++) triangle.push(Math.max(0, 1 - Math.abs(from - centre + 0.5) / support));
    const total = triangle.reduce((sum, weight) => sum + weight);
    const weights = triangle.map((weight) => Math.round((weight / total) * 2 ** 22));
    for (let row = 0; row < outer; row++) {
      for (let column = 0; column < inner; column++) {
        let sum = 2 ** 21;
        for (let at = 0; at < weights.length; at++) {
          sum += weights[at] * pixels[(row * size + first + at) * inner + column];
        }
        result[(row * target + to) * inner + column] = sum >> 22;
      }
    }
  }
  return result;
}

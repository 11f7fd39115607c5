/**
 * The inverse DCT of libjpeg (jidctint.c and jidctred.c) to blocks of 8, 4, 2 or 1 pixels a side, in its fixed-point
 * arithmetic: the smaller ones are means of the pixels of the largest, but for rounding.
 */

const BITS = 13; // of the constants
const PASS1_BITS = 2; // more precision between the passes

/** A function that transforms one block: (coefficients, from, table, out, to, stride). */
export function inverseDct(side) {
  if (side === 1) return single;
  const [one, extra] = { 8: [eight, 0], 4: [four, 1], 2: [two, 2] }[side];
  const [first, second] = [BITS - PASS1_BITS + extra, BITS + PASS1_BITS + 3 + extra];
  const work = new Int32Array(8 * side);
  const input = new Int32Array(8);
  const output = new Int32Array(side);
  return (coefficients, from, table, out, to, stride) => {
    for (let column = 0; column < 8; column++) {
      for (let k = 0; k < 8; k++) input[k] = coefficients[from + 8 * k + column] * table[8 * k + column];
      one(input, output, first);
      for (let row = 0; row < side; row++) work[8 * row + column] = output[row];
    }
    for (let row = 0; row < side; row++) {
      for (let k = 0; k < 8; k++) input[k] = work[8 * row + k];
      one(input, output, second);
      for (let x = 0; x < side; x++) out[to + row * stride + x] = clip(output[x] + 128);
    }
  };
}

function single(coefficients, from, table, out, to) {
  out[to] = clip(((coefficients[from] * table[0] + 4) >> 3) + 128);
}

function clip(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** Scaled by the square root of 8, in BITS bits. */
function eight(input, out, shift) {
  const half = 1 << (shift - 1);
  const even = (input[2] + input[6]) * 4433;
  const low = even - input[6] * 15137;
  const high = even + input[2] * 6270;
  const sum = (input[0] + input[4]) * 8192 + half;
  const difference = (input[0] - input[4]) * 8192 + half;
  const [a0, a3, a1, a2] = [sum + high, sum - high, difference + low, difference - low];

  const z5 = (input[7] + input[3] + input[5] + input[1]) * 9633;
  const z1 = (input[7] + input[1]) * -7373;
  const z2 = (input[5] + input[3]) * -20995;
  const z3 = (input[7] + input[3]) * -16069 + z5;
  const z4 = (input[5] + input[1]) * -3196 + z5;
  const b0 = input[7] * 2446 + z1 + z3;
  const b1 = input[5] * 16819 + z2 + z4;
  const b2 = input[3] * 25172 + z2 + z3;
  const b3 = input[1] * 12299 + z1 + z4;

  out[0] = (a0 + b3) >> shift;
  out[7] = (a0 - b3) >> shift;
  out[1] = (a1 + b2) >> shift;
  out[6] = (a1 - b2) >> shift;
  out[2] = (a2 + b1) >> shift;
  out[5] = (a2 - b1) >> shift;
  out[3] = (a3 + b0) >> shift;
  out[4] = (a3 - b0) >> shift;
}

/** Means of two neighbours of `eight`. */
function four(input, out, shift) {
  const start = input[0] * 16384 + (1 << (shift - 1));
  const even = input[2] * 15137 - input[6] * 6270;
  const inner = input[7] * -1730 + input[5] * 11893 + input[3] * -17799 + input[1] * 8697;
  const outer = input[7] * -4176 + input[5] * -4926 + input[3] * 7373 + input[1] * 20995;
  out[0] = (start + even + outer) >> shift;
  out[3] = (start + even - outer) >> shift;
  out[1] = (start - even + inner) >> shift;
  out[2] = (start - even - inner) >> shift;
}

/** Means of four neighbours of `eight`. */
function two(input, out, shift) {
  const start = input[0] * 32768 + (1 << (shift - 1));
  const odd = input[7] * -5906 + input[5] * 6967 + input[3] * -10426 + input[1] * 29692;
  out[0] = (start + odd) >> shift;
  out[1] = (start - odd) >> shift;
}

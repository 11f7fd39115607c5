/** JPEG coefficients to RGB in the arithmetic of libjpeg-turbo: reduced inverse DCT, chroma upsampling, colours. */

import { inverseDct } from "./jpeg_dct.js";
import { ZIGZAG } from "./jpeg_scan.js";

/** The browser has to decode the file. */
export class UnsupportedError extends Error {}

/** RGB {data, width, height} of a decoded frame at 1 / `scale`. */
export function toRgb(frame, colour, scale) {
  const least = 8 / scale;
  const [width, height] = [frame.width, frame.height].map((side) => Math.ceil(side / scale));
  const planes = frame.components.map((component) => {
    const side = sideOf(component, frame, least);
    return upsample(reconstruct(component, frame, side), (component.h * side) / least, (component.v * side) / least, frame, least);
  });
  const data = new Uint8Array(3 * width * height);
  const convert = COLOURS[colour];
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) convert(planes, y, x, data, to);
  }
  return { data, width, height };
}

/** The side of a component's blocks: chroma with fewer samples is reduced less, instead of being upsampled. */
function sideOf({ h, v }, { mostH, mostV }, least) {
  let side = least;
  while (side < 8 && (mostH * least) % (h * side * 2) === 0 && (mostV * least) % (v * side * 2) === 0) side *= 2;
  return side;
}

/** The samples of a component: {data, width, height, stride}. */
function reconstruct(component, frame, side) {
  const stride = component.stride * side;
  const rows = component.coefficients.length / 64 / component.stride;
  const data = new Uint8Array(stride * rows * side);
  const table = new Int32Array(64);
  component.table.forEach((value, index) => (table[ZIGZAG[index]] = value));
  const transform = inverseDct(side);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let column = 0; column < component.stride; column++, from += 64) {
      transform(component.coefficients, from, table, data, row * side * stride + column * side, stride);
    }
  }
  const width = Math.ceil((frame.width * component.h * side) / (frame.mostH * 8));
  const height = Math.ceil((frame.height * component.v * side) / (frame.mostV * 8));
  return { data, width, height, stride };
}

/** Bring samples to the output's size; `h` and `v` are samples a group of mostH and mostV pixels. */
function upsample(plane, h, v, { mostH, mostV }, least) {
  const [across, down] = [mostH / h, mostV / v];
  if (across === 1 && down === 1) return plane;
  if (!Number.isInteger(across) || !Number.isInteger(down)) throw new UnsupportedError("sampling");
  const fancy = least > 1 && (across === 1 || (across === 2 && plane.width > 2));
  if (fancy && across === 2 && down === 1) return widen(plane, (y, x) => plane.data[y * plane.stride + x], H2V1);
  if (fancy && across === 1 && down === 2) return lengthen(plane);
  if (fancy && across === 2 && down === 2) return enlarge(plane);
  return repeat(plane, across, down);
}

function repeat({ data, width, height, stride }, across, down) {
  const out = new Uint8Array(width * across * height * down);
  for (let y = 0, to = 0; y < height * down; y++) {
    const row = Math.floor(y / down) * stride;
    for (let x = 0; x < width * across; x++) out[to++] = data[row + Math.floor(x / across)];
  }
  return { data: out, width: width * across, height: height * down, stride: width * across };
}

// Weights of the nearer and of the other sample are 3 and 1: [shift, rounding of the left and of the right pixel].
const H2V1 = { shift: 2, left: 1, right: 2 };
const H2V2 = { shift: 4, left: 8, right: 7 };

/** Double the width of rows whose samples `at` gives; at the edges there is no other sample. */
function widen({ width, height }, at, { shift, left, right }) {
  const out = new Uint8Array(2 * width * height);
  for (let y = 0, to = 0; y < height; y++) {
    let [before, here] = [at(y, 0), at(y, 0)];
    for (let x = 0; x < width; x++) {
      const after = x + 1 < width ? at(y, x + 1) : here;
      out[to++] = (3 * here + before + left) >> shift;
      out[to++] = (3 * here + after + right) >> shift;
      [before, here] = [here, after];
    }
  }
  return { data: out, width: 2 * width, height, stride: 2 * width };
}

/** The sum, with weights 3 and 1, of the nearer row and of the one above or below. */
function sums({ data, height, stride }) {
  return (y, x) => {
    const row = y >> 1;
    const other = Math.min(height - 1, Math.max(0, y & 1 ? row + 1 : row - 1));
    return 3 * data[row * stride + x] + data[other * stride + x];
  };
}

function enlarge(plane) {
  return widen({ width: plane.width, height: 2 * plane.height }, sums(plane), H2V2);
}

function lengthen(plane) {
  const { width, height } = plane;
  const [at, out] = [sums(plane), new Uint8Array(width * 2 * height)];
  for (let y = 0, to = 0; y < 2 * height; y++) {
    for (let x = 0; x < width; x++) out[to++] = (at(y, x) + (y & 1 ? 2 : 1)) >> 2;
  }
  return { data: out, width, height: 2 * height, stride: width };
}

const COLOURS = {
  grey([{ data, stride }], y, x, out, to) {
    out[to] = out[to + 1] = out[to + 2] = data[y * stride + x];
  },
  RGB(planes, y, x, out, to) {
    for (let index = 0; index < 3; index++) out[to + index] = planes[index].data[y * planes[index].stride + x];
  },
  YCbCr([luma, blue, red], y, x, out, to) {
    convert(luma.data[y * luma.stride + x], blue.data[y * blue.stride + x], red.data[y * red.stride + x], out, to);
  },
  CMYK(planes, y, x, out, to) {
    COLOURS.RGB(planes, y, x, out, to); // stored inverted
    darken(out, to, planes[3].data[y * planes[3].stride + x]);
  },
  YCCK(planes, y, x, out, to) {
    COLOURS.YCbCr(planes, y, x, out, to);
    for (let index = 0; index < 3; index++) out[to + index] = 255 - out[to + index];
    darken(out, to, planes[3].data[y * planes[3].stride + x]);
  },
};

function convert(luma, blue, red, out, to) {
  const [b, r] = [blue - 128, red - 128];
  out[to] = clip(luma + ((91881 * r + 32768) >> 16));
  out[to + 1] = clip(luma + ((-22554 * b - 46802 * r + 32768) >> 16));
  out[to + 2] = clip(luma + ((116130 * b + 32768) >> 16));
}

/** Inverted CMY and K to RGB, as Pillow converts them. */
function darken(out, to, key) {
  for (let index = to; index < to + 3; index++) {
    const product = (255 - out[index]) * key + 128;
    out[index] = clip(key - (((product >> 8) + product) >> 8));
  }
}

function clip(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

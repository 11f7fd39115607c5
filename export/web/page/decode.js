/** Image files to upright RGB pixels, as the program of the bundle decodes them. */

import { takeHeader } from "./header.js";
import { decodeJpeg, TruncatedError, UnsupportedError } from "./jpeg.js";
import { blockMeans, upright } from "./reduce.js";

export const MOST_PIXELS = 90_000_000;
const LARGE = 4_000_000; // pixels: larger images are reduced to block means
const BAND = 1_000_000; // pixels that are read at once: browsers limit the size of a canvas

export class UnreadableImageError extends Error {
  name = "UnreadableImageError";
}

/** Decode the first frame of an image to RGB {data, width, height}; large ones are reduced, `side` is the model's. */
export async function decode(blob, side) {
  const bytes = await read(blob);
  const header = takeHeader(bytes);
  checkSize(header);
  const image = (header.kind === "JPEG" && reducedJpeg(bytes, header, side)) || (await inBrowser(bytes, header, side));
  if (header.bits > 8) checkDepth(image);
  return upright(image, header.orientation);
}

async function read(blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    throw new UnreadableImageError("It is a folder, or has been moved or changed. Choose the photos themselves, again.");
  }
}

/** A JPEG, or null for one that the browser has to decode. */
function reducedJpeg(bytes, header, side) {
  try {
    const image = decodeJpeg(bytes, scaleOf(header, side));
    return blockMeans(image, ...blockOf(image.width, image.height, side));
  } catch (error) {
    if (error instanceof UnsupportedError) return null;
    if (!(error instanceof TruncatedError)) throw error;
    throw new UnreadableImageError("The JPEG file is truncated. Choose another copy of it.");
  }
}

async function inBrowser(bytes, header, side) {
  const bitmap = await open(bytes, header);
  try {
    checkSize(bitmap);
    const scale = header.kind === "JPEG" ? scaleOf(bitmap, side) : 1;
    const [width, height] = [Math.ceil(bitmap.width / scale), Math.ceil(bitmap.height / scale)];
    return readPixels(bitmap, [[scale, scale], blockOf(width, height, side)]);
  } finally {
    bitmap.close();
  }
}

async function open(bytes, { kind }) {
  try {
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    return await createImageBitmap(new Blob([bytes]), options);
  } catch {
    throw new UnreadableImageError(ADVICE[kind] ?? `The ${kind} file is damaged. Choose another copy of it.`);
  }
}

const ADVICE = {
  HEIC: "This browser does not decode HEIC. Convert the image to JPEG, or open this page in Safari.",
  TIFF: "This browser does not decode TIFF. Convert the image to PNG or JPEG.",
  AVIF: "The AVIF file is damaged, or this browser does not decode AVIF. Convert the image to JPEG.",
  unknown: "This is not an image that the browser can decode. Choose a JPEG, PNG, WebP or GIF file.",
};

function checkSize({ width, height }) {
  if (width * height > MOST_PIXELS) {
    const limit = MOST_PIXELS / 1e6;
    throw new UnreadableImageError(`${width} × ${height} pixels are more than ${limit} million. Make it smaller.`);
  }
}

/** Pillow scales images of 16 bits that use fewer; from 8 bits of a browser that cannot be done. */
function checkDepth({ data }) {
  if (data.every((value) => value < 64)) {
    throw new UnreadableImageError("Of 16 bits a channel, the image uses fewer than 15. Convert it to 8 bits.");
  }
}

/** The largest reduction of a JPEG that leaves twice the side of the model. */
function scaleOf({ width, height }, side) {
  const most = Math.min(Math.floor(width / (2 * side)), Math.floor(height / (2 * side)));
  return [8, 4, 2].find((scale) => scale <= most) ?? 1;
}

/** Columns and rows of the blocks whose means replace the pixels of a large image. */
function blockOf(width, height, side) {
  if (width * height <= LARGE) return [1, 1];
  return [width, height].map((length) => Math.max(1, Math.floor(length / (2 * side))));
}

/** The pixels over white, reduced band by band. */
function readPixels(bitmap, steps) {
  const { width, height } = bitmap;
  const block = steps.reduce((product, [, down]) => product * down, 1);
  const rows = Math.min(height, block * Math.max(1, Math.floor(BAND / (width * block))));
  const context = new OffscreenCanvas(width, rows).getContext("2d", { alpha: false, willReadFrequently: true });
  const bands = [];
  for (let top = 0; top < height; top += rows) {
    const band = Math.min(rows, height - top);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, band);
    context.drawImage(bitmap, 0, top, width, band, 0, 0, width, band);
    const image = { data: withoutAlpha(context.getImageData(0, 0, width, band).data), width, height: band };
    bands.push(steps.reduce((reduced, [across, down]) => blockMeans(reduced, across, down), image));
  }
  return join(bands);
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return rgb;
}

function join(bands) {
  const height = bands.reduce((sum, band) => sum + band.height, 0);
  const data = new Uint8Array(bands[0].width * height * 3);
  let at = 0;
  for (const band of bands) {
    data.set(band.data, at);
    at += band.data.length;
  }
  return { data, width: bands[0].width, height };
}

/**
 * Decodes JPEG at 1, 1/2, 1/4 or 1/8 of its size to the pixels of libjpeg-turbo, bit for bit: browsers decode at full
 * size only.  Sequential and progressive files of 8 bits with Huffman codes (ITU-T T.81); browsers decode others.
 */

import { decodeScan, Huffman } from "./jpeg_scan.js";
import { toRgb, UnsupportedError } from "./jpeg_pixels.js";

export { UnsupportedError };

export class TruncatedError extends Error {}

const FRAMES = new Set([0xc0, 0xc1, 0xc2]);
const OTHER_FRAMES = new Set([0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xdc]);

/** RGB {data, width, height}; throws TruncatedError, or UnsupportedError for what the browser has to decode. */
export function decodeJpeg(bytes, scale) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const file = { tables: [], dc: [], ac: [], restart: 0, jfif: false, adobe: null, frame: null };
  try {
    readFile(view, bytes, file);
  } catch (error) {
    if (error instanceof RangeError) throw new TruncatedError();
    throw error;
  }
  if (!file.frame?.components.every(({ table }) => table)) throw new UnsupportedError("no whole scan");
  return toRgb(file.frame, colourOf(file), scale);
}

function readFile(view, bytes, file) {
  let at = 2;
  for (;;) {
    while (view.getUint8(at) !== 0xff || view.getUint8(at + 1) === 0xff || view.getUint8(at + 1) === 0) at++;
    const marker = view.getUint8(at + 1);
    at += 2;
    if (marker === 0xd9) return;
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    const end = at + view.getUint16(at);
    readSegment(marker, view, at + 2, end, file);
    at = marker === 0xda ? readScan(view, bytes, at + 2, end, file) : end;
  }
}

function readSegment(marker, view, at, end, file) {
  if (OTHER_FRAMES.has(marker)) throw new UnsupportedError(`marker ${marker}`);
  if (FRAMES.has(marker)) file.frame = readFrame(view, at, marker === 0xc2);
  if (marker === 0xdb) readTables(view, at, end, file.tables);
  if (marker === 0xc4) readCodes(view, at, end, file);
  if (marker === 0xdd) file.restart = view.getUint16(at);
  if (marker === 0xe0 && end - at >= 12 && view.getUint32(at) === 0x4a464946) file.jfif = true;
  if (marker === 0xee && end - at >= 12 && view.getUint32(at) === 0x41646f62) file.adobe = view.getUint8(at + 11);
}

function readFrame(view, at, progressive) {
  const [bits, height, width, count] = [view.getUint8(at), view.getUint16(at + 1), view.getUint16(at + 3), view.getUint8(at + 5)];
  if (bits !== 8 || !height || !width || ![1, 3, 4].includes(count)) throw new UnsupportedError("frame");
  const components = Array.from({ length: count }, (_, index) => {
    const start = at + 6 + 3 * index;
    const sampling = view.getUint8(start + 1);
    return { id: view.getUint8(start), h: sampling >> 4, v: sampling & 15, table: null, tableIndex: view.getUint8(start + 2) };
  });
  const [mostH, mostV] = ["h", "v"].map((axis) => Math.max(...components.map((one) => one[axis])));
  if (!components.every(({ h, v }) => h >= 1 && v >= 1 && h <= 4 && v <= 4)) throw new UnsupportedError("sampling");
  const [columns, rows] = [Math.ceil(width / (8 * mostH)), Math.ceil(height / (8 * mostV))];
  for (const one of components) {
    one.stride = columns * one.h; // blocks, of whole units
    one.columns = Math.ceil(Math.ceil((width * one.h) / mostH) / 8);
    one.rows = Math.ceil(Math.ceil((height * one.v) / mostV) / 8);
    one.coefficients = new Int16Array(64 * one.stride * rows * one.v);
  }
  return { width, height, progressive, components, mostH, mostV, columns, rows };
}

function readTables(view, at, end, tables) {
  while (at < end) {
    const head = view.getUint8(at++);
    const size = head >> 4 ? 2 : 1;
    tables[head & 15] = Int32Array.from({ length: 64 }, (_, index) =>
      size === 2 ? view.getUint16(at + 2 * index) : view.getUint8(at + index),
    );
    at += 64 * size;
  }
}

function readCodes(view, at, end, file) {
  while (at < end) {
    const head = view.getUint8(at);
    const counts = Array.from({ length: 16 }, (_, index) => view.getUint8(at + 1 + index));
    const total = counts.reduce((sum, count) => sum + count, 0);
    const symbols = Array.from({ length: total }, (_, index) => view.getUint8(at + 17 + index));
    (head >> 4 ? file.ac : file.dc)[head & 15] = new Huffman(counts, symbols);
    at += 17 + total;
  }
}

/** Read one scan into the coefficients; returns where its data end. */
function readScan(view, bytes, at, end, { frame, tables, dc, ac, restart }) {
  if (!frame) throw new UnsupportedError("a scan before its frame");
  const components = [];
  for (let index = 0; index < view.getUint8(at); index++) {
    const [id, codes] = [view.getUint8(at + 1 + 2 * index), view.getUint8(at + 2 + 2 * index)];
    const component = frame.components.find((one) => one.id === id);
    if (!component) throw new UnsupportedError("component");
    component.table ??= tables[component.tableIndex];
    components.push(Object.assign(component, { dc: dc[codes >> 4], ac: ac[codes & 15] }));
  }
  const [first, last, bits] = [view.getUint8(end - 3), view.getUint8(end - 2), view.getUint8(end - 1)];
  const spectral = frame.progressive ? { first, last, high: bits >> 4, low: bits & 15 } : null;
  const needed = components.every((one) => (first || spectral?.high || one.dc) && (!last || (spectral && !first) || one.ac));
  if (!needed || last > 63) throw new UnsupportedError("codes");
  const after = decodeScan(bytes, end, frame, components, spectral, restart);
  if (after === null) throw new TruncatedError();
  return after;
}

/** As libjpeg guesses it. */
function colourOf({ frame, jfif, adobe }) {
  const ids = frame.components.map(({ id }) => id).join();
  if (frame.components.length === 1) return "grey";
  if (frame.components.length === 4) return adobe === null || adobe === 0 ? "CMYK" : "YCCK";
  if (jfif) return "YCbCr";
  if (adobe !== null) return adobe === 0 ? "RGB" : "YCbCr";
  return ids === "82,71,66" ? "RGB" : "YCbCr";
}

/** The header of an image file: what the browser must not decide, or must not decode before it is known. */

const ORIENTATION = 0x0112; // EXIF tag
const TYPES = 13; // of EXIF, those that Pillow knows; a tag of another is ignored
const INTEGERS = {
  3: ["getUint16", 2],
  4: ["getUint32", 4],
  6: ["getInt8", 1],
  8: ["getInt16", 2],
  9: ["getInt32", 4],
  13: ["getUint32", 4],
};
const XMP = { JPEG: "http://ns.adobe.com/xap/1.0/\0", PNG: "XML:com.adobe.xmp\0" };
const NO_SIZE = new Set([0xc4, 0xc8, 0xcc]); // JPEG markers in the range of frame headers that are none
const BRANDS = { avif: "AVIF", avis: "AVIF", heic: "HEIC", heix: "HEIC", heif: "HEIC", mif1: "HEIC", hevc: "HEIC" };

/**
 * Kind, stored width and height (0 if unknown), bits of a channel and orientation of an image: that of EXIF, else of XMP.
 *
 * The orientation of EXIF is set to 1 in `bytes`, because browsers differ in what they apply.
 */
export function takeHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = { kind: kindOf(bytes), width: 0, height: 0, bits: 8, orientation: 0, xmp: 0 };
  try {
    READERS[header.kind]?.(view, header);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a damaged header: the decoder will say so
  }
  return { ...header, orientation: header.orientation || header.xmp || 1 };
}

function kindOf(bytes) {
  const start = text(bytes, 0, 4);
  if (start.startsWith("\xff\xd8\xff")) return "JPEG";
  if (start === "\x89PNG") return "PNG";
  if (start === "GIF8") return "GIF";
  if (start.startsWith("BM")) return "BMP";
  if (start === "II*\0" || start === "MM\0*") return "TIFF";
  if (start === "RIFF" && text(bytes, 8, 4) === "WEBP") return "WebP";
  if (text(bytes, 4, 4) === "ftyp") return BRANDS[text(bytes, 8, 4)] ?? "unknown";
  return "unknown";
}

const READERS = {
  JPEG(view, header) {
    for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
      while (view.getUint8(at + 1) === 0xff) at++;
      const marker = view.getUint8(at + 1);
      if (marker === 0xda) return;
      if (marker === 0xe1 && !header.orientation && textOf(view, at + 4, 6) === "Exif\0\0") {
        header.orientation = takeOrientation(view, at + 10);
      } else if (marker === 0xe1 && textOf(view, at + 4, XMP.JPEG.length) === XMP.JPEG) {
        header.xmp = readXmp(view, at + 4, view.getUint16(at + 2) - 2);
      } else if (marker >= 0xc0 && marker <= 0xcf && !NO_SIZE.has(marker)) {
        [header.height, header.width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
      }
    }
  },
  PNG(view, header) {
    [header.width, header.height, header.bits] = [view.getUint32(16), view.getUint32(20), view.getUint8(24)];
    for (let at = 8, length; at < view.byteLength; at += 12 + length) {
      length = view.getUint32(at);
      const name = textOf(view, at + 4, 4);
      if (name === "iTXt" && textOf(view, at + 8, XMP.PNG.length) === XMP.PNG) header.xmp = readXmp(view, at + 8, length);
      if (name !== "eXIf") continue;
      header.orientation = takeOrientation(view, at + 8);
      view.setUint32(at + 8 + length, checksum(view, at + 4, at + 8 + length));
    }
  },
  GIF(view, header) {
    [header.width, header.height] = [view.getUint16(6, true), view.getUint16(8, true)];
  },
  BMP(view, header) {
    [header.width, header.height] = [view.getInt32(18, true), Math.abs(view.getInt32(22, true))];
  },
  WebP(view, header) {
    const first = textOf(view, 12, 4);
    if (first === "VP8 ") {
      [header.width, header.height] = [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
    } else if (first === "VP8L") {
      const size = view.getUint32(21, true);
      [header.width, header.height] = [(size & 0x3fff) + 1, ((size >> 14) & 0x3fff) + 1];
    } else {
      [header.width, header.height] = [24, 27].map((at) => (view.getUint32(at, true) & 0xffffff) + 1);
    }
    for (let at = 12; at < view.byteLength; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) & 1)) {
      const name = textOf(view, at, 4);
      if (name === "XMP ") header.xmp ||= readXmp(view, at + 8, view.getUint32(at + 4, true));
      if (name !== "EXIF") continue;
      const start = textOf(view, at + 8, 6) === "Exif\0\0" ? at + 14 : at + 8;
      header.orientation = takeOrientation(view, start);
    }
  },
  AVIF: readBoxes,
  HEIC: readBoxes,
};

/** The largest of the sizes in the boxes `ispe`: tiles have smaller ones. The decoder applies the orientation. */
function readBoxes(view, header) {
  const end = Math.min(view.byteLength - 16, 1 << 16);
  for (let at = 0; at < end; at++) {
    if (view.getUint32(at) !== 0x69737065) continue;
    const [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (width * height > header.width * header.height) Object.assign(header, { width, height });
  }
}

/** The orientation in XMP, which browsers do not apply; 0 if there is none. */
function readXmp(view, start, length) {
  const found = /tiff:Orientation(?:="|>)([0-9])/.exec(new TextDecoder("latin1").decode(new Uint8Array(view.buffer, start, length)));
  return found && found[1] <= 8 ? Number(found[1]) : 0;
}

/** The orientation in the TIFF header at `start`, set to 1 there; 0 if there is none, 1 if it is no integer of 1 to 8. */
function takeOrientation(view, start) {
  const little = view.getUint16(start) === 0x4949;
  const directory = start + view.getUint32(start + 4, little);
  const count = view.getUint16(directory, little);
  for (let at = directory + 2; at < directory + 2 + 12 * count; at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const type = view.getUint16(at + 2, little);
    const orientation = type >= 1 && type <= TYPES ? readInteger(view, start, at, little) : 0;
    view.setUint16(at + 8, 1, little);
    if (orientation) return orientation;
  }
  return 0;
}

/** The first value of the tag at `at`: in the tag, or where it says. */
function readInteger(view, start, at, little) {
  const [read, size] = INTEGERS[view.getUint16(at + 2, little)] ?? [];
  if (!read) return 1;
  const inside = size * view.getUint32(at + 4, little) <= 4;
  const value = view[read](inside ? at + 8 : start + view.getUint32(at + 8, little), little);
  return value >= 1 && value <= 8 ? value : 1;
}

/** CRC-32 of a PNG chunk. */
function checksum(view, start, end) {
  let sum = -1;
  for (let at = start; at < end; at++) {
    sum ^= view.getUint8(at);
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function textOf(view, at, length) {
  return text(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), at, length);
}

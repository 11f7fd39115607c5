/** The entropy-coded data of a JPEG scan: Huffman codes to coefficients, sequential and progressive. */

const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55,
  62, 63,
);

/** The natural position of each coefficient of a quantization table. */
export { ZIGZAG };

export class Huffman {
  /** `counts` of codes of 1 to 16 bits, and their symbols in order. */
  constructor(counts, symbols) {
    this.symbols = symbols;
    this.fast = new Uint16Array(256); // by the next 8 bits: length << 8 | symbol
    this.most = new Int32Array(17).fill(-1); // largest code of a length
    this.offset = new Int32Array(17); // from a code to the index of its symbol
    let [code, index] = [0, 0];
    for (let length = 1; length <= 16; length++, code <<= 1) {
      this.offset[length] = index - code;
      for (let left = counts[length - 1]; left > 0; left--, code++, index++) {
        if (length <= 8) this.fast.fill((length << 8) | symbols[index], code << (8 - length), (code + 1) << (8 - length));
        this.most[length] = code;
      }
    }
  }
}

class Bits {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
    this.restart();
  }

  restart() {
    this.held = 0;
    this.count = 0;
    this.padding = 0; // of the bits held, those after the end of the file
  }

  fill() {
    const { bytes } = this;
    while (this.count <= 24) {
      let byte = 0; // behind a marker there are zeros
      if (this.at >= bytes.length) this.padding += 8;
      else if (bytes[this.at] !== 0xff) byte = bytes[this.at++];
      else if (bytes[this.at + 1] === 0) [byte, this.at] = [0xff, this.at + 2];
      this.held = (this.held << 8) | byte;
      this.count += 8;
    }
  }

  get(length) {
    if (length === 0) return 0;
    if (this.count < length) this.fill();
    this.count -= length;
    return (this.held >>> this.count) & ((1 << length) - 1);
  }

  /** A value of `length` bits with its sign. */
  signed(length) {
    const value = this.get(length);
    return length && value < 1 << (length - 1) ? value - (1 << length) + 1 : value;
  }

  symbol(table) {
    if (this.count < 16) this.fill();
    const short = table.fast[(this.held >>> (this.count - 8)) & 255];
    if (short) {
      this.count -= short >> 8;
      return short & 255;
    }
    for (let length = 9; length <= 16; length++) {
      const code = (this.held >>> (this.count - length)) & ((1 << length) - 1);
      if (code > table.most[length]) continue;
      this.count -= length;
      return table.symbols[code + table.offset[length]] ?? 0;
    }
    this.count -= 16; // damaged
    return 0;
  }
}

/** Decode the scan that begins at `at`; returns where the next marker is looked for, or null if data are missing. */
export function decodeScan(bytes, at, frame, components, spectral, restart) {
  const bits = new Bits(bytes, at);
  const state = { bits, spectral, run: 0 };
  const decode = decoderOf(spectral);
  const alone = components.length === 1;
  const columns = alone ? components[0].columns : frame.columns;
  const total = columns * (alone ? components[0].rows : frame.rows);
  for (const component of components) component.last = 0;
  for (let unit = 0; unit < total; unit++) {
    if (restart && unit && unit % restart === 0) toNextInterval(bits, state, components);
    const [column, row] = [unit % columns, Math.floor(unit / columns)];
    for (const component of components) {
      const [across, down] = alone ? [1, 1] : [component.h, component.v];
      for (let y = 0; y < down; y++) {
        for (let x = 0; x < across; x++) {
          decode(state, component, 64 * ((row * down + y) * component.stride + column * across + x));
        }
      }
    }
  }
  return bits.padding > bits.count ? null : bits.at;
}

function decoderOf(spectral) {
  if (!spectral) return decodeBlock;
  if (spectral.first === 0) return spectral.high ? refineFirst : decodeFirst;
  return spectral.high ? refineOthers : decodeOthers;
}

/** Continue behind the next restart marker. */
function toNextInterval(bits, state, components) {
  const { bytes } = bits;
  let at = bits.at;
  while (at < bytes.length && !(bytes[at] === 0xff && bytes[at + 1] >= 0xd0 && bytes[at + 1] <= 0xd9)) at++;
  const padding = bits.padding > bits.count;
  bits.restart();
  if (padding) bits.padding = 64; // the file has ended
  if (bytes[at + 1] <= 0xd7) bits.at = at + 2;
  state.run = 0;
  for (const component of components) component.last = 0;
}

function decodeBlock({ bits }, component, start) {
  const { coefficients, ac } = component;
  coefficients[start] = component.last += bits.signed(bits.symbol(component.dc));
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(ac);
    const length = symbol & 15;
    k += symbol >> 4;
    if (length) coefficients[start + ZIGZAG[k & 63]] = bits.signed(length);
    else if (symbol !== 0xf0) return;
  }
}

function decodeFirst({ bits, spectral }, component, start) {
  component.last += bits.signed(bits.symbol(component.dc));
  component.coefficients[start] = component.last << spectral.low;
}

function refineFirst({ bits, spectral }, { coefficients }, start) {
  if (bits.get(1)) coefficients[start] |= 1 << spectral.low;
}

function decodeOthers(state, { coefficients, ac }, start) {
  const { bits, spectral } = state;
  if (state.run) {
    state.run--;
    return;
  }
  for (let k = spectral.first; k <= spectral.last; k++) {
    const symbol = bits.symbol(ac);
    const [zeros, length] = [symbol >> 4, symbol & 15];
    if (!length && zeros < 15) {
      state.run = (1 << zeros) - 1 + bits.get(zeros);
      return;
    }
    k += zeros;
    if (length) coefficients[start + ZIGZAG[k & 63]] = bits.signed(length) << spectral.low;
  }
}

function refineOthers(state, { coefficients, ac }, start) {
  const { bits, spectral } = state;
  const one = 1 << spectral.low;
  let k = spectral.first;
  for (; k <= spectral.last && !state.run; k++) {
    const symbol = bits.symbol(ac);
    let zeros = symbol >> 4;
    const value = symbol & 15 ? (bits.get(1) ? one : -one) : 0;
    if (!value && zeros < 15) {
      state.run = (1 << zeros) + bits.get(zeros);
      break;
    }
    for (; k <= spectral.last; k++) {
      const at = start + ZIGZAG[k];
      if (coefficients[at]) refine(bits, coefficients, at, one);
      else if (--zeros < 0) break;
    }
    if (value && k <= spectral.last) coefficients[start + ZIGZAG[k]] = value;
  }
  if (!state.run) return;
  for (; k <= spectral.last; k++) {
    const at = start + ZIGZAG[k];
    if (coefficients[at]) refine(bits, coefficients, at, one);
  }
  state.run--;
}

function refine(bits, coefficients, at, one) {
  if (bits.get(1) && !(coefficients[at] & one)) coefficients[at] += coefficients[at] > 0 ? one : -one;
}

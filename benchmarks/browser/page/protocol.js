/** What a measured page does: the published Tagger is timed and scores images; benchmarks/browser/protocol.py calls. */

import * as ort from "./ort.js";
import { Tagger } from "./tagger.js";

const CLOCK_STEPS = 1000;

let taggers, images;

/** Open models, and hold images in memory; the versions of what runs, and the milliseconds that the models took. */
export async function open(models, count) {
  const start = performance.now();
  taggers = await Promise.all(models.map((model) => Tagger.load("./", { model })));
  const load_ms = performance.now() - start;
  images = await Promise.all(Array.from({ length: count }, async (_, at) => (await get(`images/${at}`)).blob()));
  return { load_ms, version: ort.env.versions.web };
}

/** Clock readings around the parts of queries, five a query, of images in turn from the one at `first`. */
export async function queries(first, least, leastS) {
  const [tagger] = taggers;
  const marks = [];
  const end = performance.now() + 1000 * leastS;
  for (let done = 0; done < least || performance.now() < end; done++) {
    const image = images[(first + done) % images.length];
    marks.push(performance.now());
    const decoded = await tagger.decode(image);
    marks.push(performance.now());
    const pixels = tagger.resize(decoded);
    marks.push(performance.now());
    const scores = await tagger.scores(pixels);
    marks.push(performance.now());
    tagger.decide(scores);
    marks.push(performance.now());
  }
  return marks;
}

/** Milliseconds of the engine alone; each is the mean of `repeats` runs. */
export async function engine(least, leastS, repeats) {
  const [tagger] = taggers;
  const pixels = [];
  for (const image of images) pixels.push(tagger.resize(await tagger.decode(image)));
  const times = [];
  const end = performance.now() + 1000 * leastS;
  for (let done = 0; done < least || performance.now() < end; done++) {
    const start = performance.now();
    for (let run = 0; run < repeats; run++) await tagger.scores(pixels[(done * repeats + run) % pixels.length]);
    times.push((performance.now() - start) / repeats);
  }
  return times;
}

/** Scores (count, models, L) of image files, or of pixels as they are, in base64. */
export async function score(folder, first, count) {
  const parts = [];
  for (let at = first; at < first + count; at++) {
    const path = `${folder}/${at}`;
    try {
      const pixels = await (folder === "pixels" ? readPixels(path) : readImage(path));
      for (const tagger of taggers) parts.push(Float32Array.from(await tagger.scores(pixels)));
    } catch (error) {
      throw new Error(`${path}: ${error}`, { cause: error });
    }
  }
  return base64(new Blob(parts));
}

async function readPixels(path) {
  return new Uint8Array(await (await get(path)).arrayBuffer());
}

async function readImage(path) {
  const [tagger] = taggers;
  return tagger.resize(await tagger.decode(await (await get(path)).blob()));
}

/** The smallest step of the clock, in milliseconds. */
export function resolution() {
  let least = Infinity;
  for (let steps = 0, last = performance.now(); steps < CLOCK_STEPS; ) {
    const now = performance.now();
    if (now > last) {
      least = Math.min(least, now - last);
      steps++;
    }
    last = now;
  }
  return least;
}

async function get(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path}: expected a file, got status ${response.status}`);
  return response;
}

async function base64(blob) {
  const reader = new FileReader();
  const read = new Promise((resolve, reject) => Object.assign(reader, { onload: resolve, onerror: reject }));
  reader.readAsDataURL(blob);
  await read;
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

// Tag images with ONNX Runtime and sharp:  node tag.js dist/scenes photo.jpg …
import { readFile } from "node:fs/promises";
import path from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { resize } from "./resize.js";

// The steps of this program, as tagger.json describes them.
const STEPS = {
  jpeg: "decoded at the smallest DCT scale that is at least twice image_px",
  resize: "plain, to a square, Pillow BILINEAR (antialiased)",
  values: "uint8, normalisation is inside the model",
};
const [bundle, ...images] = process.argv.slice(2);
if (!bundle) fail("usage: node tag.js BUNDLE IMAGE...");
const tagger = JSON.parse(await readFile(path.join(bundle, "tagger.json"), "utf8"));
if (tagger.version !== 1 || Object.keys(STEPS).some((step) => tagger.preprocessing[step] !== STEPS[step])) {
  const [expected, got] = [STEPS, tagger.preprocessing].map((steps) => JSON.stringify(steps));
  fail(`${bundle}/tagger.json: expected version 1 and ${expected}, got ${tagger.version} and ${got}`);
}
const model = tagger.models.find((model) => model.runtime === "onnxruntime" && model.precision === "fp32");
const session = await InferenceSession.create(path.join(bundle, model.file), { executionProviders: ["cpu"] });
const side = tagger.input.shape[1];

function fail(message) {
  console.error(message);
  process.exit(1);
}

/**
 * Upright RGB pixels. A JPEG is reduced by 2, 4 or 8 to at least twice the side, as in the tagger: sharp does a part of it
 * in the decoder and the rest with a Lanczos filter.
 */
async function decode(file) {
  const { format, space, autoOrient } = await sharp(file).metadata();
  const { width, height } = autoOrient;
  const scale = [8, 4, 2].find((scale) => format === "jpeg" && Math.min(width, height) >= scale * 2 * side) ?? 1;
  const size = [width, height].map((length) => Math.ceil(length / scale));
  let image = sharp(file, { ignoreIcc: true }).autoOrient().resize(...size, { fit: "fill" });
  if (space === "cmyk") image = image.pipelineColourspace("cmyk").toColourspace("cmyk");
  else image = image.flatten({ background: "white" }).toColourspace("srgb");
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  return { ...info, data: space === "cmyk" ? toRgb(data) : data };
}

/** CMYK to RGB, without colour profiles. */
function toRgb(inks) {
  const level = (pixel, ink) => Math.round(((255 - inks[4 * pixel + ink]) * (255 - inks[4 * pixel + 3])) / 255);
  return Uint8Array.from({ length: (inks.length / 4) * 3 }, (_, index) => level(Math.floor(index / 3), index % 3));
}

for (const file of images) {
  const pixels = resize(await decode(file).catch((error) => fail(`${file}: ${error.message}`)), side);
  const { scores } = await session.run({ images: new Tensor("uint8", pixels, [1, side, side, 3]) });
  const tags = tagger.labels
    .map((label, index) => ({ label, score: scores.data[index], threshold: model.thresholds[index] }))
    .filter(({ score, threshold }) => score >= threshold)
    .sort((a, b) => b.score - a.score)
    .map(({ label, score }) => `${label} ${score.toFixed(2)}`);
  console.log(`${file}: ${tags.join(", ") || "nothing above its threshold"}`);
}

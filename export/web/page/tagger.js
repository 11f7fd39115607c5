/** Tagger: a bundle's description and one of its ONNX models, open in ONNX Runtime for WebAssembly. */

import { decode } from "./decode.js";
import { resize } from "./resize.js";
import * as ort from "./ort.js";

ort.env.wasm.numThreads = 1; // more threads need headers that a plain host does not send

export class Tagger {
  /**
   * Open a model of the folder at `baseUrl`, which has a tagger.json.
   *
   * Without the name of a `model`, the first one for ONNX Runtime on a processor is opened.
   */
  static async load(baseUrl, { model } = {}) {
    const base = new URL(baseUrl, globalThis.location?.href);
    const description = await (await get(new URL("tagger.json", base))).json();
    const models = description.models.filter((one) => one.runtime === "onnxruntime" && one.device === "cpu");
    const chosen = model === undefined ? models[0] : models.find((one) => one.name === model);
    if (!chosen) {
      throw new Error(`model: expected one of ${models.map((one) => one.name).join(", ")}, got ${model}`);
    }
    const graph = new Uint8Array(await (await get(new URL(chosen.file, base))).arrayBuffer());
    const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
    return new Tagger(description, chosen, session);
  }

  constructor(description, model, session) {
    Object.assign(this, { description, model, session });
    this.side = description.input.shape[1];
  }

  /** Upright RGB {data, width, height} of an image file; large images are reduced. */
  decode(blob) {
    return decode(blob, this.side);
  }

  /** Decoded RGB to uint8 (side, side, 3). */
  resize(decoded) {
    return resize(decoded, this.side);
  }

  /** The scores (L,) of resized pixels. */
  async scores(pixels) {
    const { input, output } = this.description;
    const images = new ort.Tensor("uint8", pixels, [1, this.side, this.side, 3]);
    const results = await this.session.run({ [input.name]: images });
    return results[output.name].data;
  }

  /** The labels whose score reaches the threshold, best first. */
  decide(scores) {
    const tags = this.description.labels.map((label, index) => ({ label, score: scores[index] }));
    return tags.filter((tag, index) => tag.score >= this.model.thresholds[index]).sort((a, b) => b.score - a.score);
  }

  /** The tags of an image file. */
  async tag(blob) {
    return this.decide(await this.scores(this.resize(await this.decode(blob))));
  }

  /** Release the memory of the model. */
  close() {
    return this.session.release();
  }
}

async function get(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: expected a file, got status ${response.status}. Load the page again.`);
  return response;
}

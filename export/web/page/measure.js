/** Scores the golden images with every graph and times all in turn; run by `make web`, which does not publish it. */

import { Tagger } from "./tagger.js";

const ROUNDS = 31;
const CALLS = 5; // browsers round the clock
const WARM_UP = 10;

export async function measure() {
  const base = new URL("./", location.href);
  const { models, golden } = await (await fetch("tagger.json")).json();
  const taggers = await Promise.all(models.map(({ name }) => Tagger.load(base, { model: name })));
  const images = [];
  for (const { image } of golden) {
    const blob = await (await fetch(`${image}.pixels.png`)).blob();
    images.push((await taggers[0].decode(blob)).data);
  }
  const results = taggers.map(({ model }) => ({ name: model.name, scores: [], ms: [] }));
  for (const [index, tagger] of taggers.entries()) {
    for (const image of images) results[index].scores.push([...(await tagger.scores(image))]);
    for (let call = 0; call < WARM_UP; call++) await tagger.scores(images[0]);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, tagger] of taggers.entries()) {
      const began = performance.now();
      for (let call = 0; call < CALLS; call++) await tagger.scores(images[call % images.length]);
      results[index].ms.push((performance.now() - began) / CALLS);
    }
  }
  return { results, browser: navigator.userAgent.match(/Chrome\/[\d.]+/)?.[0] ?? "unknown browser" };
}

/** Tags images and runs the self-test away from the page, so that the page answers; one request at a time. */

import { UnreadableImageError } from "./decode.js";
import { selftest } from "./selftest.js";
import { Tagger } from "./tagger.js";

const base = new URL("./", location.href);
const loading = Tagger.load(base);
let last = loading.then(
  ({ description, model }) => postMessage({ ready: { labels: description.labels.length, precision: model.precision } }),
  (error) => postMessage({ failed: messageOf(error) }),
);

addEventListener("message", ({ data }) => {
  last = last.then(() => answer(data));
});

async function answer({ id, blob }) {
  try {
    const tagger = await loading;
    if (blob) return postMessage({ id, tags: await tagger.tag(blob) });
    for await (const finding of selftest(tagger, base)) postMessage({ id, finding });
    return postMessage({ id, done: true });
  } catch (error) {
    return postMessage({ id, error: messageOf(error) });
  }
}

function messageOf(error) {
  return error instanceof UnreadableImageError ? error.message : `${error.name}: ${error.message}`;
}

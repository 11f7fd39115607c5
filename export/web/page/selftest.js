/** The self-test: decodes, resizes and scores the golden images, each step from the stored result of the one before. */

const LEVELS = 1; // rounding of alpha
const SCORES = { fp32: [1e-3, 1e-3] }; // largest and mean difference: the order of sums
const INT8 = [0.25, 0.015]; // from exact arithmetic

/** Yield {step, subject, passed, detail} for each check; the last of an image has `tags`, and `expected` if they differ. */
export async function* selftest(tagger, base) {
  const limit = SCORES[tagger.model.precision] ?? INT8;
  for (const { image, scores } of tagger.description.golden) {
    const subject = image.split("/").pop();
    const [file, stored, expected] = await Promise.all(
      [image, `${image}.decoded.png`, `${image}.pixels.png`].map(async (path) => (await fetch(new URL(path, base))).blob()),
    );
    const reference = await tagger.decode(stored);
    const pixels = (await tagger.decode(expected)).data;
    yield await check("decode", subject, async () => {
      const actual = await tagger.decode(file);
      const sizes = [actual, reference].map(({ width, height }) => `${width} × ${height}`);
      if (sizes[0] !== sizes[1]) throw new Error(`expected ${sizes[1]} pixels, got ${sizes[0]}`);
      return levels(actual.data, reference.data);
    });
    yield await check("resize", subject, async () => levels(tagger.resize(reference), pixels));
    const wanted = scores[tagger.model.name];
    yield await check("engine", subject, async () => within(limit, await tagger.scores(pixels), wanted));
    yield await check("all", subject, async () => {
      const actual = await tagger.scores(tagger.resize(await tagger.decode(file)));
      const [expected, tags] = [tagger.decide(wanted), tagger.decide(actual)];
      return { ...within(limit, actual, wanted), tags, expected: names(expected) === names(tags) ? null : expected };
    });
  }
}

function within([most, mostMean], actual, expected) {
  const [largest, mean] = differences(actual, expected);
  return { passed: largest <= most && mean <= mostMean, detail: `scores differ by ${largest.toPrecision(2)}` };
}

async function check(step, subject, compare) {
  try {
    return { step, subject, ...(await compare()) };
  } catch (error) {
    return { step, subject, passed: false, detail: error.message };
  }
}

function levels(actual, expected) {
  const [largest] = differences(actual, expected);
  return { passed: largest <= LEVELS, detail: `pixels differ by ${largest} of 255` };
}

/** Largest and mean absolute difference; infinite for other lengths or values that are no numbers. */
function differences(actual, expected) {
  if (actual.length !== expected.length) return [Infinity, Infinity];
  let [largest, sum] = [0, 0];
  for (let at = 0; at < actual.length; at++) {
    const difference = Math.abs(actual[at] - expected[at]);
    largest = difference <= largest ? largest : difference;
    sum += difference;
  }
  return Number.isFinite(sum) ? [largest, sum / actual.length] : [Infinity, Infinity];
}

function names(tags) {
  return tags.map(({ label }) => label).sort().join("\n");
}

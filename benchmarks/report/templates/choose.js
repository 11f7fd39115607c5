"use strict";
// The rule of benchmarks/report/recommendation.py and pareto.py, for what is shown in the page.
const KEPT = 0.99;
const LIMITS = ["max_p90_ms", "min_map", "max_mb"];
const STUDENT = "student"; // the one in the bundle
const NO_LIMITS = Object.fromEntries(LIMITS.map((name) => [name, null]));

const toldApart = (a, b) => {
  const key = a.model === b.model ? "change" : "versus_student";
  const [x, y] = a[key] && b[key] ? [a[key], b[key]] : [a.interval, b.interval];
  return x && y ? x[1] < y[0] || y[1] < x[0] : a.map !== b.map;
};
const shift = (pair, by) => pair && pair.map((end) => end - by);
const credited = (row) => ({ ...row, map: row.map - row.gain, interval: shift(row.interval, row.gain), change: shift(row.change, row.gain), versus_student: shift(row.versus_student, row.gain) });
const asGood = (row, best) => credited(row).map >= KEPT * credited(best).map || !toldApart(credited(row), credited(best));
const overlap = (a, b) => a.interval && b.interval && a.interval[0] <= b.interval[1] && b.interval[0] <= a.interval[1];
const least = (rows, key) => rows.reduce((kept, row) => {
  const [a, b] = [key(row), key(kept)];
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]) ? row : kept;
});

const milliseconds = (value) => value >= 100 ? Math.round(value).toLocaleString("en-US") :
  value.toFixed(value >= 10 ? 1 : value >= 1 ? 2 : 3);
const points = (value) => (100 * value).toFixed(1);
const signed = (value) => {
  const text = Math.abs(100 * value).toFixed(2);
  return Number(text) === 0 ? text : (value < 0 ? "\u2212" : "+") + text;
};

function misses(row, limits) {
  const found = {};
  const mb = row.bytes === null ? Infinity : row.bytes / 1e6;
  const miss = (key, by, words) => { if (by > 0) found[key] = [by / Math.max(limits[key], 1e-9), words(by)]; };
  if (limits.max_p90_ms !== null) miss("max_p90_ms", row.p90 - limits.max_p90_ms, (by) => `p90 ${milliseconds(row.p90)} ms, ${milliseconds(by)} ms over`);
  if (limits.min_map !== null) miss("min_map", limits.min_map - 100 * row.map, (by) => `mAP ${points(row.map)}, ${by.toFixed(2)} points short`);
  if (limits.max_mb !== null) miss("max_mb", mb - limits.max_mb, (by) => mb === Infinity ? "size unknown" : `${mb.toFixed(1)} MB, ${by.toFixed(2)} MB over`);
  return found;
}

const candidates = (rows) => rows.filter((row) => row.kind === "engine" && row.plotted);

function fastestAsGood(fitting) {
  const best = least(fitting, (row) => [-credited(row).map, row.p90]);
  const alike = fitting.filter((row) => asGood(row, best));
  return { best, alike, chosen: least(alike, (row) => [row.p90, -credited(row).map]) };
}

function pick(rows, limits) {
  const fitting = candidates(rows).filter((row) => Object.keys(misses(row, limits)).length === 0);
  if (fitting.length === 0) return null;
  const choice = fastestAsGood(fitting);
  const others = fitting.filter((row) => row !== choice.chosen);
  const runnerUp = others.length === 0 ? null : fastestAsGood(others).chosen;
  const better = fastestReference(rows.filter((row) => !asGood(choice.chosen, row)), limits);
  return { ...choice, runnerUp, better };
}

const ofStudent = (rows) => rows.filter((row) => row.kind !== "engine" || row.model === STUDENT);
const recommend = (rows, budget) => pick(ofStudent(rows), budget) || pick(ofStudent(rows), NO_LIMITS);

function fastestReference(rows, limits) {
  const fitting = rows.filter((row) => row.kind !== "engine" && row.plotted && Object.keys(misses(row, limits)).length === 0);
  return fitting.length === 0 ? null : least(fitting, (row) => [row.p90, 0]);
}

const named = (row) => `${row.name}, ${milliseconds(row.p90)} ms with ${points(row.map)} mAP`;
const notCounted = (row) => row.gain > (1 - KEPT) * row.map ?
  ` ${row.name} gains ${signed(row.gain)} points over the float scores of its model: not counted, as rounding adds none.` : "";
const why = (choice) => sentences(choice) + choice.alike.map(notCounted).join("") +
  (choice.chosen.model === STUDENT ? "" : ` The student is ${choice.chosen.model}, not the one in the bundle.`) + (choice.better ? ` A reference, not in the bundle, tags better: ${named(choice.better)}.` : "");

function sentences({ chosen, best, alike }) {
  const numbers = `${milliseconds(chosen.p90)} ms end to end (p90) with ${points(chosen.map)} mAP`;
  if (alike.length === 1) return `${numbers}: the best mAP of those that fit, and no other comes within 1 % of it.`;
  const told = `${numbers}: the fastest of ${alike.length} engines that tag as well as the best.`;
  const apart = alike.some((row) => row !== chosen && toldApart(credited(row), credited(chosen)));
  if (chosen === best && apart) return `${told} No other of them tags better.`;
  if (!apart) return `${told} There is no significant difference in mAP between them.`;
  return `${told} It is within 1 % of the best, ${best.name} (${signed(credited(chosen).map - credited(best).map)} points).`;
}

function nothingFits(rows, limits) {
  const measured = candidates(rows);
  if (measured.length === 0) return "No engine that is shown was measured with a latency and a mAP.";
  const worst = (row) => Math.max(0, ...Object.values(misses(row, limits)).map(([share]) => share));
  const near = least(measured, (row) => [worst(row), 0]);
  const known = fastestReference(rows, limits);
  return `No engine fits. Closest is ${near.name}: ${Object.values(misses(near, limits)).map(([, words]) => words).join("; ")}.` +
    (known ? ` A reference, not in the bundle, would fit: ${named(known)}.` : "");
}

function front(rows) {
  const kept = [];
  for (const row of candidates(rows).sort((a, b) => a.p90 - b.p90 || b.map - a.map)) {
    const last = kept[kept.length - 1];
    if (!last || row.map > last.map || (row.map === last.map && row.p90 === last.p90)) kept.push(row);
  }
  return kept;
}

function frontLine(rows) {
  const kept = front(rows);
  if (kept.length === 0) return "No engine was measured with both a latency and a mAP.";
  const pairs = (some) => some.map(([a, b]) => `${a.name} and ${b.name}`).join(", ");
  const close = kept.slice(1).map((row, at) => [kept[at], row]).filter(([a, b]) => !toldApart(a, b));
  const paired = kept.slice(1).map((row, at) => [kept[at], row]).filter(([a, b]) => toldApart(a, b) && overlap(a, b));
  const slower = candidates(rows).filter((row) => !kept.includes(row) &&
    !kept.some((one) => one.p90 <= row.p90 && one.map >= row.map && toldApart(row, one)));
  return kept.map((row) => row.name).join(" \u2192 ") + "." +
    (close.length ? ` No significant difference in mAP between ${pairs(close)}.` : "") +
    (paired.length ? ` The mAP intervals of ${pairs(paired)} overlap, but their paired difference is significant.` : "") +
    (slower.length ? ` Slower, with no significant difference in mAP: ${slower.map((row) => row.name).join(", ")}.` : "");
}

/** The page: takes images, shows their tags, and lets the worker do the rest. */

import { register } from "./offline.js";

const $ = (selector) => document.querySelector(selector);
const status = $("#status");
const results = $("#results");
const waiting = new Map(); // id -> what to do with an answer
let isReady = false;
let failure = ""; // why there is no worker
let worker = start();
let count = 0;
let unfinished = 0;

function start() {
  const started = new Worker("worker.js", { type: "module" });
  started.addEventListener("message", ({ data }) => {
    if (data.ready) {
      isReady = true;
      say("Ready.");
    } else if (data.failed) say(`The model did not load. ${data.failed}`, true);
    else waiting.get(data.id)?.(data);
  });
  started.addEventListener("error", (event) => {
    event.preventDefault();
    const error = `The worker failed: ${event.message ?? "it did not start"}. Load the page again.`;
    started.terminate();
    if (isReady) worker = start();
    else say((failure = error), true);
    isReady = false;
    for (const answer of [...waiting.values()]) answer({ error });
  });
  return started;
}

function ask(request, answer) {
  if (failure) return answer({ error: failure });
  const id = ++count;
  waiting.set(id, (data) => {
    if (!data.finding) waiting.delete(id);
    answer(data);
  });
  return worker.postMessage({ id, ...request });
}

function say(content, bad = false) {
  status.replaceChildren(...[content].flat());
  status.classList.toggle("bad", bad);
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function add(files) {
  for (const file of files) {
    const item = document.createElement("li");
    const body = document.createElement("div");
    const working = element("p", "Working …", "quiet");
    body.append(element("h2", file.name || "Pasted image"), working);
    const image = document.createElement("img");
    image.alt = "";
    item.append(image, body);
    results.prepend(item);
    unfinished++;
    ask({ blob: file }, ({ tags, error }) => {
      working.replaceWith(error ? element("p", error, "bad") : list(tags));
      if (tags) show(file, image); // the browser would try to decode what is too large
      unfinished--;
      say(unfinished ? `${unfinished} left …` : announce(file, tags));
    });
  }
  if (unfinished) say(`${unfinished} left …`);
}

function show(file, image) {
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  image.addEventListener("error", () => image.removeAttribute("src"), { once: true });
}

function list(tags) {
  if (!tags.length) return element("p", "No label reaches its threshold.", "quiet");
  const tagged = element("ul", "", "tags");
  for (const { label, score } of tags) {
    const item = document.createElement("li");
    const number = element("data", score.toFixed(2));
    number.value = score;
    item.style.setProperty("--score", `${100 * score}%`);
    item.append(element("bdi", label), number);
    tagged.append(item);
  }
  return tagged;
}

function announce(file, tags) {
  if (!tags) return "Done, with errors.";
  const name = element("bdi", file.name || "Pasted image");
  return [name, ": ", ...listed(tags, "no label reaches its threshold")];
}

/** Labels with commas between them; none changes the direction of the others. */
function listed(tags, none = "no tag") {
  return tags.length ? tags.flatMap(({ label }) => [", ", element("bdi", label)]).slice(1) : [none];
}

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
}
addEventListener("paste", ({ clipboardData }) => take(clipboardData.files));
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    $("#drop").classList.toggle("over", type === "dragenter" || type === "dragover");
    if (type === "drop") take(event.dataTransfer.files);
  });
}

function take(files) {
  if (files.length) add(files);
  else say("That has no file. Drop, paste or choose photos.", true);
}

/** A line of the self-test. */
function line({ step, subject, passed, detail, expected, tags }) {
  const item = element("li", `${passed ? "Passed" : "FAILED"}: ${step} ${subject}: ${detail}`, passed ? "" : "bad");
  if (expected) item.append("; expected ", ...listed(expected), ", got ");
  else if (tags) item.append("; ");
  if (tags) item.append(...listed(tags));
  return item;
}

$("#selftest button").addEventListener("click", ({ target }) => {
  const [summary, lines] = [$("#selftest [role=status]"), $("#selftest ul")];
  let [passed, failed] = [0, 0];
  target.disabled = true;
  lines.replaceChildren();
  ask({}, ({ finding, error }) => {
    if (finding) {
      finding.passed ? passed++ : failed++;
      lines.append(line(finding));
    } else {
      target.disabled = false;
      summary.textContent = error ?? `${passed} passed, ${failed} failed`;
    }
  });
});

function startSelftest() {
  if (location.hash !== "#selftest") return;
  $("#selftest").open = true;
  $("#selftest button").click();
}

startSelftest();
addEventListener("hashchange", startSelftest);

async function about() {
  const facts = await (await fetch("about.json")).json();
  document.title = `${facts.name}: image tagger`;
  $("h1").textContent = `Image tagger: ${facts.name}`;
  const rows = { Labels: facts.labels, Model: facts.model, Chosen: facts.choice, Runtime: facts.runtime, Version: facts.version };
  for (const [name, value] of Object.entries(rows)) $("#about dl").append(element("dt", name), element("dd", value));
}

about();
register($("#update"));

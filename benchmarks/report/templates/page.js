for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = [...body.rows].map((row) => [row.cells[at].dataset.order, row]);
    keyed.sort(([a], [b]) => a === "" || b === "" ? (a === "") - (b === "") : (down ? -1 : 1) * compare(a, b));
    body.append(...keyed.map(([, row]) => row));
  }));
  table.dataset.ready = "sorting";
}

const tip = document.getElementById("tip");
const parts = Map.groupBy(document.querySelectorAll("[data-row]"), (part) => part.dataset.row);
const tableRow = (at) => parts.get(at).find((part) => part.matches("table.sortable tr"));
const marksOf = (at) => parts.get(at).filter((part) => part.matches(".mark"));
const facts = new Map([...document.querySelectorAll("tr[data-facts]")].map((row) => [row.dataset.row, JSON.parse(row.dataset.facts)]));

function describe(row) {
  const heads = row.closest("table").tHead.rows[0].cells;
  const list = document.createElement("dl");
  [...row.cells].slice(1).forEach((cell, at) => {
    if (cell.dataset.order === "" || cell.dataset.order.length > 40) return;
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = [...heads[at + 1].querySelector("button").childNodes].map((part) => part.textContent.trim()).filter(Boolean).join(", ");
    value.textContent = cell.textContent;
    const pair = document.createElement("div");
    pair.className = cell.className;
    pair.append(term, value);
    list.append(pair);
  });
  const [name, states] = [document.createElement("strong"), document.createElement("p")];
  name.textContent = row.cells[0].dataset.order;
  states.textContent = [...row.cells[0].querySelectorAll(".state")].filter((state) => getComputedStyle(state).display !== "none").map((state) => state.textContent).join(" · ");
  tip.replaceChildren(name, states, list);
}

function show(mark) {
  const row = tableRow(mark.dataset.row);
  describe(row);
  row.classList.add("near");
  tip.hidden = false;
  const spot = mark.querySelector(".point").getBoundingClientRect();
  const left = spot.right + 18 + tip.offsetWidth < innerWidth ? spot.right + 18 : spot.left - 18 - tip.offsetWidth;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, Math.min(spot.top - tip.offsetHeight / 3, innerHeight - tip.offsetHeight - 8))}px`;
}

function hide(mark) {
  tableRow(mark.dataset.row).classList.remove("near");
  tip.hidden = true;
}

for (const mark of document.querySelectorAll(".mark")) {
  mark.querySelector("title").remove();
  for (const start of ["pointerenter", "focus"]) mark.addEventListener(start, () => show(mark));
  for (const end of ["pointerleave", "blur"]) mark.addEventListener(end, () => hide(mark));
}
for (const row of document.querySelectorAll("table.sortable tr[data-row]")) {
  row.addEventListener("pointerenter", () => marksOf(row.dataset.row).forEach((mark) => mark.classList.add("near")));
  row.addEventListener("pointerleave", () => marksOf(row.dataset.row).forEach((mark) => mark.classList.remove("near")));
}

const filters = [...document.querySelectorAll("input[data-filter]")];
const question = document.getElementById("question");

function limitsAsked() {
  return Object.fromEntries(LIMITS.map((name) => {
    const value = question.elements[name].value.trim();
    return [name, value === "" || !question.elements[name].validity.valid ? null : Number(value)];
  }));
}

function drawFront(path, shown) {
  const spots = front(shown).map((row) => marksOf(row.at).find((mark) => mark.parentNode === path.parentNode).dataset);
  path.setAttribute("d", spots.length === 0 ? "" : `M${spots[0].x} ${spots[0].y}` +
    spots.slice(1).map(({ x, y }) => `H${x}V${y}`).join("") + `H${path.dataset.right}`);
}

const [budget, students] = [question.dataset.budget, question.dataset.candidates].map((text) => JSON.parse(text));

function tell(item, shown, limits) {
  const asked = LIMITS.some((name) => limits[name] !== null); // else: what is deployed
  const able = asked ? shown : ofStudent(shown);
  const choice = asked ? pick(able, limits) : recommend(able, budget);
  item.querySelector(".engine").textContent = choice ? choice.chosen.name : "none";
  item.querySelector(".why").textContent = choice ? why(choice) : nothingFits(able, limits);
  const candidate = choice && choice.chosen.model !== STUDENT && students[choice.chosen.model];
  item.querySelector(".next").textContent = [choice && choice.runnerUp ? `Runner-up: ${choice.runnerUp.name}.` : "",
    candidate ? `Export this student with STUDENT=${candidate}.` : ""].filter(Boolean).join(" ");
  return choice && choice.chosen.at;
}

function update() {
  const off = (row) => filters.some((one) => !one.checked && String(row[one.dataset.filter]) === one.value);
  const rows = [...facts].map(([at, row]) => ({ ...row, at, off: off(row) }));
  const limits = limitsAsked();
  const shown = rows.filter((row) => !row.off);
  const toShip = new Set([...document.querySelectorAll("#answers > li")].map((item) => tell(item, shown.filter((row) => String(row.device) === item.dataset.device), limits)));
  for (const row of rows) {
    const beyond = row.kind === "engine" && row.plotted && Object.keys(misses(row, limits)).length > 0;
    for (const part of parts.get(row.at)) {
      part.classList.toggle("off", row.off);
      part.classList.toggle("beyond", beyond);
      part.classList.toggle("chosen", toShip.has(row.at));
    }
  }
  const of = (path) => shown.filter((row) => String(row.device) === path.dataset.device);
  document.querySelectorAll("path[data-device]").forEach((path) => drawFront(path, of(path)));
  document.querySelectorAll("#fronts [data-device]").forEach((line) => { line.querySelector("span").textContent = frontLine(of(line)); });
  for (const one of filters.filter((one) => one.dataset.filter === "device")) {
    document.querySelectorAll(`[data-device="${one.value}"]`).forEach((part) => part.classList.toggle("off", !one.checked));
  }
}

for (const one of [...filters, ...question.elements]) one.addEventListener("input", update);
question.addEventListener("submit", (event) => event.preventDefault());
question.addEventListener("reset", () => setTimeout(update));
update();
document.documentElement.dataset.ready = "page";

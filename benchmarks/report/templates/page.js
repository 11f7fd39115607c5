"use strict";
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
const tableRow = (at) => document.querySelector(`table.sortable tr[data-row="${at}"]`);

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
  const name = document.createElement("strong");
  name.textContent = row.cells[0].dataset.order;
  tip.replaceChildren(name, list);
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
  const marks = document.querySelectorAll(`.mark[data-row="${row.dataset.row}"]`);
  row.addEventListener("pointerenter", () => marks.forEach((mark) => mark.classList.add("near")));
  row.addEventListener("pointerleave", () => marks.forEach((mark) => mark.classList.remove("near")));
}
document.documentElement.dataset.ready = "page";

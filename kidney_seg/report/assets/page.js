// Hover texts of the charts (mouse, touch, arrow keys), sorting of the table, outlines that can be hidden.
"use strict";

const tip = document.getElementById("tip");

function show(mark, picked) {
  document.querySelectorAll(".picked").forEach((other) => other.classList.remove("picked"));
  if (mark === null) { tip.hidden = true; return; }
  if (picked) mark.classList.add("picked");
  tip.textContent = mark.dataset.hover;
  tip.hidden = false;
  const at = mark.getBoundingClientRect();
  const left = at.left + at.width / 2 - tip.offsetWidth / 2;
  tip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 4))}px`;
  const above = at.top - tip.offsetHeight - 6;
  tip.style.top = `${above > 0 ? above : at.bottom + 6}px`;
}

for (const chart of document.querySelectorAll(".chart svg")) {
  const marks = [...chart.querySelectorAll("[data-hover]")];
  if (!marks.length) continue;
  let at = -1;
  chart.setAttribute("tabindex", "0");
  chart.addEventListener("pointerover", (event) => show(event.target.closest("[data-hover]"), false));
  chart.addEventListener("pointerleave", () => show(null));
  chart.addEventListener("click", (event) => show(event.target.closest("[data-hover]"), true));
  chart.addEventListener("blur", () => show(null));
  chart.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === "Escape") { show(null); return; }
    if (!(event.key in steps)) return;
    event.preventDefault();
    at = at < 0 ? 0 : (at + steps[event.key] + marks.length) % marks.length;
    show(marks[at], true);
  });
}
window.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

for (const heading of document.querySelectorAll("table.sorted thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const table = heading.closest("table");
    const column = [...heading.parentNode.children].indexOf(heading);
    const up = heading.getAttribute("aria-sort") === "descending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.children[column].dataset.value;
    const sign = up ? 1 : -1;
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // no value: always last
      const difference = Number(a) - Number(b);
      return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
    });
    table.tBodies[0].append(...rows);
  });
}

for (const box of document.querySelectorAll("input[data-hides]"))
  box.addEventListener("change", () => document.body.classList.toggle(`hide-${box.dataset.hides}`, !box.checked));

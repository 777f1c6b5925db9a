// Every case by slice: drawn when it is opened; slider, buttons and arrow keys turn the pages.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function drawn(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function setUpPager(box) {
  const pages = JSON.parse(box.querySelector("script").textContent);
  const picture = box.querySelector("svg");
  const slider = box.querySelector("input");
  const label = box.querySelector("output");
  const { width, height } = pages;
  picture.setAttribute("viewBox", `0 0 ${2 * width} ${2 * height}`);
  picture.style.aspectRatio = pages.ratio;
  slider.max = pages.slices.length - 1;
  const show = (at) => {
    const page = pages.slices[Math.max(0, Math.min(pages.slices.length - 1, at))];
    slider.value = pages.slices.indexOf(page);
    picture.replaceChildren(drawn("image", { href: `data:image/jpeg;base64,${page.jpeg}`, width: 2 * width, height: 2 * height, preserveAspectRatio: "none" }));
    for (const [name, d] of Object.entries(page.paths)) {
      if (name.startsWith("truth")) picture.append(drawn("path", { class: "casing truth", d }));
      picture.append(drawn("path", { class: name, d }));
    }
    label.value = `slice ${page.z} of ${pages.of}`;
    box.dataset.slice = page.z;
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const button of box.querySelectorAll("button[data-turn]"))
    button.addEventListener("click", () => show(Number(slider.value) + Number(button.dataset.turn)));
  show(Math.floor(pages.slices.length / 2));
}

for (const box of document.querySelectorAll(".pager"))
  box.addEventListener("toggle", () => { if (box.open && !box.dataset.slice && box.querySelector("script")) setUpPager(box); });

function openTarget() {
  const box = document.getElementById(location.hash.slice(1));
  if (box?.classList.contains("pager")) box.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();

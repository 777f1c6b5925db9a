// What was found, as tables, flags and buttons to save. Every text goes in as text, never as HTML.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const number = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));

function table(caption, heads, rows) {
  const head = (text, i) => element("th", { scope: "col", class: i > 1 ? "number" : null }, text);
  const cell = (text, i) => element("td", { class: i > 0 ? "number" : null }, text);
  const line = ([first, ...rest]) => element("tr", {}, element("th", { scope: "row" }, first), ...rest.map(cell));
  const made = element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...heads.map(head))));
  made.append(element("tbody", {}, ...rows.map(line)));
  return element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": caption }, made);
}

function link(text, row, goTo) {
  if (!row.place) return text;
  return element("button", { type: "button", class: "link", onclick: () => goTo(row.place) }, text);
}

// found: findings.json. goTo: called with a voxel [z, y, x].
export function findingsOf(found, goTo) {
  const kidneys = found.kidneys.map((row, i) => [link(`Kidney ${i + 1}`, row, goTo), row.side, number(row.volume_ml, 1), number(row.tumor_ml, 1)]);
  const { kidney, tumor, cyst } = found.volumes_ml;
  kidneys.push(["All", "", number(kidney + tumor + (cyst || 0), 1), number(tumor, 1)]);
  const tumors = found.tumors.map((row, i) => [
    link(`Tumor ${i + 1}`, row, goTo), row.side, number(row.volume_ml, 1), number(row.diameter_mm, 0),
    row.confidence === null ? "" : `${Math.round(100 * row.confidence)} %`, `${row.slices[0] + 1} to ${row.slices[1] + 1}`,
  ]);
  const parts = [];
  if (found.flags.length) {
    const items = found.flags.map((text) => element("li", {}, text));
    parts.push(element("h3", {}, "Flags for review"), element("ul", { class: "flags" }, ...items));
  } else parts.push(element("p", { class: "soft" }, "No flag for review."));
  parts.push(table("Kidneys, with their tumors", ["Object", "Side", "mL", "of it tumor, mL"], kidneys));
  const columns = ["Object", "Side", "mL", "mm", "Confidence", "Slices"];
  parts.push(tumors.length ? table("Tumors, largest first; choose one to go there", columns, tumors) : element("p", {}, "No tumor was found. It may still be there."));
  const small = found.small_tumors;
  if (small.objects) parts.push(element("p", { class: "soft" }, `And ${small.objects} of less than ${found.smallest_ml} mL each, not listed.`));
  if (found.dice) {
    const scores = Object.entries(found.dice).map(([name, value]) => [name, value === null ? "both are empty" : number(value, 3)]);
    parts.push(table("Compared with the truth", ["Structure", "Dice"], scores));
  }
  return parts;
}

export function savesOf(entry, path) {
  const endings = { ".nii.gz": "NIfTI", ".seg.nrrd": "3D Slicer", ".csv": "CSV", ".json": "JSON" };
  if (entry.is_dicom) endings[".dcm"] = "DICOM SEG";
  const links = Object.entries(endings).map(([ending, name]) =>
    element("a", { class: "button", href: `${path}/save${ending}`, download: true, "data-ending": ending }, `${name} (${ending})`));
  links.push(element("a", { class: "button", href: `${path}/print.html`, target: "_blank", rel: "noopener" }, "Page to print"));
  return [element("h3", {}, "Save"), element("p", { class: "saves" }, ...links)];
}

const STEPS = { left: ["←", "Turn to the left"], right: ["→", "Turn to the right"], up: ["↑", "Tilt up"], down: ["↓", "Tilt down"], in: ["+", "Closer"], out: ["-", "Farther away"], reset: ["Reset", "Back to the view from the front"] };

// The view of kidneys and tumors in 3-D that view.js sets up. scenes: surfaces.json.
export function surfacesOf(scenes) {
  const data = element("script", { type: "application/json" }, JSON.stringify(scenes));
  const names = scenes.length > 1 ? ["Labels", "Truth"] : ["Labels"];
  const canvas = (name) => element("canvas", { tabindex: "0", role: "img", "aria-label": `${name} in 3-D: kidneys blue, tumor orange. Arrow keys turn them.` });
  const figures = names.map((name) => element("figure", {}, canvas(name), element("figcaption", {}, name)));
  const buttons = Object.entries(STEPS).map(([step, [sign, label]]) => element("button", { type: "button", "data-step": step, "aria-label": label }, sign));
  return element("div", { class: "view" }, element("div", { class: "pair" }, ...figures), element("div", { class: "turn" }, ...buttons), data);
}

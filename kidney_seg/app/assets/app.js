// The page: uploads, the list of scans with progress, and which of them is looked at. It asks no other address than its own.
import { LABELS } from "./labels.js";
import { Viewer } from "./planes.js";
import { element, findingsOf, savesOf, surfacesOf } from "./tables.js";

const WINDOWS = { "kidney": [-79, 304], "soft tissue": [-160, 240], "liver": [-45, 105], "bone": [-450, 1050], "lung": [-1350, 150], "all": [-1024, 3071] };
const STATES = { receiving: "arriving", looking: "reading headers", choosing: "choose a series", waiting: "waiting", running: "segmenting", done: "done", failed: "not read" };
const BUSY = ["receiving", "looking", "waiting", "running"];
const [SOON, LATER] = [400, 2500]; // ms between two questions for the state
const GONE = "The program has ended. Start it again, and open the address that it shows.";

const $ = (id) => document.getElementById(id);
const names = new Map(); // number -> the file's name, which stays in this tab
const uploads = []; // those of this tab that are not finished
let [state, chosen, loaded, timer, asked] = [{ entries: [] }, null, {}, 0, 0];
const viewer = new Viewer(showValue);
window.viewer = viewer; // for those who measure it

const pathOf = (number) => `scans/${number}`;

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : { method: "POST", body: JSON.stringify(body) });
  if (answer.ok) return answer;
  throw new Error((await answer.json().catch(() => ({}))).error || `the server says ${answer.status}`);
}

function tell(text) { $("message").textContent = text; }

// Only the answer to the last question counts: an earlier one may lack the scan that was chosen in between.
async function refresh() {
  clearTimeout(timer);
  const turn = ++asked;
  try {
    const found = await (await ask("state")).json();
    if (turn !== asked) return;
    state = found;
    document.body.classList.remove("ended");
  } catch (error) {
    if (turn !== asked) return;
    document.body.classList.add("ended");
    tell(error instanceof TypeError ? GONE : error.message);
    timer = setTimeout(refresh, LATER);
    return;
  }
  showModel();
  showList();
  await follow();
  const busy = uploads.length || state.entries.some((entry) => BUSY.includes(entry.state));
  if (turn === asked) timer = setTimeout(refresh, busy ? SOON : LATER);
}

function showModel() {
  const { name, data, license } = state.model;
  const place = state.server ? `Scans are sent to the server ${state.server}.` : "";
  $("model").textContent = ["Model: " + [name, data, license].filter(Boolean).join("; ") + `; kidney_seg ${state.version}.`, place].join(" ");
}

function titleOf(entry) { return names.get(entry.number) || `Scan ${entry.number}`; }

function itemOf(entry) {
  const current = entry.number === chosen;
  const about = `${entry.kind}, ${entry.time}`;
  const head = element("button", { type: "button", class: "link", "aria-pressed": String(current), onclick: () => choose(entry.number) }, titleOf(entry));
  const [done, total] = entry.progress;
  const queue = state.entries.filter((one) => one.state === "waiting").indexOf(entry) + 1;
  let words = entry.state === "waiting" ? `waiting, ${queue} in the queue` : STATES[entry.state];
  if (entry.state === "running" && !total) words = state.ready ? "reading the scan" : "loading the network";
  if (entry.state === "running" && entry.seconds_left !== null) words += `, about ${Math.ceil(entry.seconds_left)} s left`;
  const busy = BUSY.includes(entry.state);
  const action = busy ? "Cancel" : "Remove";
  return element("li", { class: current ? "current" : null, "data-number": entry.number, "data-state": entry.state },
    element("div", { class: "row" }, head, element("button", { type: "button", "aria-label": `${action} ${titleOf(entry)}`, onclick: () => remove(entry) }, action)),
    element("span", { class: "soft" }, `${about}: ${words}`),
    entry.state === "running" && total ? element("progress", { max: total, value: done, "aria-label": `Progress of ${titleOf(entry)}` }) : null,
    entry.error ? element("p", { class: "error" }, entry.error) : null,
    entry.choices.length ? choicesOf(entry) : null,
    ...entry.notes.map((note) => element("p", { class: "soft note" }, note)));
}

function choicesOf(entry) {
  const button = (one, index) => element("button", { type: "button", class: "choice", onclick: () => act(`${pathOf(entry.number)}/choose`, { index }) },
    one.text + (index ? "" : " (the one that the command takes)"));
  return element("div", { role: "group", "aria-label": `Series of ${titleOf(entry)}` }, ...entry.choices.map(button));
}

function uploadOf(one) {
  return element("li", { "data-state": "sending" },
    element("div", { class: "row" }, element("span", {}, one.name), element("button", { type: "button", "aria-label": `Cancel ${one.name}`, onclick: () => one.request.abort() }, "Cancel")),
    element("progress", { max: 1, value: one.share, "aria-label": `Sending ${one.name}` }));
}

function showList() {
  const sending = uploads.length;
  const shown = state.entries.filter((entry) => !(sending && entry.state === "receiving"));
  const text = JSON.stringify([shown, uploads.map((one) => [one.name, Math.round(one.share * 50)]), chosen, state.ready]);
  if (text === showList.before) return; // keep the focus
  showList.before = text;
  const focused = document.activeElement?.closest("#list li")?.dataset.number;
  const label = document.activeElement?.getAttribute("aria-label") || document.activeElement?.textContent;
  $("list").replaceChildren(...shown.map(itemOf).reverse(), ...uploads.map(uploadOf));
  if (focused) [...document.querySelectorAll(`#list li[data-number="${focused}"] button`)].find((one) => (one.getAttribute("aria-label") || one.textContent) === label)?.focus();
  const latest = shown.at(-1);
  const words = latest ? `${titleOf(latest)}: ${latest.error || STATES[latest.state]}` : "";
  if ($("told").textContent !== words) $("told").textContent = words;
}

async function act(path, body) {
  try {
    tell("");
    return await (await ask(path, body)).json();
  } catch (error) {
    tell(error.message);
    return null;
  } finally { refresh(); }
}

async function remove(entry) {
  await act(`${pathOf(entry.number)}/remove`, {});
  names.delete(entry.number);
  if (chosen === entry.number) choose(null);
}

function choose(number) {
  if (chosen === number) return;
  [chosen, loaded] = [number, {}];
  viewer.show(null);
  empty("No result yet.");
  refresh();
}

function empty(text) {
  $("findings").replaceChildren(element("p", { class: "soft" }, text));
  $("surfaces").replaceChildren();
  $("truth-tool").hidden = true;
  $("at").textContent = "";
}

// Load what there is of the scan that is looked at: its voxels, later its labels.
async function follow() {
  const entry = state.entries.find((one) => one.number === chosen);
  if (!entry) {
    if (chosen !== null) { [chosen, loaded] = [null, {}]; viewer.show(null); empty("No result yet."); }
    return;
  }
  try {
    if (entry.image && !loaded.voxels) await loadVoxels(entry);
    if (entry.has_labels && loaded.voxels && !loaded.labels) await loadLabels(entry);
  } catch (error) { if (chosen === entry.number) tell(error.message); }
}

async function bytes(entry, name) { return (await ask(`${pathOf(entry.number)}/${name}`)).arrayBuffer(); }

async function loadVoxels(entry) {
  loaded.voxels = true;
  const voxels = new Int16Array(await bytes(entry, "voxels.bin"));
  if (chosen !== entry.number) return;
  viewer.show({ voxels, shape: entry.image.shape, spacing: entry.image.spacing_mm });
  showValue();
}

async function loadLabels(entry) {
  loaded.labels = true;
  const found = await (await ask(`${pathOf(entry.number)}/findings.json`)).json();
  const labels = new Uint8Array(await bytes(entry, "labels.bin"));
  const truth = found.dice ? new Uint8Array(await bytes(entry, "truth.bin")) : null;
  if (chosen !== entry.number) return;
  $("truth-tool").hidden = !truth;
  $("findings").replaceChildren(...findingsOf(found, (place) => { viewer.goTo(place); $("axial").focus(); }), ...savesOf(entry, pathOf(entry.number)));
  viewer.change({ labels, truth });
  if (found.start) viewer.goTo(found.start);
  document.body.dataset.shown = entry.number;
  const scenes = await (await ask(`${pathOf(entry.number)}/surfaces.json`)).json();
  if (chosen !== entry.number) return;
  const view = surfacesOf(scenes);
  $("surfaces").replaceChildren(view);
  window.setUpView(view);
  view.querySelector("[data-step=out]").click(); // the sides of a narrow view would be cut off
}

function showValue() {
  if (!viewer.scan) return;
  const [z, y, x] = viewer.at;
  const [, ny, nx] = viewer.scan.shape;
  const value = viewer.scan.voxels[(z * ny + y) * nx + x];
  const label = viewer.labels ? (LABELS[viewer.labels[(z * ny + y) * nx + x]] || { name: "background" }).name : "";
  $("at").textContent = `Crosshair: ${value} HU${label ? `, ${label}` : ""}`;
}

function send(file) {
  const ending = (file.name.toLowerCase().match(/(\.nii\.gz|\.seg\.nrrd|\.[a-z0-9]+)$/) || [""])[0].replace(".seg", "");
  if (state.most_bytes && file.size > state.most_bytes) return tell(`${file.name}: has ${(file.size / 1e9).toFixed(1)} GB; expected at most ${(state.most_bytes / 1e9).toFixed(1)} GB (--max-gb)`);
  const one = { name: file.name, share: 0, request: new XMLHttpRequest() };
  const { request } = one;
  request.open("POST", `upload?ending=${encodeURIComponent(ending)}`);
  request.upload.addEventListener("progress", (event) => { one.share = event.loaded / Math.max(1, event.total); showList(); });
  request.addEventListener("loadend", () => {
    uploads.splice(uploads.indexOf(one), 1);
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* no answer */ }
    if (answer.number) {
      names.set(answer.number, file.name);
      choose(answer.number);
    } else if (request.status || !one.ended) tell(answer.error ? `${file.name}: ${answer.error}` : `${file.name}: not sent`);
    refresh();
  });
  request.addEventListener("abort", () => { one.ended = true; });
  uploads.push(one);
  tell("");
  request.send(file);
  refresh();
}

function setUpFiles() {
  $("file").addEventListener("change", () => { [...$("file").files].forEach(send); $("file").value = ""; });
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  window.addEventListener("dragover", () => document.body.classList.add("dragging"));
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
  window.addEventListener("drop", (event) => {
    document.body.classList.remove("dragging");
    for (const item of event.dataTransfer.items) {
      if (item.kind !== "file") continue;
      if (item.webkitGetAsEntry?.()?.isDirectory) tell("This is a folder. Drop a .zip of it, or open its path below.");
      else send(item.getAsFile());
    }
  });
  $("open").addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await act("open", Object.fromEntries(new FormData($("open"))));
    if (answer) choose(answer.number);
  });
}

function setUpTools() {
  for (const name of [...Object.keys(WINDOWS), "own"]) $("window").append(element("option", { value: name }, name));
  const apply = () => viewer.setWindow(Number($("low").value), Number($("high").value));
  const preset = () => { const limits = WINDOWS[$("window").value]; if (limits) [$("low").value, $("high").value] = limits; apply(); };
  $("window").addEventListener("change", preset);
  for (const id of ["low", "high"]) $(id).addEventListener("input", () => { $("window").value = "own"; apply(); });
  $("mode").addEventListener("change", () => viewer.change({ mode: $("mode").value }));
  $("opacity").addEventListener("input", () => { $("mode").value = "filled"; viewer.change({ mode: "filled", opacity: $("opacity").value / 100 }); });
  $("show-truth").addEventListener("change", () => viewer.change({ showTruth: $("show-truth").checked }));
  $("in").addEventListener("click", () => viewer.zoomBy(1.25));
  $("out").addEventListener("click", () => viewer.zoomBy(0.8));
  preset();
}

setUpFiles();
setUpTools();
await refresh();
if (state.entries.length) choose(state.entries.at(-1).number);

// Three planes of a scan, linked by a crosshair: wheel and keys scroll, clicks move, labels as contours or filled.
import { LABELS } from "./labels.js"; // made by the server, from data_prep/labels.py
import { grayPixels, grayTable, labelPixels, layout, outline, tint } from "./pixels.js";

const COLORS = Object.fromEntries(Object.entries(LABELS).map(([label, row]) => [label, row.rgb]));
const AXIS = { axial: 0, coronal: 1, sagittal: 2 }; // of the array [z, y, x] that the plane scrolls along
const SIDES = { axial: ["R", "L", "A", "P"], coronal: ["R", "L", "H", "F"], sagittal: ["A", "P", "H", "F"] };
const NAMES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };
const HALO = "rgba(0, 0, 0, 0.85)"; // around contours and letters, so that they stand out on any gray
const LARGEST_ZOOM = 8;
const NOTCH = 40; // pixels of a wheel's event

class Plane {
  constructor(name, canvas, viewer) {
    Object.assign(this, { name, canvas, viewer, axis: AXIS[name], dirty: true });
    this.small = document.createElement("canvas"); // one pixel per voxel
    this.base = document.createElement("canvas"); // image and labels, as large as on the screen
    canvas.addEventListener("wheel", (event) => {
      if (!viewer.scan || event.ctrlKey) return;
      event.preventDefault();
      const slices = this.rolledBy(event);
      if (slices) viewer.step(this.axis, this.axis ? slices : -slices);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    let held = false;
    const move = (event) => { if (held) this.pointAt(event); };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      held = true;
      canvas.setPointerCapture(event.pointerId);
      this.pointAt(event);
    });
    canvas.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = false; });
    new ResizeObserver(() => { this.dirty = true; viewer.redraw(); }).observe(canvas);
  }

  // A notch of a wheel is one slice; the many small events of a touchpad are added up.
  rolledBy(event) {
    if (event.deltaMode || Math.abs(event.deltaY) >= NOTCH) return Math.sign(event.deltaY);
    this.rolled = (this.rolled || 0) + event.deltaY;
    const slices = Math.trunc(this.rolled / NOTCH);
    this.rolled -= slices * NOTCH;
    return slices;
  }

  onKey(event) {
    const { viewer, axis } = this;
    if (!viewer.scan || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = viewer.scan.shape[axis] - 1;
    const up = 1; // to superior, posterior, left
    const steps = { ArrowUp: up, ArrowRight: up, ArrowDown: -up, ArrowLeft: -up, PageUp: 10 * up, PageDown: -10 * up };
    if (event.key in steps) viewer.step(axis, steps[event.key]);
    else if (event.key === "Home") viewer.step(axis, -last);
    else if (event.key === "End") viewer.step(axis, last);
    else if (event.key === "+" || event.key === "=") viewer.zoomBy(1.25);
    else if (event.key === "-") viewer.zoomBy(0.8);
    else return;
    event.preventDefault();
  }

  // Where pixel (0, 0) of the slice lies on the canvas, and canvas pixels per voxel.
  frame() {
    const { scan, at, zoom } = this.viewer;
    const where = layout(this.name, scan.shape, scan.spacing, at);
    const [width, height] = [this.canvas.width, this.canvas.height];
    const perMm = Math.min(width / (where.width * where.mmU), height / (where.height * where.mmV)) * zoom;
    const [scaleX, scaleY] = [perMm * where.mmU, perMm * where.mmV];
    const center = this.crosshair(where);
    const place = (size, count, scale, middle) => {
      const full = count * scale;
      if (full <= size) return (size - full) / 2;
      return Math.min(0, Math.max(size - full, size / 2 - middle * scale));
    };
    return { where, scaleX, scaleY, x: place(width, where.width, scaleX, center[0]), y: place(height, where.height, scaleY, center[1]) };
  }

  crosshair(where) { // in voxels of the slice, the middle of a voxel
    const [z, y, x] = this.viewer.at;
    if (this.name === "axial") return [x + 0.5, y + 0.5];
    return [(this.name === "coronal" ? x : y) + 0.5, where.height - 0.5 - z];
  }

  pointAt(event) {
    if (!this.viewer.scan) return;
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const { where, scaleX, scaleY, x, y } = this.frame();
    const u = Math.floor(((event.clientX - box.left) * ratio - x) / scaleX);
    const v = Math.floor(((event.clientY - box.top) * ratio - y) / scaleY);
    const next = [...this.viewer.at];
    if (this.name === "axial") [next[1], next[2]] = [v, u];
    else [next[0], next[this.name === "coronal" ? 2 : 1]] = [where.height - 1 - v, u];
    this.viewer.goTo(next);
  }

  draw() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      [this.canvas.width, this.canvas.height] = [width, height];
      this.dirty = true;
    }
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (!this.viewer.scan) return;
    const frame = this.frame();
    const key = `${this.viewer.at[this.axis]} ${frame.x} ${frame.y} ${frame.scaleX}`;
    if (this.dirty || key !== this.key) this.drawBase(frame, width, height, ratio);
    [this.key, this.dirty] = [key, false];
    context.drawImage(this.base, 0, 0);
    const [u, v] = this.crosshair(frame.where);
    const [x, y] = [Math.round(frame.x + u * frame.scaleX) + 0.5, Math.round(frame.y + v * frame.scaleY) + 0.5];
    context.strokeStyle = "rgba(255, 255, 255, 0.45)";
    context.beginPath();
    const gap = 10 * ratio;
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
    this.letters(context, width, height, ratio);
    this.describe();
  }

  drawBase(frame, width, height, ratio) {
    const { scan, labels, truth, table, mode, opacity, showTruth } = this.viewer;
    const { where } = frame;
    const { small, base } = this;
    if (small.width !== where.width || small.height !== where.height) {
      [small.width, small.height] = [where.width, where.height];
      this.image = new ImageData(where.width, where.height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.found = new Uint8Array(where.width * where.height);
    }
    grayPixels(scan.voxels, where, table, this.pixels);
    const box = labels && mode !== "none" ? labelPixels(labels, where, this.found) : null;
    if (box && mode === "filled") tint(this.pixels, this.found, box, where.width, COLORS, opacity);
    small.getContext("2d").putImageData(this.image, 0, 0);
    if (base.width !== width || base.height !== height) [base.width, base.height] = [width, height];
    const context = base.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = true;
    context.drawImage(small, frame.x, frame.y, where.width * frame.scaleX, where.height * frame.scaleY);
    if (box && mode === "contours") for (const label of [1, 3, 2]) this.contour(context, frame, box, label, COLORS[label], ratio, false);
    if (truth && showTruth) {
      const own = labelPixels(truth, where, this.found);
      for (const label of [1, 3, 2]) this.contour(context, frame, own, label, [255, 255, 255], ratio, true);
    }
  }

  contour(context, frame, box, label, color, ratio, dashed) {
    const { where } = frame;
    const path = new Path2D();
    path.addPath(outline(this.found, box, where.width, where.height, label), new DOMMatrix([frame.scaleX, 0, 0, frame.scaleY, frame.x, frame.y]));
    context.setLineDash(dashed ? [4 * ratio, 3 * ratio] : []);
    context.lineJoin = "round";
    [context.strokeStyle, context.lineWidth] = [HALO, (dashed ? 2.5 : 3.5) * ratio];
    context.stroke(path);
    [context.strokeStyle, context.lineWidth] = [`rgb(${color})`, (dashed ? 1.2 : 1.8) * ratio];
    context.stroke(path);
    context.setLineDash([]);
  }

  letters(context, width, height, ratio) {
    const size = 13 * ratio;
    context.font = `600 ${size}px system-ui, sans-serif`;
    [context.textAlign, context.textBaseline] = ["center", "middle"];
    const places = [[size, height / 2], [width - size, height / 2], [width / 2, size], [width / 2, height - size]];
    SIDES[this.name].forEach((letter, i) => {
      [context.strokeStyle, context.lineWidth, context.fillStyle] = [HALO, 3 * ratio, "#fff"];
      context.strokeText(letter, ...places[i]);
      context.fillText(letter, ...places[i]);
    });
  }

  describe() {
    const [at, count] = [this.viewer.at[this.axis], this.viewer.scan.shape[this.axis]];
    document.getElementById(`${this.name}-at`).textContent = `${at + 1} of ${count}`;
    const facts = { "aria-valuenow": at + 1, "aria-valuetext": `slice ${at + 1} of ${count}` };
    for (const [name, value] of Object.entries(facts)) this.canvas.setAttribute(name, value);
  }
}

export class Viewer {
  constructor(moved) {
    Object.assign(this, { scan: null, labels: null, truth: null, at: [0, 0, 0], zoom: 1, mode: "contours", opacity: 0.45, showTruth: true, moved });
    this.frames = 0;
    this.waiting = 0;
    this.setWindow(-79, 304);
    this.planes = Object.keys(AXIS).map((name) => new Plane(name, document.getElementById(name), this));
    for (const plane of this.planes) this.range(plane, 1);
  }

  range(plane, count) {
    const facts = { "aria-label": `${NAMES[plane.name]} plane`, "aria-valuemin": 1, "aria-valuemax": count, "aria-valuenow": 1 };
    for (const [name, value] of Object.entries(facts)) plane.canvas.setAttribute(name, value);
  }

  // scan: { voxels: Int16Array, shape, spacing }; null empties the view.
  show(scan) {
    Object.assign(this, { scan, labels: null, truth: null, zoom: 1 });
    this.at = scan ? scan.shape.map((size) => size >> 1) : [0, 0, 0];
    for (const plane of this.planes) this.range(plane, scan ? scan.shape[plane.axis] : 1);
    this.change();
  }

  setWindow(low, high) {
    this.table = grayTable(low, high);
    this.change();
  }

  goTo(at) {
    if (!this.scan) return;
    this.at = at.map((value, axis) => Math.min(this.scan.shape[axis] - 1, Math.max(0, Math.round(value))));
    this.moved();
    this.redraw();
  }

  step(axis, by) {
    const next = [...this.at];
    next[axis] += by;
    this.goTo(next);
  }

  zoomBy(factor) {
    this.zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.zoom * factor));
    this.redraw();
  }

  change(values = {}) {
    Object.assign(this, values);
    for (const plane of this.planes || []) plane.dirty = true;
    this.redraw();
  }

  redraw() {
    if (this.waiting || !this.planes) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      for (const plane of this.planes) plane.draw();
      this.frames += 1;
    });
  }
}

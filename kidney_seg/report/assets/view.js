// Kidneys and tumor in 3-D, truth beside prediction. The triangles are drawn here, into a depth buffer, without WebGL:
// so it looks the same on every machine, in print too.
"use strict";

const COLORS = { kidney: [86, 180, 233], tumor: [213, 94, 0] };
const THROUGH = 0.5; // how much of a tumor behind kidney tissue is seen through it
const START = { yaw: 0, pitch: -0.12, zoom: 1 };
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "=": "in", "-": "out", Home: "reset" };
const DARK = matchMedia("screen and (prefers-color-scheme: dark)").matches;
const [BEHIND, LETTERS] = DARK ? [[20, 24, 29], "#9ba6b2"] : [[255, 255, 255], "#57606a"];
const FINEST = 480; // pixels along the longer side of a drawing that is being turned

function unpack(packed) {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const whole = new Int16Array(bytes(packed.vertices));
  const faces = packed.wide ? new Uint32Array(bytes(packed.faces)) : new Uint16Array(bytes(packed.faces));
  const points = Float32Array.from(whole, (value) => value * packed.mm);
  const normals = new Float32Array(points.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
    const u = [0, 1, 2].map((k) => points[b + k] - points[a + k]);
    const v = [0, 1, 2].map((k) => points[c + k] - points[a + k]);
    const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += n[k];
  }
  for (let i = 0; i < normals.length; i += 3) {
    const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
    for (let k = 0; k < 3; k++) normals[i + k] /= length;
  }
  return { points, normals, faces };
}

// Rows of the rotation from patient axes (x left, y back, z up) to the screen (x right, y down, depth away).
function rotation(yaw, pitch) {
  const [c, s, d, t] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return [[c, s, 0], [-s * t, c * t, -d], [-s * d, c * d, t]];
}

function turned(rows, source) {
  const out = new Float32Array(source.length);
  for (let i = 0; i < source.length; i += 3)
    for (let k = 0; k < 3; k++) out[i + k] = rows[k][0] * source[i] + rows[k][1] * source[i + 1] + rows[k][2] * source[i + 2];
  return out;
}

// Depth and brightness of the nearest surface at every pixel.
function rasterize(mesh, rows, scale, width, height) {
  const depth = new Float32Array(width * height).fill(Infinity);
  const light = new Float32Array(width * height);
  const points = turned(rows, mesh.points);
  const normals = turned(rows, mesh.normals);
  const shade = new Float32Array(points.length / 3);
  for (let i = 0; i < shade.length; i++) {
    const [x, y, z] = [normals[3 * i], normals[3 * i + 1], normals[3 * i + 2]];
    const toLamp = Math.max(0, -0.35 * x - 0.5 * y - 0.79 * z); // from above, behind the viewer's shoulder
    shade[i] = 0.38 + 0.62 * toLamp + 0.25 * Math.pow(toLamp, 24);
    points[3 * i] = width / 2 + scale * points[3 * i];
    points[3 * i + 1] = height / 2 + scale * points[3 * i + 1];
  }
  for (let f = 0; f < mesh.faces.length; f += 3) {
    const [a, b, c] = [mesh.faces[f], mesh.faces[f + 1], mesh.faces[f + 2]];
    const [ax, ay, az] = [points[3 * a], points[3 * a + 1], points[3 * a + 2]];
    const [bx, by, bz] = [points[3 * b], points[3 * b + 1], points[3 * b + 2]];
    const [cx, cy, cz] = [points[3 * c], points[3 * c + 1], points[3 * c + 2]];
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (area === 0) continue;
    const top = Math.max(0, Math.ceil(Math.min(ay, by, cy)));
    const bottom = Math.min(height - 1, Math.floor(Math.max(ay, by, cy)));
    const left = Math.max(0, Math.ceil(Math.min(ax, bx, cx)));
    const right = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx)));
    for (let y = top; y <= bottom; y++)
      for (let x = left; x <= right; x++) {
        const v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area;
        const w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area;
        if (v < -1e-4 || w < -1e-4 || v + w > 1.0001) continue;
        const z = az + v * (bz - az) + w * (cz - az);
        const at = y * width + x;
        if (z < depth[at]) {
          depth[at] = z;
          light[at] = shade[a] + v * (shade[b] - shade[a]) + w * (shade[c] - shade[a]);
        }
      }
  }
  return { depth, light };
}

function draw(canvas, meshes, camera, reach, fine) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const box = canvas.getBoundingClientRect();
  const limit = fine ? 900 : FINEST;
  const shrink = Math.min(1, limit / Math.max(1, box.width * ratio));
  const width = Math.max(16, Math.round(box.width * ratio * shrink));
  const height = Math.max(16, Math.round(box.height * ratio * shrink));
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const rows = rotation(camera.yaw, camera.pitch);
  const scale = (camera.zoom * Math.min(width, height)) / (1.9 * reach);
  const kidney = rasterize(meshes.kidney, rows, scale, width, height);
  const tumor = rasterize(meshes.tumor, rows, scale, width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    const hasKidney = kidney.depth[at] < Infinity;
    const hasTumor = tumor.depth[at] < Infinity;
    const share = !hasTumor ? 0 : hasKidney && kidney.depth[at] < tumor.depth[at] ? THROUGH : 1;
    for (let k = 0; k < 3; k++) {
      const kidneyPart = Math.min(255, COLORS.kidney[k] * kidney.light[at]);
      const tumorPart = Math.min(255, COLORS.tumor[k] * tumor.light[at]);
      image.data[4 * at + k] = hasKidney || hasTumor ? share * tumorPart + (1 - share) * kidneyPart : BEHIND[k];
    }
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  letters(context, rows, scale, reach, width, height);
}

// R and L, H (head) and F (feet), A (front) and P (back): where these sides of the patient are.
function letters(context, rows, scale, reach, width, height) {
  const size = Math.max(11, Math.round(width / 26));
  context.font = `600 ${size}px system-ui, sans-serif`;
  [context.textAlign, context.textBaseline] = ["center", "middle"];
  const sides = { R: [-1, 0, 0], L: [1, 0, 0], A: [0, -1, 0], P: [0, 1, 0], H: [0, 0, 1], F: [0, 0, -1] };
  for (const [letter, side] of Object.entries(sides)) {
    const [x, y] = [0, 1].map((k) => rows[k][0] * side[0] + rows[k][1] * side[1] + rows[k][2] * side[2]);
    const flat = Math.hypot(x, y);
    if (flat < 0.5) continue; // points at the viewer or away
    const away = Math.min((width / 2 - size) / Math.max(1e-6, Math.abs(x)), (height / 2 - size) / Math.max(1e-6, Math.abs(y)));
    context.fillStyle = LETTERS;
    context.fillText(letter, width / 2 + x * away, height / 2 + y * away);
  }
}

function setUpView(view) {
  const packed = JSON.parse(view.querySelector("script").textContent);
  const scenes = packed.map((scene) => ({ kidney: unpack(scene.kidney), tumor: unpack(scene.tumor) }));
  let reach = 1;
  for (const scene of scenes)
    for (const mesh of Object.values(scene))
      for (let i = 0; i < mesh.points.length; i += 3)
        reach = Math.max(reach, Math.hypot(mesh.points[i], mesh.points[i + 1], mesh.points[i + 2]));
  const canvases = [...view.querySelectorAll("canvas")];
  const camera = { ...START };
  let [waiting, settled] = [0, 0];
  const paint = (fine) => canvases.forEach((canvas, i) => draw(canvas, scenes[i], camera, reach, fine));
  const change = (act) => {
    act();
    camera.pitch = Math.max(-1.5, Math.min(1.5, camera.pitch));
    camera.zoom = Math.max(0.5, Math.min(5, camera.zoom));
    view.dataset.camera = [camera.yaw, camera.pitch, camera.zoom].map((value) => value.toFixed(3)).join(" ");
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; paint(false); });
    clearTimeout(settled);
    settled = setTimeout(() => paint(true), 180);
  };
  const step = {
    left: () => { camera.yaw += 0.15; }, right: () => { camera.yaw -= 0.15; },
    up: () => { camera.pitch += 0.15; }, down: () => { camera.pitch -= 0.15; },
    in: () => { camera.zoom *= 1.15; }, out: () => { camera.zoom /= 1.15; },
    reset: () => { Object.assign(camera, START); },
  };
  for (const button of view.querySelectorAll("button[data-step]"))
    button.addEventListener("click", () => change(step[button.dataset.step]));
  for (const canvas of canvases) {
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const [dx, dy] = [event.clientX - from[0], event.clientY - from[1]];
      from = [event.clientX, event.clientY];
      change(() => { camera.yaw -= dx / 120; camera.pitch -= dy / 120; });
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      change(step[KEYS[event.key]]);
    });
  }
  new ResizeObserver(() => change(() => {})).observe(view);
  paint(true);
}

for (const view of document.querySelectorAll(".view")) setUpView(view);

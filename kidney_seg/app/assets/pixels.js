// Slices of a volume [z, y, x] as gray pixels, and the outlines of their labels. Pure functions: arrays in, arrays out.

const FIRST_HU = 32768; // index of 0 HU in a table of all int16 values

// Width, height, mm per pixel, and where pixel (u, v) of a slice lies: first + u * right + v * down.
export function layout(plane, shape, spacing, at) {
  const [nz, ny, nx] = shape;
  const [mz, my, mx] = spacing;
  const slice = ny * nx;
  const top = (nz - 1) * slice; // superior is up
  if (plane === "axial") return { width: nx, height: ny, mmU: mx, mmV: my, first: at[0] * slice, right: 1, down: nx };
  if (plane === "coronal") return { width: nx, height: nz, mmU: mx, mmV: mz, first: top + at[1] * nx, right: 1, down: -slice };
  return { width: ny, height: nz, mmU: my, mmV: mz, first: top + at[2], right: nx, down: -slice };
}

// A table from HU to opaque gray, as ImageData has it: black up to `low`, white from `high`.
export function grayTable(low, high) {
  const table = new Uint32Array(65536);
  const span = Math.max(1, high - low);
  for (let i = 0; i < table.length; i++) {
    const gray = Math.round(Math.min(1, Math.max(0, (i - FIRST_HU - low) / span)) * 255);
    table[i] = ((255 << 24) | (gray << 16) | (gray << 8) | gray) >>> 0;
  }
  return table;
}

export function grayPixels(voxels, where, table, out) {
  const { width, height, right, down } = where;
  for (let v = 0, at = 0; v < height; v++)
    for (let u = 0, from = where.first + v * down; u < width; u++, from += right) out[at++] = table[voxels[from] + FIRST_HU];
}

// The labels of a slice, and the box that holds them: [left, top, right, bottom], empty if left > right.
export function labelPixels(labels, where, out) {
  const { width, height, right, down } = where;
  const box = [width, height, -1, -1];
  for (let v = 0, at = 0; v < height; v++)
    for (let u = 0, from = where.first + v * down; u < width; u++, from += right) {
      const label = labels[from];
      out[at++] = label;
      if (!label) continue;
      if (u < box[0]) box[0] = u;
      if (v < box[1]) box[1] = v;
      if (u > box[2]) box[2] = u;
      if (v > box[3]) box[3] = v;
    }
  return box;
}

// Mix the colors of labels into gray pixels. colors: label -> [r, g, b].
export function tint(pixels, labels, box, width, colors, opacity) {
  for (let v = box[1]; v <= box[3]; v++)
    for (let u = box[0]; u <= box[2]; u++) {
      const at = v * width + u;
      const color = colors[labels[at]];
      if (!color) continue;
      const gray = (pixels[at] & 255) * (1 - opacity);
      const [r, g, b] = color.map((value) => Math.round(gray + value * opacity));
      pixels[at] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    }
}

// The edges of the pixels that have a label, as a Path2D in pixels; runs along a line are one segment.
export function outline(labels, box, width, height, label) {
  const path = new Path2D();
  const is = (u, v) => u >= 0 && v >= 0 && u < width && v < height && labels[v * width + u] === label;
  for (let v = box[1]; v <= box[3] + 1; v++)
    for (let u = box[0], from = -1; u <= box[2] + 1; u++) {
      const edge = u <= box[2] && is(u, v) !== is(u, v - 1);
      if (edge && from < 0) from = u;
      if (!edge && from >= 0) { path.moveTo(from, v); path.lineTo(u, v); from = -1; }
    }
  for (let u = box[0]; u <= box[2] + 1; u++)
    for (let v = box[1], from = -1; v <= box[3] + 1; v++) {
      const edge = v <= box[3] && is(u, v) !== is(u - 1, v);
      if (edge && from < 0) from = v;
      if (!edge && from >= 0) { path.moveTo(u, from); path.lineTo(u, v); from = -1; }
    }
  return path;
}

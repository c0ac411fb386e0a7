// What is done to a whole picture: the enlargement and the colour rule, as the package has them.
import { copy, throughTiles } from "./tiles.js";

/** Keys' cubic convolution kernel, a = -1/2. */
function cubic(x) {
  const d = Math.abs(x);
  if (d <= 1) return (1.5 * d - 2.5) * d * d + 1;
  return d <= 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

/** Tap by tap, which old pixel each new one reads, mirrored beyond the edge, and with what weight: MATLAB's imresize. */
function contributions(before, after, scale) {
  const stretch = Math.min(scale, 1), reach = 4 / stretch, taps = Math.ceil(reach) + 2;
  const places = new Int32Array(taps * after), weights = new Float32Array(taps * after);
  for (let n = 0; n < after; n++) {
    const centre = (n + 1) / scale + 0.5 * (1 - 1 / scale), left = Math.floor(centre - reach / 2);
    const here = Array.from({ length: taps }, (_, tap) => stretch * cubic(stretch * (centre - left - tap)));
    const sum = here.reduce((total, weight) => total + weight);
    for (let tap = 0; tap < taps; tap++) {
      const place = (((left + tap - 1) % (2 * before)) + 2 * before) % (2 * before);
      places[tap * after + n] = Math.min(place, 2 * before - 1 - place);
      weights[tap * after + n] = here[tap] / sum;
    }
  }
  return { taps, places, weights };
}

/** A plane by MATLAB's bicubic interpolation; rows first, then columns, as MATLAB does it. */
export function resize(plane, [height, width], [newHeight, newWidth], [down, across]) {
  const tall = new Float32Array(newHeight * width), made = new Float32Array(newHeight * newWidth);
  const rows = contributions(height, newHeight, down), columns = contributions(width, newWidth, across);
  for (let tap = 0; tap < rows.taps; tap++) {
    for (let y = 0; y < newHeight; y++) {
      const weight = rows.weights[tap * newHeight + y], from = rows.places[tap * newHeight + y] * width, to = y * width;
      if (weight) for (let x = 0; x < width; x++) tall[to + x] += weight * plane[from + x];
    }
  }
  for (let y = 0; y < newHeight; y++) {
    for (let tap = 0; tap < columns.taps; tap++) {
      const at = tap * newWidth, from = y * width, to = y * newWidth;
      for (let x = 0; x < newWidth; x++) made[to + x] += columns.weights[at + x] * tall[from + columns.places[at + x]];
    }
  }
  return made;
}

/** Three planes mixed by a matrix and an offset: RGB to YCbCr, or back. */
export function mixed(planes, { matrix, offset }) {
  return matrix.map((row, k) => planes[0].map((_, n) => (
    row[0] * planes[0][n] + row[1] * planes[1][n] + row[2] * planes[2][n] + offset[k])));
}

/** How a plane of chroma changes with luminance: the slope of a line through each pixel and its neighbours. */
export function slopes(y, chroma, [height, width], { window: [side, middle], damping }) {
  const averaged = (plane) => {
    const down = new Float32Array(plane.length), made = new Float32Array(plane.length);
    for (let n = 0; n < plane.length; n++) {
      const above = n < width ? n : n - width, below = n + width < plane.length ? n + width : n;
      down[n] = side * (plane[above] + plane[below]) + middle * plane[n];
    }
    for (let n = 0; n < plane.length; n++) {
      const x = n % width, left = x ? n - 1 : n, right = x + 1 < width ? n + 1 : n;
      made[n] = side * (down[left] + down[right]) + middle * down[n];
    }
    return made;
  };
  const mean = averaged(y), square = averaged(y.map((value) => value * value));
  const meanChroma = averaged(chroma), product = averaged(y.map((value, n) => value * chroma[n]));
  return mean.map((m, n) => (product[n] - m * meanChroma[n]) / (square[n] - m * m + damping));
}

/** The enlarged sides: what is within a billionth of a whole number is that number. */
export const enlarged = (side, scale) => Math.ceil(side * scale - 1e-9);

/**
 * Restore a picture.
 * @param rgb its planes R, G and B, 0 to 1, `height` × `width`
 * @param about what model.json says
 * @param size side of the tiles
 * @param emit takes { top, left, height, width, rgb } of the result, and the share done; false ends it
 * @returns whether it came to the end
 */
export async function restore(run, rgb, height, width, about, scale, size, emit) {
  const together = about.channels === 3, { toYCbCr, toRGB } = about;
  let planes = together ? rgb : mixed(rgb, toYCbCr), follow = [];
  if (about.enlarges) {
    const before = [height, width];
    if (!together) follow = planes.slice(1).map((plane) => slopes(planes[0], plane, before, about.guidance));
    [height, width] = before.map((side) => enlarged(side, scale));
    const larger = (plane) => (scale === 1 ? plane : resize(plane, before, [height, width], [scale, scale]));
    [planes, follow] = [planes.map(larger), follow.map(larger)];
  }
  const tiles = (which, give) => throughTiles(run, which, height, width, size, about, give);
  const give = (tile, ycbcr, share) => emit(
    { top: tile.top, left: tile.left, height: tile.rows, width: tile.columns, rgb: together ? ycbcr : mixed(ycbcr, toRGB) }, share);
  if (together || about.task === "denoise") return tiles(planes, give);
  let begun = 0;
  if (about.task === "jpeg") {
    begun = 1 / 3;
    const chroma = await changed(run, planes.slice(1), height, width, size, about, (share) => emit(null, share * begun));
    if (!chroma) return false;
    planes = [planes[0], ...chroma];
  }
  return tiles(planes.slice(0, 1), (tile, [y], share) => {
    const part = (plane) => {
      const cut = new Float32Array(tile.rows * tile.columns);
      copy(plane, width, tile.top, tile.left, cut, tile.columns, 0, 0, tile.rows, tile.columns);
      return cut;
    };
    const [before, ...chroma] = planes.map(part);
    follow.map(part).forEach((slope, k) => slope.forEach((a, n) => { chroma[k][n] += a * (y[n] - before[n]); }));
    return give(tile, [y, ...chroma], begun + share * (1 - begun));
  });
}

/** Chroma restored at half size, where a JPEG's blocks are; only what changed there is enlarged and added. */
async function changed(run, chroma, height, width, size, about, report) {
  const whole = [height, width], half = whole.map((side) => Math.ceil(side / 2));
  const small = chroma.map((plane) => resize(plane, whole, half, [0.5, 0.5]));
  const change = small.map((plane) => plane.map((value) => -value));
  const ended = await throughTiles(run, small, half[0], half[1], size, about, (tile, kept, share) => {
    kept.forEach((part, k) => {
      for (let row = 0; row < tile.rows; row++) {
        for (let column = 0; column < tile.columns; column++) {
          change[k][(tile.top + row) * half[1] + tile.left + column] += part[row * tile.columns + column];
        }
      }
    });
    return report(share);
  });
  const factors = whole.map((side, axis) => side / half[axis]);
  return ended && chroma.map((plane, k) => {
    const larger = resize(change[k], half, whole, factors);
    return plane.map((value, n) => value + larger[n]);
  });
}

/** 8-bit RGBA as planes R, G and B of 0 to 1. */
export function planesOf(rgba) {
  return [0, 1, 2].map((c) => Float32Array.from({ length: rgba.length / 4 }, (_, n) => rgba[4 * n + c] / 255));
}

/** Planes of 0 to 1 as 8-bit RGBA, rounded half up. */
export function bytesOf(rgb) {
  const out = new Uint8ClampedArray(4 * rgb[0].length).fill(255);
  rgb.forEach((plane, c) => plane.forEach((value, n) => { out[4 * n + c] = Math.floor(value * 255 + 0.5); }));
  return out;
}

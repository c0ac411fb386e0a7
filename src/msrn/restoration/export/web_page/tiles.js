// Planes in tiles that give exactly what the whole planes would: each tile is read with the halo that decides it.

/** Split a side into [first, end) of at most `size`, at multiples of `step`. */
function spans(length, size, step) {
  const whole = Math.max(step, Math.floor(size / step) * step);
  return Array.from({ length: Math.ceil(length / whole) }, (_, n) => [n * whole, Math.min(length, (n + 1) * whole)]);
}

/** What decides [first, end): the halo around it, to multiples of `step`, never past the edge. */
function around([first, end], length, halo, step) {
  const up = (value) => Math.ceil(value / step) * step;
  return [Math.max(0, first - up(halo)), Math.min(length, up(end) + up(halo))];
}

/** All tiles: what each gives (top, left, rows, columns), and what it reads (y, x, height, width). */
export function plan(height, width, size, { halo, step }) {
  return spans(height, size, step).flatMap((down) => spans(width, size, step).map((across) => {
    const [y, yEnd] = around(down, height, halo, step), [x, xEnd] = around(across, width, halo, step);
    return {
      top: down[0], left: across[0], rows: down[1] - down[0], columns: across[1] - across[0],
      y, x, height: yEnd - y, width: xEnd - x,
    };
  }));
}

/**
 * Run the network over planes of one size, tile by tile.
 * @param run takes values and a shape (N, C, H, W), gives the restored values
 * @param planes N·C planes, each `height` × `width`
 * @param emit takes a tile and its restored planes, and the share that is done; false ends it
 */
export async function throughTiles(run, planes, height, width, size, about, emit) {
  const tiles = plan(height, width, size, about);
  for (const [number, tile] of tiles.entries()) {
    await new Promise((resolve) => setTimeout(resolve)); // lets messages in, such as to stop
    const area = tile.height * tile.width, input = new Float32Array(planes.length * area);
    planes.forEach((plane, n) => copy(plane, width, tile.y, tile.x, input.subarray(n * area), tile.width, 0, 0, tile.height, tile.width));
    const made = await run(input, [planes.length / about.channels, about.channels, tile.height, tile.width]);
    const kept = planes.map((_, n) => {
      const part = new Float32Array(tile.rows * tile.columns), from = made.subarray(n * area, (n + 1) * area);
      copy(from, tile.width, tile.top - tile.y, tile.left - tile.x, part, tile.columns, 0, 0, tile.rows, tile.columns);
      return part;
    });
    if (emit(tile, kept, (number + 1) / tiles.length) === false) return false;
  }
  return true;
}

/** Copy a rectangle from one plane into another. */
export function copy(from, fromWidth, y, x, to, toWidth, top, left, rows, columns) {
  for (let row = 0; row < rows; row++) {
    const start = (y + row) * fromWidth + x;
    to.set(from.subarray(start, start + columns), (top + row) * toWidth + left);
  }
}

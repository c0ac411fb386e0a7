// What programs say, in plain words.

const TASKS = {
  jpeg: "removing JPEG artifacts",
  denoise: "removing noise",
  photo: "removing noise and JPEG artifacts",
  sr: "enlarging",
  "photo-sr": "enlarging and removing JPEG artifacts",
};

/** What was found in a photograph: sentences, and whether something is done about each. */
export function findings(found, task) {
  const said = [];
  const done = (...kinds) => kinds.some((kind) => found.steps.includes(kind));
  if (found.quality != null) {
    const how = found.quality < 30 ? "strongly" : found.quality < 70 ? "noticeably" : "lightly";
    const text = `It is ${how} compressed: its JPEG quality is ${found.quality} of 100.`;
    said.push(done("jpeg", "photo-sr") || (done("photo") && found.quality <= 92) ? [`${text} The traces are removed.`, true] : [`${text} That is too little to see; it is left.`, false]);
  } else if (task === "restore") said.push(["It shows no traces of JPEG compression.", false]);
  if (found.sigma != null) {
    const sigma = found.sigma.toFixed(1);
    if (done("denoise", "photo")) said.push([`It has ${found.sigma < 12 ? "some" : "much"} noise (σ ${sigma} of 255), which is removed.`, true]);
    else if (found.sigma < 1) said.push(["It has hardly any noise.", false]);
    else if (found.sigma >= 5) said.push(["It is finely textured, which noise is not; that is left.", false]);
    else said.push([`Its noise is faint (σ ${sigma} of 255). It may as well be texture, so it is left.`, false]);
  }
  if (task === "upscale" && done("jpeg")) said.push(["The traces of JPEG compression are removed first.", true]);
  if (task === "dejpeg") said.push(["Traces of JPEG compression are removed, as you asked.", true]);
  if (task === "denoise") said.push(["Noise is removed, as you asked.", true]);
  if (done("sr", "photo-sr")) said.push([`It is enlarged to ${found.width} × ${found.height} pixels.`, true]);
  if (!found.steps.length) said.push(["It needs nothing, and stays as it is.", false]);
  return said;
}

/** What is said of a result: sentences, and whether each is good news. */
export function assurances(result, asked) {
  const said = [];
  const { confidence, departure } = result;
  if (confidence) {
    const [error, below] = [confidence.error, confidence.below].map((levels) => levels.toFixed(1));
    const share = Math.round(confidence.share * 100);
    said.push([`At full strength, its error is likely ${error} grey levels, and below ${below} in ${share} % of such pictures.`, true]);
  } else if (asked.confidence) said.push(["How wrong it may be is not known of this.", false]);
  if (departure?.consistent) said.push(["It keeps to what its input allows.", true]);
  else if (departure) said.push([`It departs from its input: ${departure.outside.toLocaleString("en")} of ${departure.checked.toLocaleString("en")} ${departure.of}.`, false]);
  else if (asked.consistent) said.push([`It is ${/not certified: [^;]*/.exec(result.found.note)?.[0] ?? "not certified"}.`, false]);
  return said;
}

/** How far a job is. */
export function progressText(found, tile) {
  const steps = found.steps.length;
  const step = steps > 1 ? `Step ${tile.step} of ${steps}, ` : "";
  const what = TASKS[found.steps[tile.step - 1]] ?? "working";
  return `${step}${what}: tile ${tile.done} of ${tile.total}`.replace(/^./, (first) => first.toUpperCase());
}

/** The share of a job that is done. */
export function progressShare(found, tile) {
  return (tile.step - 1 + tile.done / tile.total) / found.steps.length;
}

export function megapixels(count) {
  return count >= 1e6 ? `${Math.round(count / 1e6)} megapixels` : `${count.toLocaleString("en")} pixels`;
}

export function megabytes(count) {
  return count >= 1 << 20 ? `${Math.round(count / (1 << 20))} MB` : `${count.toLocaleString("en")} bytes`;
}

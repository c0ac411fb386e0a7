// The page: what people do, and what they see of it.

import { models, prepare } from "./api.js";
import { Picture } from "./picture.js";
import { Viewer } from "./viewer.js";
import { assurances, findings, megabytes, megapixels, progressShare, progressText } from "./words.js";
import { distinct, zip } from "./zip.js";

const AT_ONCE = 2; // of the photographs on this page, so that whoever comes next need not wait for all of them
const $ = (id) => document.getElementById(id);
const pictures = [];
let shown = null;
let limits = null;
const viewer = new Viewer($("viewer"), () => {
  $("zoom").textContent = `${Math.round(viewer.zoom * 100)} %`;
  if (shown?.scene) shown.look(viewer.looking);
});

prepare(async () => {
  const dialog = $("ask-token");
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return $("token").value;
});
models().then((known) => {
  limits = known.limits;
  $("limits").textContent = `PNG, JPEG, WebP, AVIF, HEIC, JPEG XL, GIF, BMP or TIFF, up to ${megabytes(limits.bytes)} and ${megapixels(limits.pixels)}.`;
}).catch(() => {});
if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) {
  $("promise").textContent = "Restore photographs. They do not leave this computer.";
}

// Photographs come in.

function add(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  for (const file of chosen) {
    const picture = new Picture(file, changed);
    picture.asked = options();
    pictures.push(picture);
    strip(picture);
    refuseTooLarge(picture);
    picture.open();
  }
  $("welcome").hidden = true;
  for (const id of ["studio", "add"]) $(id).hidden = false;
  document.body.classList.add("working");
  select(pictures[pictures.length - chosen.length]);
  next();
}

/** Say at once what the service would say after everything was sent. */
function refuseTooLarge(picture) {
  if (limits && picture.file.size > limits.bytes) {
    picture.problem = {
      message: `This file has ${megabytes(picture.file.size)}; this service takes up to ${megabytes(limits.bytes)}.`,
      help: "Save it smaller, or start the service with a larger --max-bytes.",
    };
    picture.state = "failed";
  }
}

/** Begin with the next photographs: the one that is shown first. */
function next() {
  const waiting = pictures.filter((picture) => picture.state === "waiting");
  waiting.sort((a, b) => (b === shown) - (a === shown));
  const free = AT_ONCE - pictures.filter((picture) => picture.busy).length;
  for (const picture of waiting.slice(0, Math.max(0, free))) {
    const { x, y, width, height } = picture === shown && picture.scene ? viewer.looking : { x: 0.5, y: 0.5, ...size() };
    picture.run(picture.asked, `${x.toFixed(4)},${y.toFixed(4)},${width}x${height}`);
  }
}

function size() {
  return { width: Math.min(9999, viewer.canvas.width || 1200), height: Math.min(9999, viewer.canvas.height || 800) };
}

// What to do.

function options() {
  const enlarge = $("enlarge").value;
  const asked = { task: $("task").value };
  const mayEnlarge = asked.task === "restore" || asked.task === "upscale";
  if (mayEnlarge && enlarge === "to" && $("to").value) asked.to = `${$("to").value}x`;
  else if (mayEnlarge && enlarge && enlarge !== "to") asked.scale = enlarge;
  if ($("effort").value) asked.effort = $("effort").value;
  for (const id of ["consistent", "confidence"]) if ($(id).checked) asked[id] = "true";
  return asked;
}

function offer() {
  const task = $("task").value;
  $("enlarge").disabled = task === "dejpeg" || task === "denoise";
  if (task === "upscale" && !$("enlarge").value) $("enlarge").value = "2";
  $("to-row").hidden = $("enlarge").value !== "to" || $("enlarge").disabled;
}

function restart(picture, asked) {
  picture.cancel().then(() => {
    picture.reset();
    Object.assign(picture, { asked, state: "waiting" });
    changed(picture);
    next();
  });
}

for (const id of ["task", "enlarge", "to", "effort", "consistent", "confidence"]) {
  $(id).addEventListener("change", () => {
    offer();
    if (shown && !($("enlarge").value === "to" && !$("to").value)) restart(shown, options());
  });
}
$("for-all").addEventListener("click", () => pictures.forEach((picture) => picture !== shown && restart(picture, options())));
$("cancel").addEventListener("click", () => shown.cancel());
$("again").addEventListener("click", () => restart(shown, options()));
$("strength").addEventListener("input", () => {
  $("strength-shown").textContent = `${$("strength").value} %`;
  viewer.setStrength($("strength").value / 100);
});

// What is seen.

function select(picture) {
  shown = picture;
  if (picture?.asked) {
    $("task").value = picture.asked.task;
    $("enlarge").value = picture.asked.to ? "to" : picture.asked.scale ?? "";
    $("to").value = picture.asked.to ? picture.asked.to.slice(0, -1) : "";
    $("effort").value = picture.asked.effort ?? "";
    for (const id of ["consistent", "confidence"]) $(id).checked = id in picture.asked;
    offer();
  }
  for (const each of pictures) each.choice.setAttribute("aria-current", String(each === picture));
  show();
}

function changed(picture) {
  label(picture);
  if (picture === shown) show();
  else buttons();
  if (!picture.busy) next();
}

function show() {
  const picture = shown;
  if (viewer.scene !== (picture?.scene ?? null)) viewer.show(picture?.scene ?? null);
  else viewer.update();
  $("zoom").textContent = `${Math.round(viewer.zoom * 100)} %`;
  const said = picture?.found ? findings(picture.found, picture.asked.task) : [];
  if (picture?.result) said.push(...assurances(picture.result, picture.asked));
  $("found").replaceChildren(...said.map(([text, done]) => {
    const line = document.createElement("li");
    line.textContent = text;
    line.className = done ? "" : "left";
    return line;
  }));
  $("working").hidden = !picture?.busy && picture?.state !== "waiting";
  $("status").textContent = status(picture);
  const bar = $("progress");
  if (picture?.tile && picture.found) bar.value = progressShare(picture.found, picture.tile);
  else bar.removeAttribute("value");
  const bad = picture?.state === "failed" || picture?.state === "cancelled";
  $("problem").hidden = !bad;
  if (bad) {
    $("problem-detail").textContent = picture.state === "cancelled" ? "You have cancelled this photograph." : picture.problem.message;
    $("problem-help").textContent = picture.problem?.help ?? "";
  }
  notice(picture);
  announce(picture);
  buttons();
}

function status(picture) {
  if (!picture) return "";
  if (picture.tile && picture.found) return progressText(picture.found, picture.tile);
  if (picture.found) return picture.asked.consistent ? "Restoring…" : "Restoring what you see first…";
  return { waiting: "Waits for the others…", sending: "Sending…", running: "Looking at it…" }[picture.state]
    ?? (picture.position ? `Waits: ${picture.position} before it…` : "Waits for its turn…");
}

/** What the stage says about itself. */
function notice(picture) {
  const text = !picture?.scene ? (picture?.state === "failed" ? "This cannot be shown." : "One moment…")
    : picture.state === "running" && picture.found && !picture.scene.patches.length ? status(picture) : "";
  $("notice").hidden = !text;
  $("notice").textContent = text;
}

let announced = "";
function announce(picture) {
  const text = !picture ? "" : picture.state === "done" ? `${picture.name} is restored.`
    : picture.state === "failed" ? `${picture.name}: ${picture.problem.message}`
    : picture.state === "cancelled" ? `${picture.name} is cancelled.`
    : picture.busy ? `${picture.name} is being restored.` : "";
  if (text !== announced) $("live").textContent = announced = text;
}

function buttons() {
  const done = pictures.filter((picture) => picture.state === "done");
  $("download").disabled = shown?.state !== "done";
  for (const id of ["doubt", "download-map"]) $(id).hidden = !shown?.scene?.doubt;
  $("download-all").hidden = done.length < 2;
  $("download-all").textContent = `Download all ${done.length}`;
  $("for-all").hidden = pictures.length < 2;
  $("strip").hidden = pictures.length < 2;
}

// The strip of photographs.

function strip(picture) {
  const item = document.createElement("li");
  const choice = document.createElement("button");
  choice.type = "button";
  choice.className = "choice";
  choice.addEventListener("click", () => select(picture));
  const thumbnail = document.createElement("canvas");
  Object.assign(thumbnail, { width: 208, height: 156 });
  const state = document.createElement("span");
  state.className = "state";
  choice.append(thumbnail, state);
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "remove";
  remove.textContent = "×";
  remove.setAttribute("aria-label", `Remove ${picture.name}`);
  remove.addEventListener("click", () => drop(picture));
  item.append(choice, remove);
  Object.assign(picture, { item, choice, thumbnail, stateLabel: state });
  $("strip").append(item);
  label(picture);
}

function label(picture) {
  if (!picture.choice) return;
  const words = {
    waiting: "waits", sending: "sending", queued: "waits", running: "working", done: "done", failed: "failed", cancelled: "cancelled",
  };
  const share = picture.tile && picture.found && picture.busy ? ` ${Math.round(100 * progressShare(picture.found, picture.tile))} %` : "";
  picture.stateLabel.textContent = words[picture.state] + share;
  picture.choice.setAttribute("aria-label", `${picture.name}, ${words[picture.state]}`);
  const image = picture.scene?.after ?? picture.scene?.before;
  if (image && picture.drawn !== image) {
    picture.drawn = image;
    const { width, height } = picture.thumbnail;
    const scale = Math.max(width / image.width, height / image.height);
    const [w, h] = [width / scale, height / scale];
    picture.thumbnail.getContext("2d").drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, 0, 0, width, height);
  }
}

function drop(picture) {
  picture.cancel();
  picture.item.remove();
  pictures.splice(pictures.indexOf(picture), 1);
  if (shown === picture) select(pictures[0] ?? null);
  if (!pictures.length) {
    for (const id of ["studio", "add", "strip"]) $(id).hidden = true;
    $("welcome").hidden = false;
    document.body.classList.remove("working");
    $("choose").focus();
  }
  buttons();
  next();
}

// Photographs go out.

function format() {
  const how = { format: $("format").value, quality: $("quality").value, strip_metadata: String(!$("metadata").checked) };
  if ($("strength").value !== "100") how.strength = String($("strength").value / 100);
  return how;
}

function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function guarded(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    $("notice").hidden = false;
    $("notice").textContent = $("live").textContent = `${error.message} ${error.help ?? ""}`;
  }
  button.disabled = false;
}

$("download").addEventListener("click", () => guarded($("download"), async () => save(...(await shown.exported(format())))));
$("download-map").addEventListener("click", () => guarded($("download-map"), async () => save(...(await shown.map()))));
$("download-all").addEventListener("click", () => guarded($("download-all"), async () => {
  const done = pictures.filter((picture) => picture.state === "done");
  const made = [];
  for (const picture of done) made.push(await picture.exported(format()));
  const names = distinct(made.map(([name]) => name));
  save("restored.zip", await zip(made.map(([, content], number) => [names[number], content])));
}));
$("format").addEventListener("change", () => ($("quality-row").hidden = !["jpg", "webp"].includes($("format").value)));
$("quality").addEventListener("input", () => ($("quality-shown").textContent = $("quality").value));

// Ways in, and the toolbar.

for (const id of ["choose", "add"]) $(id).addEventListener("click", () => $("files").click());
$("photograph").addEventListener("click", () => $("camera").click());
for (const id of ["files", "camera"]) {
  $(id).addEventListener("change", () => {
    add($(id).files);
    $(id).value = "";
  });
}
addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(event.dataTransfer.files);
});

for (const mode of ["divider", "side"]) {
  $(`mode-${mode}`).addEventListener("click", () => {
    for (const other of ["divider", "side"]) $(`mode-${other}`).setAttribute("aria-pressed", String(other === mode));
    viewer.setMode(mode);
  });
}
$("doubt").addEventListener("click", () => {
  const on = $("doubt").getAttribute("aria-pressed") !== "true";
  $("doubt").setAttribute("aria-pressed", String(on));
  viewer.setDoubt(on);
});
function flip(on) {
  $("flip").setAttribute("aria-pressed", String(on));
  viewer.setFlipped(on);
}
$("flip").addEventListener("pointerdown", () => flip(true));
for (const name of ["pointerup", "pointercancel", "pointerleave", "blur"]) $("flip").addEventListener(name, () => flip(false));
for (const place of [$("flip"), viewer.canvas]) {
  place.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      event.preventDefault();
      flip(true);
    }
  });
  place.addEventListener("keyup", (event) => event.key === " " && flip(false));
}
$("zoom-in").addEventListener("click", () => viewer.zoomTo(viewer.zoom * 1.5));
$("zoom-out").addEventListener("click", () => viewer.zoomTo(viewer.zoom / 1.5));
$("one").addEventListener("click", () => viewer.zoomTo(1));
$("fit").addEventListener("click", () => viewer.fit());
addEventListener("pagehide", () => pictures.forEach((picture) => picture.busy && picture.cancel()));

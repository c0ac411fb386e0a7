// The page: a photograph comes in, the worker restores it, before and after are shown one over the other.
import { enlarged } from "./picture.js";

const get = (id) => document.getElementById(id);
const LARGEST = 16384; // of a canvas's sides, in every browser
let about, worker, job = 0, name = "photograph", saved = "";

/** Once, load the page again through the worker that adds headers, so that threads are allowed; no server need know. */
async function isolate() {
  if (globalThis.crossOriginIsolated || !globalThis.isSecureContext || !navigator.serviceWorker) return;
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  if (sessionStorage.getItem("loaded again")) return;
  sessionStorage.setItem("loaded again", "yes");
  location.reload();
  await new Promise(() => {}); // nothing is begun twice
}

function say(text) {
  get("status").textContent = text;
}

function divide() {
  const at = get("divider").value, canvas = get("after");
  get("stage").style.setProperty("--at", `${at}%`);
  get("line").style.left = `${(at / 100) * canvas.width}px`;
  get("line").style.height = `${canvas.height}px`;
}

/** The pixels of a file, upright, in sRGB; on the way, the picture before is drawn at the size of the result. */
async function decode(file, scale) {
  const image = await createImageBitmap(file);
  const { width, height } = image, result = { width: enlarged(width, scale), height: enlarged(height, scale) };
  if (Math.max(result.width, result.height) > LARGEST) {
    throw new Error(`the result would have a side of more than ${LARGEST} pixels, too many for a browser; msrn restores it`);
  }
  const source = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  source.drawImage(image, 0, 0);
  for (const id of ["before", "after"]) Object.assign(get(id), result);
  get("before").getContext("2d").drawImage(image, 0, 0, result.width, result.height);
  return { width, height, rgba: source.getImageData(0, 0, width, height).data };
}

async function take(file) {
  if (!file || !worker) return;
  const number = ++job, scale = about.enlarges ? Math.min(4, Math.max(1, Number(get("scale").value) || about.scale)) : 1;
  say(`Reading ${file.name} …`);
  try {
    const picture = await decode(file, scale);
    name = file.name.replace(/\.[^.]*$/, "") || "photograph";
    for (const id of ["stage", "tools", "progress", "stop"]) get(id).hidden = false;
    get("save").hidden = true;
    get("progress").value = 0;
    divide();
    say("Restoring …");
    worker.postMessage({ ...picture, job: number, about, scale }, [picture.rgba.buffer]);
  } catch (error) {
    say(`This cannot be restored here: ${error.message}`);
  }
}

const answers = {
  ready({ computes }) {
    get("about").textContent = `${about.weights}; ${computes}; licence ${about.licence}`;
    say("Ready.");
    document.body.dataset.computes = computes;
  },
  part({ share, top, left, width, height, rgba }) {
    if (rgba) get("after").getContext("2d").putImageData(new ImageData(rgba, width, height), left, top);
    get("progress").value = share;
  },
  done({ seconds }) {
    get("progress").hidden = get("stop").hidden = true;
    say(`Restored in ${seconds.toFixed(1)} s.`);
    get("after").toBlob((blob) => {
      URL.revokeObjectURL(saved);
      saved = URL.createObjectURL(blob);
      Object.assign(get("save"), { href: saved, download: `${name}_restored.png`, hidden: false });
    }, "image/png");
  },
  failed({ why }) {
    get("progress").hidden = get("stop").hidden = true;
    say(`This failed: ${why}`);
  },
};

function listen() {
  get("file").addEventListener("change", (event) => take(event.target.files[0]));
  get("divider").addEventListener("input", divide);
  get("stop").addEventListener("click", () => {
    job++;
    worker.postMessage({ kind: "stop" });
    get("progress").hidden = get("stop").hidden = true;
    say("Stopped.");
  });
  addEventListener("paste", (event) => take(event.clipboardData.files[0]));
  addEventListener("dragover", (event) => { event.preventDefault(); get("drop").classList.add("over"); });
  addEventListener("dragleave", () => get("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    get("drop").classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
}

async function begin() {
  await isolate().catch(() => {}); // without threads, it only takes longer
  about = await (await fetch("model.json")).json();
  get("says").textContent = about.says;
  get("scale").value = about.scale;
  get("factor").hidden = !about.enlarges;
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => (data.job === undefined || data.job === job || data.job === 0) && answers[data.kind](data);
  worker.onerror = (event) => say(`This failed: ${event.message ?? "the network cannot be loaded"}`);
  listen();
}

begin().catch((error) => say(`This failed: ${error.message}`));

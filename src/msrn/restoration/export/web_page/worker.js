// Restores beside the page, which stays usable meanwhile.
import { open } from "./engine.js";
import { bytesOf, planesOf, restore } from "./picture.js";

let engine, wanted = 0;

async function work({ job, rgba, height, width, about, scale }) {
  wanted = job;
  const began = performance.now();
  const emit = (part, share) => {
    if (wanted !== job) return false;
    const data = part && bytesOf(part.rgb);
    postMessage({ kind: "part", job, share, ...part, rgb: undefined, rgba: data }, data ? [data.buffer] : []);
    return true;
  };
  const ended = await restore(engine.run, planesOf(rgba), height, width, about, scale, engine.side, emit);
  if (ended) postMessage({ kind: "done", job, seconds: (performance.now() - began) / 1000 });
}

onmessage = ({ data }) => {
  if (data.kind === "stop") wanted = 0;
  else work(data).catch((error) => postMessage({ kind: "failed", job: data.job, why: error.message }));
};

open().then(
  (opened) => {
    engine = opened;
    postMessage({ kind: "ready", computes: engine.computes });
  },
  (error) => postMessage({ kind: "failed", job: 0, why: error.message }),
);

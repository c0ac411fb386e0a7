// One photograph on its way: sent, followed, and shown as far as it is.

import { begin, blob, events, forget, look, Refusal } from "./api.js";

const SUFFIX = /\.[^.]*$/;

export class Picture {
  /**
   * @param file as it was chosen
   * @param changed is called whenever there is something new to show
   */
  constructor(file, changed) {
    Object.assign(this, { file, changed });
    this.name = file.name || "photograph.png";
    this.state = "waiting"; // sending, queued, running, done, failed or cancelled follow
    this.scene = null;
    this.reset();
  }

  reset() {
    Object.assign(this, { job: null, found: null, tile: null, problem: null, position: 0, result: null });
    if (this.scene) Object.assign(this.scene, { after: null, doubt: null, patches: [] });
  }

  /** Decode it here, if the browser can; else it is shown when the service has. */
  async open() {
    try {
      this.#shows(await createImageBitmap(this.file));
    } catch {
      // Such as TIFF. If it is no picture at all, the service says so.
    }
  }

  /** Have it restored. */
  async run(options, view) {
    await this.cancel();
    this.reset();
    this.options = options;
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.#is("sending");
    try {
      const asked = view ? { ...options, view } : options;
      const job = await this.#begun(asked, signal);
      this.job = job.id;
      this.position = job.position;
      this.#is("queued");
      for await (const [name, data] of events(job.id, signal)) {
        if (signal.aborted) return;
        await this.#happened(name, data, signal);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.problem = error instanceof Refusal ? error : { message: String(error), help: "" };
      this.#is("failed");
    }
  }

  /** Stop it after the tile at hand, and have the service forget it. */
  async cancel() {
    this.stop?.abort();
    if (this.job) await forget(this.job);
    this.job = null;
    if (["sending", "queued", "running"].includes(this.state)) this.#is("cancelled");
  }

  get busy() {
    return ["sending", "queued", "running"].includes(this.state);
  }

  look(view) {
    if (this.job && this.state === "running" && this.found) look(this.job, view);
  }

  /** The restored photograph's file, and a name for it. */
  async exported(how) {
    const { format } = how;
    const content = await blob(`/v1/jobs/${this.job}/result?${new URLSearchParams(how)}`);
    return [`${this.name.replace(SUFFIX, "")}_restored.${format}`, content];
  }

  /** The map of where it may be wrong, and a name for it. */
  async map() {
    return [`${this.name.replace(SUFFIX, "")}_confidence.png`, await blob(this.result.confidence_map)];
  }

  /** Send it; a full service is asked again when it says so. */
  async #begun(options, signal) {
    for (;;) {
      try {
        return await begin(this.file, options, signal);
      } catch (error) {
        if (error.status !== 429) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(30, error.retryAfter || 2)));
        if (signal.aborted) throw error;
      }
    }
  }

  async #happened(name, data, signal) {
    if (name === "running") this.#is("running");
    else if (name === "decoded") {
      if (!this.scene) this.#shows(await createImageBitmap(await blob(`/v1/jobs/${this.job}/original`)));
    } else if (name === "found") {
      this.found = data;
      if (this.scene) Object.assign(this.scene, { width: data.width, height: data.height });
      this.changed(this);
    } else if (name === "preview") this.#preview(data, signal);
    else if (name === "tile") {
      this.tile = data;
      this.changed(this);
    } else if (name === "done") {
      this.found ??= data.found;
      if (!this.scene) this.#shows(await createImageBitmap(await blob(`/v1/jobs/${this.job}/original`)));
      const image = await createImageBitmap(await blob(data.result));
      const doubt = data.confidence_map ? await createImageBitmap(await blob(data.confidence_map)) : null;
      if (signal.aborted) return;
      Object.assign(this.scene, { after: image, doubt, width: image.width, height: image.height, patches: [] });
      this.result = data;
      this.#is("done");
    } else if (name === "failed") {
      this.problem = new Refusal(data.problem);
      this.#is("failed");
    } else if (name === "cancelled") this.#is("cancelled");
  }

  /** A part of the result; it is shown as soon as it is here. */
  async #preview(place, signal) {
    try {
      const image = await createImageBitmap(await blob(place.address));
      if (signal.aborted || this.scene?.after) return;
      this.scene.patches.push({ ...place, image });
      this.changed(this);
    } catch {
      // The whole result has come first.
    }
  }

  #shows(image) {
    const { width, height } = this.found ?? image;
    this.scene = { before: image, after: null, doubt: null, patches: [], width, height, view: null };
    this.changed(this);
  }

  #is(state) {
    this.state = state;
    this.changed(this);
  }
}

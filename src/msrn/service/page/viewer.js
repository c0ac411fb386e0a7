// Two pictures on a canvas: a divider or side by side, zoomed and moved in step, pixel for pixel above 1:1.

const MOST = 32;
const EDGE = 22; // of the divider's handle: it stays within reach, wherever the picture is
const LOUPE = 132;
const LOUPE_ZOOM = 4;
const HOLD = 350;

export class Viewer {
  /**
   * @param root holds the canvas, the divider and the labels
   * @param told is called with what is looked at whenever that has changed and rests
   */
  constructor(root, told) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.divider = root.querySelector("#divider");
    this.labels = [root.querySelector("#label-before"), root.querySelector("#label-after")];
    this.told = told;
    this.mode = "divider";
    this.split = 0.5;
    this.strength = 1;
    this.flipped = false;
    this.doubt = false;
    this.loupe = null;
    this.scene = null;
    this.pointers = new Map();
    this.drawn = 0;
    new ResizeObserver(() => this.#resized()).observe(root);
    this.#listen();
  }

  /** Show a picture: {before, after, doubt, patches, width, height, view}, of which view is remembered for it. */
  show(scene) {
    this.scene = scene;
    if (scene && !scene.view) scene.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.loupe = null;
    this.update();
  }

  /** Draw again at the next opportunity. */
  update() {
    if (this.drawn) return;
    this.drawn = requestAnimationFrame(() => {
      this.drawn = 0;
      this.#draw();
    });
  }

  setMode(mode) {
    this.mode = mode;
    this.update();
    this.#tell();
  }

  setStrength(strength) {
    this.strength = strength;
    this.update();
  }

  /** Show the map of where the result may be wrong in its place, if there is one. */
  setDoubt(doubt) {
    this.doubt = doubt;
    this.update();
  }

  setFlipped(flipped) {
    this.flipped = flipped;
    this.update();
  }

  /** Zoom is in pixels of the screen for a pixel of the result. */
  get zoom() {
    return this.scene?.view.zoom ?? 1;
  }

  zoomTo(zoom, at = null) {
    if (!this.scene) return;
    const view = this.scene.view;
    const next = Math.min(MOST, Math.max(Math.min(this.#fitting(), 1) / 2, zoom));
    const [pane] = this.#panes();
    const x = at ? at.x - pane.x - pane.width / 2 : 0;
    const y = at ? at.y - pane.y - pane.height / 2 : 0;
    view.x += (x / view.zoom - x / next) / this.scene.width;
    view.y += (y / view.zoom - y / next) / this.scene.height;
    view.zoom = next;
    this.#moved();
  }

  fit() {
    if (!this.scene) return;
    Object.assign(this.scene.view, { x: 0.5, y: 0.5, zoom: this.#fitting() });
    this.#moved();
  }

  panBy(x, y) {
    if (!this.scene) return;
    const view = this.scene.view;
    view.x -= x / view.zoom / this.scene.width;
    view.y -= y / view.zoom / this.scene.height;
    this.#moved();
  }

  /** What is looked at, as the service takes it. */
  get looking() {
    const [pane] = this.#panes();
    const { x, y, zoom } = this.scene.view;
    const side = (length) => Math.min(9999, Math.max(1, Math.ceil(length / zoom)));
    return { x, y, width: side(pane.width), height: side(pane.height) };
  }

  #fitting() {
    const [pane] = this.#panes();
    return Math.min(pane.width / this.scene.width, pane.height / this.scene.height);
  }

  /** Where pictures are drawn, in pixels of the canvas: one place with a divider, two side by side. */
  #panes() {
    const { width, height } = this.canvas;
    if (this.mode !== "side") return [{ x: 0, y: 0, width, height }];
    const gap = 2;
    if (width < height) {
      const half = Math.floor((height - gap) / 2);
      return [{ x: 0, y: 0, width, height: half }, { x: 0, y: half + gap, width, height: half }];
    }
    const half = Math.floor((width - gap) / 2);
    return [{ x: 0, y: 0, width: half, height }, { x: half + gap, y: 0, width: half, height }];
  }

  #resized() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.root.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.#moved();
  }

  #moved() {
    if (this.scene) {
      const [pane] = this.#panes();
      const view = this.scene.view;
      for (const [axis, side, length] of [["x", "width", pane.width], ["y", "height", pane.height]]) {
        // What is larger than its place covers it; what is smaller is in the middle.
        const half = length / view.zoom / this.scene[side] / 2;
        view[axis] = half >= 0.5 ? 0.5 : Math.min(1 - half, Math.max(half, view[axis]));
      }
    }
    this.update();
    this.#tell();
  }

  #tell() {
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.scene && this.told(), 180);
  }

  #draw() {
    const { context, canvas, scene } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    const divided = this.mode === "divider" && !this.flipped;
    this.divider.hidden = !scene || !divided;
    const [first, second] = this.labels;
    first.hidden = !scene;
    second.hidden = !scene || this.flipped;
    second.textContent = this.doubt && scene?.doubt ? "Likely error" : "After";
    if (!scene) return;
    const panes = this.#panes();
    const ratio = canvas.width / Math.max(1, this.root.clientWidth);
    if (this.mode === "side") {
      this.#paint(panes[0], panes[0], false);
      this.#paint(panes[1], panes[1], !this.flipped);
    } else {
      const cut = this.flipped ? canvas.width : Math.round(this.#cut() * ratio);
      this.#paint(panes[0], { x: 0, y: 0, width: cut, height: canvas.height }, false);
      this.#paint(panes[0], { x: cut, y: 0, width: canvas.width - cut, height: canvas.height }, true);
      this.divider.style.left = `${cut / ratio}px`;
      this.divider.setAttribute("aria-valuenow", String(Math.round(this.split * 100)));
    }
    this.#place(panes, ratio);
    if (this.loupe) this.#paintLoupe(ratio);
  }

  /** The labels, each at its picture. */
  #place(panes, ratio) {
    const stacked = this.mode === "side" && panes[1].y > 0;
    this.labels[1].style.top = stacked ? `${panes[1].y / ratio + 12}px` : "";
    if (this.mode === "divider") {
      const cut = this.#cut();
      this.labels[0].style.visibility = this.flipped || cut > 90 ? "" : "hidden";
      this.labels[1].style.visibility = this.root.clientWidth - cut > 90 ? "" : "hidden";
    } else for (const label of this.labels) label.style.visibility = "";
  }

  /** Where the divider is, in CSS pixels: always within reach. */
  #cut() {
    const width = this.root.clientWidth;
    return Math.min(width - EDGE, Math.max(EDGE, this.split * width));
  }

  /** One of the two pictures, where `pane` has it, within `clip`. */
  #paint(pane, clip, after, view = this.scene.view) {
    const { context, scene } = this;
    if (clip.width <= 0 || clip.height <= 0) return;
    context.save();
    context.beginPath();
    context.rect(clip.x, clip.y, clip.width, clip.height);
    context.clip();
    const left = pane.x + pane.width / 2 - view.x * scene.width * view.zoom;
    const top = pane.y + pane.height / 2 - view.y * scene.height * view.zoom;
    // On whole pixels, so that 1:1 is 1:1.
    const place = { left: Math.round(left), top: Math.round(top), zoom: view.zoom, clip };
    this.#paintImage(scene.before, place, 0, 0, scene.width, scene.height, scene.width > scene.before.width);
    if (after && this.doubt && scene.doubt) this.#paintImage(scene.doubt, place, 0, 0, scene.width, scene.height, false);
    else if (after) {
      context.globalAlpha = this.strength;
      if (scene.after) this.#paintImage(scene.after, place, 0, 0, scene.width, scene.height, false);
      else for (const patch of scene.patches) this.#paintImage(patch.image, place, patch.left, patch.top, patch.width, patch.height, false);
    }
    context.restore();
  }

  /** The visible part of an image that covers a rectangle of the result. */
  #paintImage(image, place, left, top, width, height, enlarged) {
    const { context } = this;
    const { zoom, clip } = place;
    const x0 = Math.max(left, Math.floor((clip.x - place.left) / zoom) - 1);
    const y0 = Math.max(top, Math.floor((clip.y - place.top) / zoom) - 1);
    const x1 = Math.min(left + width, Math.ceil((clip.x + clip.width - place.left) / zoom) + 1);
    const y1 = Math.min(top + height, Math.ceil((clip.y + clip.height - place.top) / zoom) + 1);
    if (x1 <= x0 || y1 <= y0) return;
    const sx = image.width / width;
    const sy = image.height / height;
    const source = [(x0 - left) * sx, (y0 - top) * sy, (x1 - x0) * sx, (y1 - y0) * sy];
    const target = [place.left + x0 * zoom, place.top + y0 * zoom, (x1 - x0) * zoom, (y1 - y0) * zoom];
    context.imageSmoothingQuality = "high";
    if (enlarged && zoom > 1) {
      // As large as the result first, smoothly, and only then in visible pixels.
      const between = new OffscreenCanvas(x1 - x0, y1 - y0);
      const inner = between.getContext("2d");
      inner.imageSmoothingQuality = "high";
      inner.drawImage(image, ...source, 0, 0, x1 - x0, y1 - y0);
      context.imageSmoothingEnabled = false;
      context.drawImage(between, ...target);
      return;
    }
    context.imageSmoothingEnabled = zoom < 1 || enlarged;
    context.drawImage(image, ...source, ...target);
  }

  /** Before and after, enlarged, above the finger. */
  #paintLoupe(ratio) {
    const { context, canvas, scene } = this;
    const size = LOUPE * ratio;
    const [pane] = this.#panes();
    const finger = { x: this.loupe.x * ratio, y: this.loupe.y * ratio };
    const at = {
      x: scene.view.x + (finger.x - pane.x - pane.width / 2) / scene.view.zoom / scene.width,
      y: scene.view.y + (finger.y - pane.y - pane.height / 2) / scene.view.zoom / scene.height,
      zoom: Math.max(scene.view.zoom, ratio) * LOUPE_ZOOM,
    };
    const left = Math.min(canvas.width - 2 * size - 8, Math.max(8, finger.x - size));
    const above = finger.y - size - 48 * ratio;
    const top = above > 8 ? above : finger.y + 48 * ratio;
    for (const [number, after] of [[0, false], [1, true]]) {
      const pane = { x: left + number * size, y: top, width: size, height: size };
      context.fillStyle = "#808080";
      context.fillRect(pane.x, pane.y, size, size);
      this.#paint(pane, pane, after, at);
      context.strokeStyle = "#ffffff";
      context.lineWidth = 2 * ratio;
      context.strokeRect(pane.x, pane.y, size, size);
    }
  }

  #listen() {
    const { canvas, root, divider } = this;
    const where = (event) => {
      const box = root.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const ratio = () => canvas.width / Math.max(1, root.clientWidth);
    const onCanvas = (point) => ({ x: point.x * ratio(), y: point.y * ratio() });

    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, where(event));
      canvas.classList.add("moving");
      clearTimeout(this.holding);
      if (event.pointerType === "touch" && this.pointers.size === 1) {
        this.holding = setTimeout(() => {
          this.loupe = this.pointers.get(event.pointerId) ?? null;
          this.update();
        }, HOLD);
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before || !this.scene) return;
      const now = where(event);
      const moved = Math.hypot(now.x - before.x, now.y - before.y);
      if (this.loupe) {
        this.loupe = now;
        this.pointers.set(event.pointerId, now);
        this.update();
        return;
      }
      if (event.pointerType === "touch" && moved < 6 && this.pointers.size === 1) return;
      clearTimeout(this.holding);
      if (this.pointers.size === 2) {
        const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
        const distance = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
        this.zoomTo(this.zoom * (distance(now) / distance(before)), onCanvas({ x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 }));
        this.panBy(((now.x - before.x) * ratio()) / 2, ((now.y - before.y) * ratio()) / 2);
      } else this.panBy((now.x - before.x) * ratio(), (now.y - before.y) * ratio());
      this.pointers.set(event.pointerId, now);
    });
    const released = (event) => {
      clearTimeout(this.holding);
      this.pointers.delete(event.pointerId);
      canvas.classList.toggle("moving", this.pointers.size > 0);
      if (this.loupe) {
        this.loupe = null;
        this.update();
      }
    };
    canvas.addEventListener("pointerup", released);
    canvas.addEventListener("pointercancel", released);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomTo(this.zoom * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), onCanvas(where(event)));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => {
      if (Math.abs(this.zoom - 1) < 0.01) this.fit();
      else this.zoomTo(1, onCanvas(where(event)));
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));

    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      this.grasped = true;
    });
    divider.addEventListener("pointermove", (event) => {
      if (this.grasped) this.#divide(where(event).x / root.clientWidth);
    });
    for (const name of ["pointerup", "pointercancel"]) divider.addEventListener(name, () => (this.grasped = false));
    divider.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1 };
      if (event.key in steps) this.#divide(this.split + steps[event.key]);
      else if (event.key === "Home") this.#divide(0);
      else if (event.key === "End") this.#divide(1);
      else return;
      event.preventDefault();
    });
  }

  #divide(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.update();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 80;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key in moves) this.panBy(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
    else if (event.key === "1") this.zoomTo(1);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }
}

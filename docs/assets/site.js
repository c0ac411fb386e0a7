// Every .compare holds two images, before and after: a slider says how much of each is seen.
function compare(box) {
  const [before, after] = box.querySelectorAll("img");
  if (!before || !after || box.classList.contains("ready")) return;
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, value: 50, step: 0.5 });
  slider.setAttribute("aria-label", `How much is seen of: ${before.alt}; the rest: ${after.alt}`);
  const divider = document.createElement("div");
  divider.className = "divider";
  slider.addEventListener("input", () => box.style.setProperty("--at", `${slider.value}%`));
  box.append(slider, divider, ...["before", "after"].map((name) => {
    const label = document.createElement("span");
    label.className = `name ${name}`;
    label.textContent = name;
    return label;
  }));
  box.classList.add("ready");
}
document.querySelectorAll(".compare").forEach(compare);
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
// Tables that scroll sideways can be scrolled by keys, too. The theme makes their boxes after this.
function focusable() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) box.tabIndex = 0;
}
focusable();
new MutationObserver(focusable).observe(document.body, { childList: true, subtree: true });

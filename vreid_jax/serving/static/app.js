"use strict";
(() => {
  // Films: a tap makes one walk where there is no pointer to hover with; arrow keys move along a list of cards.
  const cards = [...document.querySelectorAll(".cards .item, .row .item")];
  for (const card of cards) {
    card.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const list = [...card.closest("ol").querySelectorAll(".item")];
      const next = list[list.indexOf(card) + step];
      if (next) { next.focus(); event.preventDefault(); }
    });
  }
  for (const item of document.querySelectorAll(".item[tabindex]")) {
    item.addEventListener("click", () => item.classList.toggle("playing"));
  }
  // Without a pointer that hovers, what is in the middle of the screen walks.
  if (matchMedia("(hover: none)").matches) {
    const watch = new IntersectionObserver(entries => {
      for (const entry of entries) entry.target.classList.toggle("playing", entry.isIntersecting);
    }, { rootMargin: "-20% 0px" });
    for (const card of cards) watch.observe(card);
  }
  const fold = document.querySelector("details.fold");
  if (fold && matchMedia("(max-width: 48rem)").matches) fold.open = false;

  // Side by side: play both, or show one frame of both.
  const pair = document.querySelector(".pair"), play = document.querySelector("#play"), frame = document.querySelector("#frame");
  if (pair) {
    play.hidden = document.querySelector("#frames").hidden = false;
    const set = on => { pair.classList.toggle("playing", on); play.setAttribute("aria-pressed", String(on)); };
    play.addEventListener("click", () => set(!pair.classList.contains("playing")));
    const show = () => {
      set(false);
      for (const picture of pair.querySelectorAll("img")) picture.style.transform = `translateX(${-12.5 * frame.value}%)`;
    };
    frame.addEventListener("input", show);
  }

  // An upload: a preview, and the rectangle drawn in it, whose numbers are in the form.
  const form = document.querySelector("form.upload");
  if (!form) return;
  const file = form.querySelector("#file"), preview = form.querySelector("#preview"), part = form.querySelector("#part");
  const fields = ["left", "top", "width", "height"].map(name => form.elements[name]);
  form.querySelector("#hint").hidden = false;
  const draw = () => {
    const [left, top, width, height] = fields.map(field => Number(field.value));
    part.hidden = left === 0 && top === 0 && width === 100 && height === 100;
    for (const [name, value] of Object.entries({ left, top, width, height })) part.style[name] = `${value}%`;
  };
  for (const field of fields) field.addEventListener("input", draw);
  let address = "";
  file.addEventListener("change", () => {
    preview.querySelector("img, video")?.remove();
    if (address) URL.revokeObjectURL(address);
    const [chosen] = file.files;
    preview.hidden = !chosen;
    if (!chosen) return;
    const shown = document.createElement(chosen.type.startsWith("video/") ? "video" : "img");
    shown.src = address = URL.createObjectURL(chosen);
    if (shown.tagName === "IMG") shown.alt = "the picture that was chosen"; else { shown.muted = true; shown.preload = "auto"; }
    shown.addEventListener("error", () => { preview.hidden = true; });
    preview.prepend(shown);
    [0, 0, 100, 100].forEach((value, place) => { fields[place].value = value; });
    draw();
  });
  let from = null;
  const at = event => {
    const box = preview.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map(share => 100 * Math.min(1, Math.max(0, share)));
  };
  preview.addEventListener("pointerdown", event => { from = at(event); preview.setPointerCapture(event.pointerId); });
  preview.addEventListener("pointermove", event => {
    if (!from) return;
    const to = at(event), low = [0, 1].map(axis => Math.min(from[axis], to[axis], 99));
    const size = [0, 1].map(axis => Math.max(1, Math.abs(from[axis] - to[axis])));
    [...low, ...size].forEach((value, place) => { fields[place].value = value.toFixed(1); });
    draw();
  });
  addEventListener("pointerup", () => { from = null; });
  form.addEventListener("submit", () => { form.querySelector("#busy").textContent = "Searching…"; });
})();

"use strict";
(() => {
  const queries = [...document.querySelectorAll(".query")];
  const buttons = [...document.querySelectorAll("button[data-show]")];
  const camera = document.querySelector("#camera");
  const shown = document.querySelector("#shown");
  if (!queries.length) return;
  const apply = () => {
    const [show = "all", cam = ""] = decodeURIComponent(location.hash.replace(/^#show=?/, "")).split(",");
    const known = (show === "all" || buttons.some(b => b.dataset.show === show)) && location.hash.startsWith("#show=");
    const want = known ? show : "all", from = known ? cam : "";
    let count = 0;
    for (const query of queries) {
      const fits = (want === "all" || query.dataset.kind.split(" ").includes(want)) && (!from || query.dataset.camera.split(" ").includes(from));
      query.hidden = !fits;
      count += fits;
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.show === want));
    camera.value = from;
    shown.textContent = `${count} of ${queries.length} ${shown.dataset.of ?? "lists"}`;
  };
  const go = (show, cam) => { history.replaceState(null, "", `#show=${show},${cam}`); apply(); };
  const current = () => buttons.find(b => b.getAttribute("aria-pressed") === "true")?.dataset.show ?? "all";
  for (const button of buttons) button.addEventListener("click", () => go(button.dataset.show, camera.value));
  camera.addEventListener("change", () => go(current(), camera.value));
  for (const item of document.querySelectorAll(".item")) {
    item.addEventListener("click", () => item.classList.toggle("playing"));
    item.addEventListener("keydown", event => {
      const next = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
      if (next && item[next]) { item[next].focus(); event.preventDefault(); }
    });
  }
  for (const bar of document.querySelectorAll(".bar")) {
    const item = document.getElementById(bar.hash.slice(1));
    const light = on => { for (const one of [bar, item]) one.classList.toggle("lit", on); };
    for (const one of [bar, item]) {
      for (const name of ["pointerenter", "focus"]) one.addEventListener(name, () => light(true));
      for (const name of ["pointerleave", "blur"]) one.addEventListener(name, () => light(false));
    }
    bar.addEventListener("pointerenter", () => item.parentElement.scrollTo({ left: item.offsetLeft - item.parentElement.offsetLeft - 60 }));
    bar.addEventListener("click", event => { item.focus(); event.preventDefault(); });
  }
  addEventListener("hashchange", apply);
  apply();
})();

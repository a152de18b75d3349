"use strict";
(() => {
  document.documentElement.classList.add("live");
  let playing = null;
  const stop = () => {
    if (!playing) return;
    playing.audio.pause();
    playing.button.classList.remove("on");
    playing.button.setAttribute("aria-pressed", "false");
    playing = null;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".play");
    if (!button) return;
    const again = playing && playing.button === button;
    stop();
    if (again) return;
    const audio = new Audio(button.dataset.sound);
    playing = { audio, button };
    button.classList.add("on");
    button.setAttribute("aria-pressed", "true");
    audio.onended = stop;
    audio.play().catch(stop);
  });

  const holder = document.querySelector(".map");
  if (holder) {
    const data = JSON.parse(document.getElementById("map-data").textContent);
    const svg = holder.querySelector("svg"), tip = holder.querySelector(".tip"), tile = tip.querySelector(".tile");
    const words = tip.querySelector("span"), where = tip.querySelector("small"), said = document.getElementById("map-said");
    const circles = [...svg.querySelectorAll("circle")];
    // our own tip says it; the browser's would lie over it
    const titles = circles.map((circle) => { const title = circle.firstElementChild; title.remove(); return title.textContent; });
    const [wide, tall] = data.tile, scale = 130 / wide, rows = Math.ceil(data.points.length / data.columns);
    if (tile) {
      tile.style.height = tall * scale + "px";
      tile.style.backgroundSize = data.columns * wide * scale + "px " + rows * tall * scale + "px";
    }
    let chosen = -1, hit = -1;
    const open = (group) => chosen < 0 || group === chosen;

    const show = (index) => {
      if (hit >= 0) circles[hit].classList.remove("hit");
      hit = index;
      if (index < 0) { tip.style.display = "none"; said.textContent = ""; return; }
      const box = svg.getBoundingClientRect();
      circles[index].classList.add("hit");
      const [x, y, group, fresh] = data.points[index];
      if (tile) {
        const column = index % data.columns, row = Math.floor(index / data.columns);
        tile.style.backgroundPosition = -column * wide * scale + "px " + -row * tall * scale + "px";
      }
      words.textContent = titles[index];
      where.textContent = (data.groups[group] || "") + (fresh ? " · new: nobody in training saw it" : "");
      said.textContent = words.textContent + ", " + where.textContent;
      tip.style.display = "block";
      const left = (x / 100) * box.width, top = (y / data.height) * box.height;
      tip.style.left = Math.max(0, Math.min(box.width - 150, left + (left > box.width / 2 ? -162 : 14))) + "px";
      tip.style.top = Math.max(0, Math.min(box.height - tip.offsetHeight, top - tip.offsetHeight / 2)) + "px";
    };
    const nearest = (px, py, within) => {
      let best = -1, least = within;
      data.points.forEach(([x, y, group], index) => {
        if (!open(group)) return;
        const far = (x - px) ** 2 + (y - py) ** 2;
        if (far < least) { least = far; best = index; }
      });
      return best;
    };
    const move = (event) => {
      const box = svg.getBoundingClientRect();
      const px = ((event.clientX - box.left) / box.width) * 100, py = ((event.clientY - box.top) / box.height) * data.height;
      show(nearest(px, py, 16));
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && svg !== document.activeElement) show(-1); });
    const first = () => nearest(50, data.height / 2, Infinity);
    svg.addEventListener("focus", () => { if (hit < 0 && svg.matches(":focus-visible")) show(first()); });
    svg.addEventListener("blur", () => show(-1));
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { show(-1); return; }
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      if (hit < 0) { show(first()); return; }
      const [x0, y0] = data.points[hit], [dx, dy] = step;
      // the nearest that way; what lies aside counts as further, so that a walk goes straight and still reaches all
      let next = -1, least = Infinity;
      data.points.forEach(([x, y, group], index) => {
        const along = (x - x0) * dx + (y - y0) * dy, across = (x - x0) * dy - (y - y0) * dx;
        if (!open(group) || along <= 0) return;
        const far = along ** 2 + 4 * across ** 2;
        if (far < least) { least = far; next = index; }
      });
      if (next >= 0) show(next);
    });
    const buttons = [...document.querySelectorAll(".legend button")];
    buttons.forEach((button, index) => button.addEventListener("click", () => {
      chosen = chosen === index ? -1 : index;
      svg.classList.toggle("dim", chosen >= 0);
      circles.forEach((circle, at) => circle.classList.toggle("on", data.points[at][2] === chosen));
      buttons.forEach((other, at) => other.setAttribute("aria-pressed", at === chosen));
      show(-1);
    }));
  }
  document.documentElement.dataset.ready = "yes";
})();

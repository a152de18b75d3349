"use strict";
(() => {
  let playing = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".play");
    if (!button) return;
    const again = playing && playing.button === button;
    if (playing) { playing.audio.pause(); playing.button.classList.remove("on"); playing = null; }
    if (again) return;
    const audio = new Audio(button.dataset.sound);
    playing = { audio, button };
    button.classList.add("on");
    audio.onended = () => { button.classList.remove("on"); if (playing && playing.button === button) playing = null; };
    audio.play().catch(() => button.classList.remove("on"));
  });

  const holder = document.querySelector(".map");
  if (!holder) return;
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const svg = holder.querySelector("svg"), tip = holder.querySelector(".tip"), tile = tip.querySelector(".tile");
  const words = tip.querySelector("span"), where = tip.querySelector("small");
  const circles = [...svg.querySelectorAll("circle")];
  const [wide, tall] = data.tile, scale = 130 / wide, rows = Math.ceil(data.points.length / data.columns);
  tile.style.height = tall * scale + "px";
  tile.style.backgroundSize = data.columns * wide * scale + "px " + rows * tall * scale + "px";
  let chosen = -1, hit = -1;

  const show = (index, box) => {
    if (hit >= 0) circles[hit].classList.remove("hit");
    hit = index;
    if (index < 0) { tip.style.display = "none"; return; }
    circles[index].classList.add("hit");
    const [x, y, group, fresh, title] = data.points[index];
    const column = index % data.columns, row = Math.floor(index / data.columns);
    tile.style.backgroundPosition = -column * wide * scale + "px " + -row * tall * scale + "px";
    words.textContent = title;
    where.textContent = data.groups[group] + (fresh ? " · new: nobody in training saw it" : "");
    tip.style.display = "block";
    const left = (x / 100) * box.width, top = (y / data.height) * box.height;
    tip.style.left = Math.max(0, Math.min(box.width - 150, left + (left > box.width / 2 ? -162 : 14))) + "px";
    tip.style.top = Math.max(0, Math.min(box.height - tip.offsetHeight, top - tip.offsetHeight / 2)) + "px";
  };
  const move = (event) => {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * 100, py = ((event.clientY - box.top) / box.height) * data.height;
    let best = -1, least = 16;
    data.points.forEach(([x, y, group], index) => {
      if (chosen >= 0 && group !== chosen) return;
      const far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least) { least = far; best = index; }
    });
    show(best, box);
  };
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(-1); });
  document.querySelectorAll(".legend button").forEach((button, index) => button.addEventListener("click", () => {
    chosen = chosen === index ? -1 : index;
    svg.classList.toggle("dim", chosen >= 0);
    circles.forEach((circle, at) => circle.classList.toggle("on", data.points[at][2] === chosen));
    document.querySelectorAll(".legend button").forEach((other, at) => other.setAttribute("aria-pressed", at === chosen));
    show(-1);
  }));
  document.documentElement.dataset.ready = "yes";
})();

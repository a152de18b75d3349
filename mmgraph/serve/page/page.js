"use strict";
const at = (id) => document.getElementById(id);
const made = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text; // never as HTML: titles come from outside
  if (kind) node.className = kind;
  return node;
};
let modalities = {};
const accepts = { image: "image/jpeg,image/png,image/webp", audio: "audio/wav,audio/mpeg,audio/ogg,audio/flac" };
const words = { image: "A picture", audio: "A sound", text: "A text" };
const patience = 60, pause = 500; // seconds until a medium is given up on, milliseconds between two looks

async function call(method, path, body, type = "application/json") {
  const headers = {};
  if (body !== undefined) headers["content-type"] = type;
  if (at("key").value) headers.authorization = `Bearer ${at("key").value}`;
  const sent = body === undefined || type !== "application/json" ? body : JSON.stringify(body);
  const answer = await fetch(path, { method, headers, body: sent });
  if (answer.status === 401) at("key-label").hidden = false;
  if (answer.status === 204) return null;
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.detail || answer.statusText);
  return found;
}

function say(id, text, wrong) {
  at(id).textContent = text;
  at(id).classList.toggle("wrong", Boolean(wrong));
}

function colour(text) {
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return `linear-gradient(135deg, hsl(${sum} 60% 45%), hsl(${(sum + 60) % 360} 60% 35%))`;
}

function reason(item) {
  const why = item.because;
  if (item.source === "popular") return "popular lately";
  if (!why) return "";
  const shared = Object.entries(why.shared || {}).map(([name, values]) => `${name} ${values.join(", ")}`);
  const also = shared.length ? `, both ${shared.join("; ")}` : "";
  return `like “${why.title || why.video}”, which this user clicked (${why.likeness.toFixed(2)})${also}`;
}

function card(item, user) {
  const node = made("li");
  node.dataset.video = item.video;
  const tile = made("div", (item.title || item.video).slice(0, 1).toUpperCase(), "tile");
  tile.style.background = colour(item.video);
  tile.setAttribute("aria-hidden", "true");
  const words = made("div", undefined, "words");
  words.append(made("h3", item.title || item.video));
  const facts = made("p", undefined, "quiet");
  facts.append(made("span", item.source, `mark ${item.source}`), `${item.video} · ${item.score.toFixed(3)}`);
  words.append(facts, made("p", reason(item), "quiet"));
  const acts = made("div", undefined, "acts");
  const act = (name, work) => {
    const button = made("button", name);
    button.type = "button";
    button.addEventListener("click", () => work().then(ask).catch((error) => say("about", error.message, true)));
    acts.append(button);
  };
  if (user) {
    for (const type of ["click", "like", "skip"]) {
      act(type, () => call("POST", "/v1/events", { events: [{ type, user, video: item.video }] }));
    }
  }
  act("hide", () => call("PATCH", `/v1/videos/${encodeURIComponent(item.video)}`, { hidden: true }));
  node.append(tile, words, acts);
  return node;
}

async function ask() {
  const user = at("user").value.trim();
  const k = Math.min(100, Math.max(1, Number(at("k").value) || 12));
  const [column, ...value] = at("filter").value.split(":");
  const filter = value.length ? { [column.trim()]: [value.join(":").trim()] } : {};
  let found;
  if (user) {
    found = await call("POST", "/v1/recommendations", { user, k, filter, explain: true });
  } else {
    const only = value.length ? `&filter=${encodeURIComponent(at("filter").value)}` : "";
    found = await call("GET", `/v1/popular?k=${k}${only}`);
  }
  const meta = found.meta;
  const from = { none: "nobody known: the popular list", trained: "the row it was trained with", events: "its clicks since" };
  say("about", `${found.items.length} videos in ${meta.took_ms.toFixed(1)} ms · log at ${meta.seq} · ${
    user ? from[meta.profile] : "the popular list"}${meta.fallback ? ` · ${meta.fallback}` : ""}`);
  at("list").replaceChildren(...found.items.map((item) => card(item, user)));
}

async function post() {
  const tags = at("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
  const body = { features: at("features").value.trim() ? JSON.parse(at("features").value) : {} };
  if (at("title").value) body.title = at("title").value;
  if (tags.length) body.tags = tags;
  const place = `/v1/videos/${encodeURIComponent(at("video").value.trim())}`;
  const done = await call("PUT", place, body);
  const sent = [];
  for (const field of at("media").querySelectorAll("[data-modality]")) {
    const medium = field.files ? field.files[0] : field.value.trim();
    if (!medium) continue;
    const type = field.files ? medium.type : "text/plain";
    await call("PUT", `${place}/media?modality=${encodeURIComponent(field.dataset.modality)}`, medium, type);
    sent.push(field.dataset.modality);
  }
  if (sent.length && !done.recommendable) {
    say("posted", `${done.video}: ${sent.join(", ")} is being encoded…`);
    await encoded(place, done.video);
  } else {
    const more = sent.length ? `; ${sent.join(", ")} will be encoded` : done.note ? `: ${done.note}` : "";
    say("posted", `${done.video} counts from log place ${done.seq} on${more}`);
  }
  await ask();
}

async function encoded(place, video) {
  for (const end = Date.now() + 1000 * patience; Date.now() < end;) {
    if ((await call("GET", place)).recommendable) return say("posted", `${video} is encoded and can be recommended`);
    await new Promise((done) => setTimeout(done, pause));
  }
  throw new Error(`${video} is not encoded after ${patience} s: the medium cannot be read, or others wait before it`);
}

function medium(modality, kind) {
  const label = made("label", `${words[kind]} (${modality})`);
  const field = made(kind === "text" ? "textarea" : "input");
  field.dataset.modality = modality;
  if (kind === "text") field.rows = 2;
  else Object.assign(field, { type: "file", accept: accepts[kind] });
  label.append(field);
  return label;
}

async function users() {
  const found = await call("GET", `/v1/users?prefix=${encodeURIComponent(at("user").value)}`);
  at("users").replaceChildren(...found.users.map((user) => {
    const option = made("option");
    option.value = user;
    return option;
  }));
}

async function begin() {
  const { bundle, manifest, reads } = await call("GET", "/v1/models");
  modalities = manifest.modalities;
  at("media").replaceChildren(...Object.entries(reads).map(([modality, kind]) => medium(modality, kind)));
  at("by-numbers").open = !Object.keys(reads).length;
  say("status", `${manifest.name}, ${manifest.users.toLocaleString()} users, ${manifest.videos.toLocaleString()} videos, bundle ${bundle}`);
  const widths = Object.entries(modalities).map(([name, facts]) => `${name}: ${facts.dim} numbers`);
  at("widths").textContent = widths.join(", ") || "this bundle reads no features: a new video is shown as popular only";
  await users();
  await ask();
}

const tell = (id) => (error) => say(id, error.message, true);
at("ask").addEventListener("submit", (event) => { event.preventDefault(); ask().catch(tell("about")); });
at("post").addEventListener("submit", (event) => { event.preventDefault(); post().catch(tell("posted")); });
at("user").addEventListener("input", () => users().catch(tell("about")));
at("key").addEventListener("change", () => begin().catch(tell("status")));
at("random").addEventListener("click", () => {
  const numbers = (count) => Array.from({ length: count }, () => Number((Math.random() * 2 - 1).toFixed(3)));
  at("features").value = JSON.stringify(Object.fromEntries(Object.entries(modalities).map(([m, f]) => [m, numbers(f.dim)])));
});
begin().catch(tell("status"));

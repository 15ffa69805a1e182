"use strict";

const byId = (id) => document.getElementById(id);
const SHAPES = {
  pass: { name: "pass", path: "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z" },
  reject: { name: "reject", path: "M0-8L8 0L0 8L-8 0z" },
  caught: { name: "defect, rejected", path: "M0-8L8 0L0 8L-8 0z" },
  escape: { name: "defect, escaped", path: "M-7-6H7L0 7z" },
  "false reject": { name: "false reject", path: "M-6-6L6 6M-6 6L6-6" },
};
const LEARNED = { name: "a generation learned", path: "M0-10V10" };
const WORDS = { pass: "PASS", reject: "REJECT", caught: "REJECT", escape: "PASS", "false reject": "REJECT" };
const LABELS = { reject: "Rejected", caught: "Rejected: defect", escape: "Escaped", "false reject": "False reject",
  "not inspected": "Not inspected" };
const KEPT = 300;
const CHART_EVERY_MS = 600;

let points = [];
let cards = [];
let show = "all";
let swaps = [];
let drawn = 0;
let galleryKey = "";

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function picture(card) {
  const image = element("img");
  image.src = `demo/frames/${card.n}`;
  image.alt = `${card.camera}, frame ${card.n}: ${card.reason}`;
  return image;
}

function banner(message) {
  const box = byId("banner");
  const thumbnail = byId("banner-picture");
  let [style, icon, words, detail] = ["good", "✓", "Running", "All is well."];
  if (message.state === "fitting") {
    [style, icon, words] = ["wait", "…", "Preparing"];
    detail = `${message.activity} ${Math.round(message.progress * 100)} %`;
  } else if (message.state === "done" || message.state === "draining") {
    [style, icon, words] = ["wait", "■", message.state === "done" ? "Finished" : "Stopping"];
    detail = `${message.summary.frames} frames, ${message.summary.rejects} rejects`;
  } else if (message.rejecting) {
    [style, icon, words, detail] = ["bad", "✕", `Reject: ${message.rejecting.camera}`, message.rejecting.reason];
  } else {
    detail = `The last ${Math.min(points.length, KEPT)} frames are below. No reject in the last seconds.`;
  }
  box.className = style;
  byId("icon").textContent = icon;
  if (byId("status").textContent !== words) byId("status").textContent = words;
  byId("detail").textContent = detail;
  thumbnail.hidden = style !== "bad";
  if (style === "bad") thumbnail.src = `demo/frames/${message.rejecting.n}`;
}

function counts(summary) {
  const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(1)} %`);
  document.body.classList.toggle("no-truth", !summary.truth_known);
  byId("frames").textContent = summary.frames;
  byId("rejects").textContent = summary.rejects;
  byId("escapes").textContent = summary.escapes ?? "";
  byId("false").textContent = summary.false_rejects ?? "";
  byId("escapes-of").textContent = `of ${summary.defective_frames} defective, ${percent(summary.escape_rate)}`;
  byId("false-of").textContent = `of ${summary.good_frames} good, ${percent(summary.false_reject_rate)}`;
  const taught = Object.values(summary.learned);
  byId("taps").textContent = taught.reduce((sum, one) => sum + one.taps, 0);
  byId("rows-added").textContent = `${taught.reduce((sum, one) => sum + one.rows_added, 0)} rows added`;
  const lights = summary.by_light.filter((one) => one.good_frames);
  byId("lights").textContent = lights.length < 2 ? "" : `False rejects ${lights.map((one) =>
    `${one.light}: ${one.false_rejects} of ${one.good_frames} (${percent(one.false_reject_rate)})`).join(", ")}.`;
  byId("rate").textContent = summary.frames_per_s.toFixed(1);
  byId("latency").textContent = Math.round(summary.latency_ms.p50);
  byId("p99").textContent = `99 % within ${Math.round(summary.latency_ms.p99)}`;
}

function cameras(list) {
  for (const card of list) {
    let tile = document.querySelector(`.camera[data-name="${CSS.escape(card.camera)}"]`);
    if (!tile) {
      tile = element("article", "camera");
      tile.dataset.name = card.camera;
      const head = element("div", "head");
      head.append(element("span", "name", card.camera), element("span", "verdict"));
      const meter = element("div", "meter");
      meter.append(element("div"));
      tile.append(head, element("img"), meter, element("p"));
      byId("cameras").append(tile);
    }
    tile.className = `camera ${card.rejected ? "bad" : "good"}`;
    tile.querySelector(".verdict").textContent = card.rejected ? "✕ REJECT" : `✓ ${WORDS[card.outcome] ?? "NOT INSPECTED"}`;
    const image = tile.querySelector("img");
    if (tile.dataset.shown !== String(card.n) && (image.complete || !image.src)) {
      tile.dataset.shown = card.n;
      image.src = `demo/frames/${card.n}`;
      image.alt = `${card.camera}, frame ${card.n}`;
    }
    tile.querySelector(".meter div").style.width = `${Math.min(100, (62.5 * (card.ratio ?? 0)))}%`;
    tile.querySelector("p").textContent = card.ratio === null ? card.reason
      : `Score ${card.score.toFixed(1)}, threshold ${card.threshold.toFixed(1)}. ${card.rejected ? card.reason + "." : ""}`;
  }
}

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function chart(force) {
  if (!force && Date.now() - drawn < CHART_EVERY_MS) return;
  drawn = Date.now();
  const box = byId("chart");
  const [width, height, left, right, top, bottom] = [box.clientWidth, box.clientHeight, 56, 118, 10, 34];
  const last = points.length ? points[points.length - 1].n : 1;
  const first = Math.max(1, last - KEPT + 1);
  const span = Math.max(KEPT, 1);
  const ratios = points.map((point) => point.ratio ?? 1);
  const low = Math.min(0.6, ...ratios) - 0.05;
  const high = Math.max(1.5, ...ratios) + 0.08;
  const x = (n) => left + ((n - first + 0.5) / span) * (width - left - right);
  const y = (ratio) => top + ((high - ratio) / (high - low)) * (height - top - bottom);
  const drawing = svg("svg", { width, height, role: "img", "aria-label": "Score over threshold of the latest frames" });
  for (let ratio = Math.ceil(low * 4) / 4; ratio < high; ratio += 0.25) {
    drawing.append(svg("line", { x1: left, x2: width - right, y1: y(ratio), y2: y(ratio), class: "grid" }),
      svg("text", { x: left - 8, y: y(ratio) + 6, "text-anchor": "end" }, ratio.toFixed(2)));
  }
  for (let n = Math.ceil(first / 50) * 50; n <= first + span; n += 50) {
    drawing.append(svg("text", { x: x(n), y: height - 8, "text-anchor": "middle" }, String(n)));
  }
  drawing.append(svg("line", { x1: left, x2: width - right, y1: y(1), y2: y(1), class: "threshold" }),
    svg("text", { x: width - right + 8, y: y(1) + 6, class: "strong" }, "threshold"),
    svg("text", { x: width - right + 32, y: height - 8 }, "frame"));
  for (const swap of swaps.filter((one) => one.n >= first)) {
    const line = svg("line", { x1: x(swap.n + 0.5), x2: x(swap.n + 0.5), y1: top, y2: height - bottom, class: "swap" });
    line.append(svg("title", {}, `${swap.recipe}: generation ${swap.generation}`));
    drawing.append(line);
  }
  for (const point of points.filter((one) => one.ratio !== null && one.n >= first)) {
    const mark = svg("path", { d: SHAPES[point.outcome].path, transform: `translate(${x(point.n)} ${y(point.ratio)})`,
      class: `mark ${point.outcome.split(" ")[0]}` });
    mark.append(svg("title", {}, `${point.camera}, frame ${point.n}: ${point.ratio.toFixed(2)}x the threshold`));
    drawing.append(mark);
  }
  box.replaceChildren(drawing);
}

function legend() {
  const box = byId("legend");
  for (const [outcome, shape] of [...Object.entries(SHAPES), ["swap", LEARNED]]) {
    const item = element("span", outcome === "reject" ? "without-truth" : outcome === "pass" || outcome === "swap" ? "" : "truth");
    const picture = svg("svg", { width: 22, height: 22, viewBox: "-11 -11 22 22", "aria-hidden": "true" });
    picture.append(svg("path", { d: shape.path, class: `mark ${outcome.split(" ")[0]}` }));
    item.append(picture, shape.name);
    box.append(item);
  }
}

function gallery() {
  const chosen = cards.filter((card) => (show === "all" ? card.outcome !== "escape" : card.outcome === show)).slice(0, 8);
  const key = show + chosen.map((card) => card.n + card.said).join();
  if (key === galleryKey) return;
  galleryKey = key;
  const box = byId("gallery");
  const known = new Map([...box.querySelectorAll(".card")].map((node) => [node.dataset.key, node]));
  box.replaceChildren(...(chosen.length ? chosen.map((card) => known.get(card.n + card.said) ?? galleryCard(card))
    : [element("p", "empty", "Nothing yet.")]));
}

function galleryCard(card) {
  const node = element("article", `card ${card.outcome.split(" ")[0]}`);
  node.dataset.key = card.n + card.said;
  node.append(picture(card), element("b", "", `${LABELS[card.outcome]}, ${card.camera}`), element("p", "", `${card.reason}.`));
  if (card.planted) node.append(element("p", "", `Truth: ${card.planted}.`));
  if (card.said) node.append(element("p", "said", card.said));
  else if (card.rejected) node.append(confirmButton(card));
  return node;
}

function confirmButton(card) {
  const button = element("button", "confirm", "This part is good");
  button.addEventListener("click", async () => {
    button.disabled = true;
    const answer = await fetch(`demo/confirm/${card.n}`, { method: "POST", headers: { "content-type": "application/json" } });
    button.textContent = answer.ok ? "Learning …" : await answer.text();
  });
  return button;
}

function found(id, rows) {
  byId(id).replaceChildren(...rows.map((row) => {
    const line = element("tr");
    const bar = element("td", "bar");
    const fill = element("div");
    fill.style.width = row.planted ? `${(100 * row.rejected) / row.planted}%` : "0";
    if (row.planted) bar.append(fill);
    line.append(element("td", "", row.name), bar, element("td", "", `${row.rejected} of ${row.planted}`));
    return line;
  }));
}

function update(message) {
  points = points.concat(message.points).slice(-KEPT);
  cards = message.gallery;
  swaps = message.swaps;
  banner(message);
  counts(message.summary);
  cameras(message.cameras);
  gallery();
  chart(message.state === "done");
  if (message.summary.truth_known) {
    found("by-contrast", message.summary.by_contrast);
    found("by-kind", message.summary.by_kind);
  }
}

legend();

byId("filters").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  show = button.dataset.show;
  for (const other of byId("filters").children) other.setAttribute("aria-pressed", String(other === button));
  gallery();
});

const events = new EventSource("demo/events");
let state = "";
events.onopen = () => { points = []; };
events.onmessage = (event) => {
  const message = JSON.parse(event.data);
  state = message.state;
  update(message);
  if (state === "done") events.close();
};
events.onerror = () => {
  if (state === "done") return;
  byId("banner").className = "wait";
  byId("icon").textContent = "?";
  byId("status").textContent = "No connection";
  byId("detail").textContent = "The demo has ended or cannot be reached; what is shown may be old.";
};

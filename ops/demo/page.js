"use strict";

const byId = (id) => document.getElementById(id);
const SHAPES = {
  pass: { name: "pass", symbol: "circle", size: 6, color: "#5fd3a8" },
  reject: { name: "reject", symbol: "diamond", size: 12, color: "#ff9d7a" },
  caught: { name: "defect, rejected", symbol: "diamond", size: 12, color: "#ff9d7a" },
  escape: { name: "defect, escaped", symbol: "triangle-down-open", size: 13, color: "#ffffff" },
  "false reject": { name: "false reject", symbol: "x", size: 11, color: "#ffd166" },
};
const WORDS = { pass: "PASS", reject: "REJECT", caught: "REJECT", escape: "PASS", "false reject": "REJECT" };
const LABELS = { reject: "Rejected", caught: "Rejected: defect", escape: "Escaped", "false reject": "False reject",
  "not inspected": "Not inspected" };
const KEPT = 300;
const CHART_EVERY_MS = 600;

let points = [];
let cards = [];
let show = "all";
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

function chart(force) {
  if (typeof Plotly === "undefined" || (!force && Date.now() - drawn < CHART_EVERY_MS)) return;
  drawn = Date.now();
  const traces = Object.entries(SHAPES).map(([outcome, shape]) => {
    const mine = points.filter((point) => point.outcome === outcome && point.ratio !== null);
    return {
      type: "scatter", mode: "markers", name: shape.name, x: mine.map((p) => p.n), y: mine.map((p) => p.ratio),
      text: mine.map((p) => p.camera), hovertemplate: "%{text}, frame %{x}: %{y:.2f}x the threshold<extra></extra>",
      marker: { symbol: shape.symbol, size: shape.size, color: shape.color, line: { width: shape.symbol.endsWith("open") ? 2.5 : 0 } },
      showlegend: mine.length > 0,
    };
  });
  const last = points.length ? points[points.length - 1].n : KEPT;
  const first = Math.max(1, last - KEPT + 1);
  const highest = Math.max(1.5, ...points.map((point) => point.ratio ?? 0));
  Plotly.react("chart", traces, {
    margin: { l: 56, r: 120, t: 8, b: 44 }, paper_bgcolor: "#182430", plot_bgcolor: "#0f1924",
    font: { color: "#f4f8fb", size: 17 },
    xaxis: { range: [first - 2, Math.max(last, first + 40) + 3], title: { text: "frame" }, gridcolor: "#22323f", zeroline: false },
    yaxis: { range: [0.4, highest * 1.06], gridcolor: "#22323f", zeroline: false },
    legend: { orientation: "h", y: 1.2, font: { size: 17 } },
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: "#ffffff", width: 3, dash: "dash" } }],
    annotations: [{ xref: "paper", x: 1.01, y: 1, xanchor: "left", showarrow: false, text: "threshold", font: { size: 17 } }],
  }, { displayModeBar: false, responsive: true });
}

function gallery() {
  const chosen = cards.filter((card) => (show === "all" ? card.outcome !== "escape" : card.outcome === show)).slice(0, 8);
  const key = show + chosen.map((card) => card.n).join();
  if (key === galleryKey) return;
  galleryKey = key;
  const box = byId("gallery");
  const known = new Map([...box.querySelectorAll(".card")].map((node) => [node.dataset.n, node]));
  box.replaceChildren(...(chosen.length ? chosen.map((card) => known.get(String(card.n)) ?? galleryCard(card))
    : [element("p", "empty", "Nothing yet.")]));
}

function galleryCard(card) {
  const node = element("article", `card ${card.outcome.split(" ")[0]}`);
  node.dataset.n = card.n;
  node.append(picture(card), element("b", "", `${LABELS[card.outcome]}, ${card.camera}`), element("p", "", `${card.reason}.`));
  if (card.planted) node.append(element("p", "", `Truth: ${card.planted}.`));
  return node;
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

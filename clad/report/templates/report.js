// The page's only script: the threshold, the list, the map and the galleries, from the data above.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const count = data.names.length;
const everyone = Array.from({ length: count }, (_, i) => i);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PAGE = 50; // rows of the list
const STRIP = 12; // images of a cluster in its gallery

const state = { threshold: data.threshold, moved: false, key: "score", down: true, page: 0 };
const score = (i) => data.scores[i].toFixed(data.decimals);
// Until the slider is moved, decisions are those of the rule, which need not be one line.
const flagged = (i) => (state.moved ? data.scores[i] > state.threshold : data.flagged[i] === 1);
const tally = (chosen) => chosen.reduce((sum, i) => sum + (flagged(i) ? 1 : 0), 0);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

// -- thumbnails: a window on a sheet of many ------------------------------------------------------

function thumbnail(kind, number, side, name) {
  const sprite = data.sprites[kind];
  let sheet = sprite.starts.length - 1;
  while (sprite.starts[sheet] > number) sheet -= 1;
  const [height, width] = sprite.size;
  const [cellHeight, cellWidth] = sprite.cell;
  const scale = side / Math.max(height, width);
  const place = number - sprite.starts[sheet];
  const row = Math.floor(place / sprite.columns);
  const column = place % sprite.columns;
  const box = element("span", { className: `thumbnail ${kind}${sheet}`, role: "img", ariaLabel: name });
  if (scale > 1) box.classList.add("sharp");
  box.style.width = `${width * scale}px`;
  box.style.height = `${height * scale}px`;
  box.style.backgroundSize = `${sprite.columns * cellWidth * scale}px auto`;
  box.style.backgroundPosition = `${-column * cellWidth * scale}px ${-row * cellHeight * scale}px`;
  return box;
}

const has = (kind, i) => data.sprites[kind] !== undefined && data.sprites[kind].of[i] >= 0;

function picture(kind, i, side) {
  if (!has(kind, i)) return "";
  const button = element("button", { className: "picture", type: "button" });
  button.append(thumbnail(kind, data.sprites[kind].of[i], side, data.names[i]));
  if (kind === "image") button.dataset.image = i;
  button.addEventListener("click", () => open(i));
  return button;
}

function outcome(i) {
  const said = flagged(i) ? "anomaly" : "normal";
  if (!data.truth) return said;
  return data.truth[i] === Number(flagged(i)) ? said : flagged(i) ? "false alarm" : "missed";
}

function facts(i) {
  const known = [["file", data.names[i]], ["score", score(i)], ["p-value", data.p[i].toPrecision(3)]];
  known.push(["cluster", data.clusters[i]], ["decision", outcome(i)]);
  if (data.labels) known.push(["class", data.labels[i]]);
  return known;
}

function open(i) {
  const large = ["image", "heat"].filter((kind) => has(kind, i));
  byId("large").replaceChildren(
    ...large.map((kind) => thumbnail(kind, data.sprites[kind].of[i], 240, data.names[i])),
  );
  const lines = facts(i).flatMap(([key, value]) => [
    element("dt", { textContent: key }),
    element("dd", { textContent: value }),
  ]);
  byId("closer").querySelector("dl").replaceChildren(...lines);
  byId("closer").showModal();
}

// What is flagged has a frame, in the list and in the galleries.
function frame() {
  for (const each of document.querySelectorAll(".picture[data-image]")) {
    each.classList.toggle("flagged", flagged(Number(each.dataset.image)));
  }
}

// -- the threshold --------------------------------------------------------------------------------

const place = (axis, value) =>
  axis[2] + ((value - axis[0]) / (axis[1] - axis[0])) * (axis[3] - axis[2]);

function mark(holder, name) {
  const svg = byId(holder)?.querySelector("svg");
  if (!svg) return null;
  const shape = drawn(name, { stroke: "var(--c5)", "stroke-width": 2 }, svg);
  if (name === "circle") {
    shape.setAttribute("r", 6);
    shape.setAttribute("fill", "var(--c5)");
  }
  return shape;
}

const line = mark("slide", "line");
const dots = { roc: mark("roc", "circle"), pr: mark("pr", "circle") };
const anomalies = data.truth ? everyone.filter((i) => data.truth[i] === 1) : [];
const normals = data.truth ? everyone.filter((i) => data.truth[i] === 0) : [];
const share = (part, whole) =>
  `${part} of ${whole}` + (whole ? ` (${((100 * part) / whole).toFixed(1)}%)` : "");

function counts() {
  const rows = [["flagged", tally(everyone), count]];
  if (data.truth) {
    rows.push(["false alarms", tally(normals), normals.length]);
    rows.push(["detected", tally(anomalies), anomalies.length]);
    rows.push(["missed", anomalies.length - tally(anomalies), anomalies.length]);
  }
  const held = data.calibration; // none where the images are these themselves
  const above = held.filter((value) => value > state.threshold).length;
  if (held.length) rows.push(["calibration images above", above, held.length]);
  byId("counts").replaceChildren(
    ...rows.map(([name, part, whole]) => {
      const cell = element("td", { className: "number", textContent: share(part, whole) });
      cell.id = `count-${name.replaceAll(" ", "-")}`;
      return element("tr", {}, element("th", { scope: "row", textContent: name }), cell);
    }),
  );
  return rows;
}

function move(threshold, moved) {
  Object.assign(state, { threshold, moved });
  const { x, y } = data.axes.scores;
  const across = place(x, Math.min(Math.max(threshold, x[0]), x[1]));
  line.setAttribute("x1", across);
  line.setAttribute("x2", across);
  line.setAttribute("y1", y[2]);
  line.setAttribute("y2", y[3]);
  const rows = counts();
  if (dots.roc) {
    const [alarms, detected] = [rows[1][1], rows[2][1]];
    const recall = detected / anomalies.length;
    const precision = alarms + detected ? detected / (alarms + detected) : 1;
    const points = { roc: [alarms / normals.length, recall], pr: [recall, precision] };
    for (const [name, [right, up]] of Object.entries(points)) {
      dots[name].setAttribute("cx", place(data.axes[name].x, right));
      dots[name].setAttribute("cy", place(data.axes[name].y, up));
    }
  }
  list();
  colour();
}

function prepareThreshold() {
  const { x } = data.axes.scores;
  const [slider, exact] = [byId("threshold"), byId("exact")];
  const width = byId("slide").querySelector("svg").viewBox.baseVal.width;
  slider.style.width = `calc(${(100 * (x[3] - x[2])) / width}% + 16px)`; // the thumb's own width
  slider.style.marginLeft = `calc(${(100 * x[2]) / width}% - 8px)`;
  Object.assign(slider, { min: x[0], max: x[1], step: (x[1] - x[0]) / 1000 });
  const show = () => {
    slider.value = state.threshold;
    exact.value = Number(state.threshold.toPrecision(8));
  };
  slider.addEventListener("input", () => {
    move(slider.valueAsNumber, true);
    exact.value = Number(state.threshold.toPrecision(8));
  });
  exact.addEventListener("change", () => {
    if (!Number.isNaN(exact.valueAsNumber)) move(exact.valueAsNumber, true);
    show();
  });
  byId("reset").addEventListener("click", () => {
    move(data.threshold, false);
    show();
  });
  show();
}

// -- the list -------------------------------------------------------------------------------------

const OUTCOMES = data.truth
  ? { flagged: flagged, "not flagged": (i) => !flagged(i),
      "false alarm": (i) => outcome(i) === "false alarm", missed: (i) => outcome(i) === "missed" }
  : { flagged: flagged, "not flagged": (i) => !flagged(i) };
const VALUES = {
  name: (i) => data.names[i], score: (i) => data.scores[i], p: (i) => data.p[i],
  cluster: (i) => data.clusters[i], decision: outcome,
  truth: (i) => data.truth[i], label: (i) => data.labels[i],
};

function chosen() {
  const text = byId("find").value.toLowerCase();
  const decision = OUTCOMES[byId("decision").value];
  const cluster = byId("cluster").value;
  const label = byId("label")?.value ?? "";
  return everyone.filter(
    (i) =>
      (!text || data.names[i].toLowerCase().includes(text)) &&
      (!decision || decision(i)) &&
      (cluster === "" || data.clusters[i] === Number(cluster)) &&
      (label === "" || data.labels[i] === label),
  );
}

function list() {
  const found = chosen();
  const value = VALUES[state.key];
  const sign = state.down ? -1 : 1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  found.sort((i, j) => sign * compare(value(i), value(j)) || i - j);
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  const start = state.page * PAGE;
  const heads = [...document.querySelectorAll("#list th[data-key]")];
  const rows = found.slice(start, start + PAGE).map((i) => {
    const row = element("tr");
    row.dataset.image = i;
    for (const kind of ["image", "heat"]) {
      if (data.sprites[kind]) row.append(element("td", {}, picture(kind, i, 48)));
    }
    for (const head of heads) {
      const key = head.dataset.key;
      let text = VALUES[key](i);
      if (key === "score") text = score(i);
      if (key === "p") text = data.p[i].toPrecision(3);
      if (key === "truth") text = data.truth[i] ? "anomaly" : "normal";
      const cell = element("td", { textContent: text, className: head.className });
      if (key === "decision" && flagged(i)) cell.classList.add("bad");
      row.append(cell);
    }
    return row;
  });
  document.querySelector("#list tbody").replaceChildren(...rows);
  const last = Math.min(start + PAGE, found.length);
  byId("shown").textContent = found.length
    ? `${start + 1} to ${last} of ${found.length}` + (found.length < count ? ` (${count} in all)` : "")
    : `none of ${count}`;
  frame();
  byId("back").disabled = state.page === 0;
  byId("on").disabled = state.page >= pages - 1;
  for (const head of heads) {
    const sorted = head.dataset.key === state.key;
    head.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
  }
}

function prepareList() {
  const options = ["", ...Object.keys(OUTCOMES)];
  byId("decision").append(
    ...options.map((each) => element("option", { value: each, textContent: each || "all" })),
  );
  const again = () => {
    state.page = 0;
    list();
  };
  byId("filters").addEventListener("input", again);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const head of document.querySelectorAll("#list th[data-key]")) {
    head.querySelector("button").addEventListener("click", () => {
      const key = head.dataset.key;
      state.down = state.key === key ? !state.down : key === "score";
      state.key = key;
      again();
    });
  }
  for (const [id, step] of [["back", -1], ["on", 1]]) {
    byId(id).addEventListener("click", () => {
      state.page += step;
      list();
    });
  }
}

// -- the map of latents ---------------------------------------------------------------------------

const points = []; // {i, x, y, dot}
let near = null; // the point looked at
let last = null; // the latest that was: the keyboard goes on from there
const hue = (cluster) => `var(--c${cluster % 16})`;

function legend(entries) {
  byId("legend").replaceChildren(
    ...entries.map(([name, paint]) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = paint;
      const item = element("span", {}, swatch, `${name}`);
      item.style.marginRight = "1em";
      return item;
    }),
  );
}

function colour() {
  if (!points.length) return;
  const by = byId("colour").value;
  const bad = by === "truth" ? (i) => data.truth[i] === 1 : flagged;
  const paint = (i) => (by === "cluster" ? hue(data.clusters[i]) : bad(i) ? "var(--c5)" : "var(--c0)");
  for (const { i, dot } of points) dot.setAttribute("fill", paint(i));
  const found = [...new Set(points.map(({ i }) => data.clusters[i]))].sort((a, b) => a - b);
  const two = by === "truth" ? ["normal", "anomaly"] : ["not flagged", "flagged"];
  legend(
    by === "cluster"
      ? found.slice(0, 16).map((k) => [k, hue(k)])
      : [[two[0], "var(--c0)"], [two[1], "var(--c5)"]],
  );
}

function look(point, ring) {
  near = point;
  last = point ?? last;
  const tip = byId("tip");
  tip.hidden = !point;
  ring.setAttribute("visibility", point ? "visible" : "hidden");
  if (!point) return;
  ring.setAttribute("cx", point.x);
  ring.setAttribute("cy", point.y);
  const lines = facts(point.i).map(([key, value]) => element("div", { textContent: `${key} ${value}` }));
  const kinds = ["image", "heat"].filter((kind) => has(kind, point.i));
  tip.replaceChildren(
    ...kinds.map((kind) => thumbnail(kind, data.sprites[kind].of[point.i], 96, "")),
    ...lines,
  );
  const scale = byId("map").clientWidth / 900;
  const right = point.x > 600;
  tip.style.left = right ? "" : `${point.x * scale + 14}px`;
  tip.style.right = right ? `${(900 - point.x) * scale + 14}px` : "";
  tip.style.top = `${Math.max(0, point.y * scale - 60)}px`;
}

function closest(x, y, within) {
  let best = null;
  let least = within * within;
  for (const point of points) {
    const far = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (far < least) [best, least] = [point, far];
  }
  return best;
}

const middle = () => closest(450, data.map.height / 2, Infinity);

// The next point in a direction: near, and not far off the straight line.
function neighbour(from, right, down) {
  let best = null;
  let least = Infinity;
  for (const point of points) {
    const along = (point.x - from.x) * right + (point.y - from.y) * down;
    const aside = Math.abs((point.x - from.x) * down + (point.y - from.y) * right);
    if (along > 0 && along + 3 * aside < least) [best, least] = [point, along + 3 * aside];
  }
  return best ?? from;
}

function prepareMap() {
  const map = byId("map");
  if (!map) return;
  const radius = data.map.image.length > 1000 ? 3 : 4;
  data.map.image.forEach((i, row) => {
    const [x, y] = [data.map.x[row], data.map.y[row]];
    points.push({ i, x, y, dot: drawn("circle", { cx: x, cy: y, r: radius, "fill-opacity": 0.8 }, map) });
  });
  const ring = drawn("circle", { r: 8, class: "chosen", visibility: "hidden" }, map);
  map.addEventListener("pointermove", (event) => {
    const box = map.getBoundingClientRect();
    const scale = 900 / box.width;
    look(closest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, 15), ring);
  });
  map.addEventListener("pointerleave", () => look(null, ring));
  map.addEventListener("click", () => near && open(near.i));
  map.addEventListener("focus", () => look(last ?? middle(), ring));
  map.addEventListener("blur", () => look(null, ring));
  map.addEventListener("keydown", (event) => {
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key in ways) look(neighbour(near ?? last ?? middle(), ...ways[event.key]), ring);
    else if (event.key === "Enter" && near) open(near.i);
    else return;
    event.preventDefault(); // of Enter too: it would close what it has just opened
  });
  byId("colour").addEventListener("input", colour);
}

// -- a gallery a cluster --------------------------------------------------------------------------

function strip(caption, pictures) {
  const line = element("div", { className: "strip" });
  line.append(element("span", { className: "soft", textContent: caption }), ...pictures);
  return line;
}

function galleries() {
  const seen = data.clusters.reduce((sum, k) => sum.set(k, (sum.get(k) ?? 0) + 1), new Map());
  const { fitted } = data;
  const { fit } = data.sprites;
  const all = [...fitted.keys()].filter((k) => fitted[k] || seen.get(k));
  for (const k of all) {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = hue(k);
    const title = `cluster ${k}: ${fitted[k]} ${data.fitted_on} fitted on, ${seen.get(k) ?? 0} of these images`;
    const part = element("div", {}, element("h3", {}, swatch, title));
    if (fit) {
      const own = fit.clusters.map((cluster, m) => [cluster, m]).filter(([cluster]) => cluster === k);
      const nearest = own.map(([, m]) => thumbnail("fit", m, 48, fit.names[m]));
      if (nearest.length) part.append(strip("nearest its centre", nearest));
    }
    const members = everyone.filter((i) => data.clusters[i] === k && has("image", i));
    members.sort((i, j) => data.scores[j] - data.scores[i]);
    if (members.length) {
      const highest = members.slice(0, STRIP).map((i) => picture("image", i, 48));
      part.append(strip("highest scores here", highest));
    }
    byId("galleries").append(part);
  }
}

galleries();
prepareThreshold();
prepareList();
prepareMap();
move(data.threshold, false);

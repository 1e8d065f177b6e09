"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";

// Text goes in as text, never as markup: names of symbols come from outside.
function el(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "clipPath"].includes(name);
  const node = svg ? document.createElementNS(NS, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}
const two = (n) => String(n).padStart(2, "0");
function clock(ms, what) {
  const d = new Date(ms), hm = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
  if (what === "minute") return hm;
  const s = `${hm}:${two(d.getUTCSeconds())}`;
  return what === "ms" ? `${s}.${String(d.getUTCMilliseconds()).padStart(3, "0")}` : s;
}
const day = (ms) => new Date(ms).toISOString().slice(0, 10);
function number(value, digits = 4) {
  if (value === null || value === undefined) return "null";
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-4) return value.toExponential(2).replace("-", "−").replace("e−", "e-");
  const places = Math.max(0, Math.min(8, digits - 1 - Math.floor(Math.log10(size || 1))));
  return value.toLocaleString("en-US", { maximumFractionDigits: size >= 1000 ? 2 : places }).replace("-", "−");
}
function age(ms) {
  if (ms === null) return "";
  if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 120000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60000)} min`;
}
function ticks(low, high, count) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step || 0);  // no negative zero
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { at: out, text: (v) => v.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places }).replace("-", "−") };
}
function timeTicks(low, high, count) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400].map((s) => s * 1000);
  const step = steps.find((s) => (high - low) / s <= count) || steps.at(-1), out = [];
  for (let t = Math.ceil(low / step) * step; t <= high; t += step) out.push(t);
  return { at: out, text: (t) => clock(t, step < 60000 ? "second" : "minute") };
}

// ---- line charts: panels one above the other, one time axis, one cross-hair -------------------------------------------------
const LEFT = 58, RIGHT = 10;
function extent(panel) {
  if (panel.range) return panel.range;
  const all = panel.series.flatMap((s) => s.values.filter((v) => v !== null).map((v) => (s.mirror ? -v : v)));
  if (!all.length) return [0, 1];
  let low = Math.min(...all), high = Math.max(...all);
  if (panel.zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
  return [low === 0 ? 0 : low - pad, high === 0 ? 0 : high + pad];
}
function linePath(times, values, x, y, gap) {
  let d = "", before = null;
  values.forEach((v, i) => {
    if (v !== null) d += `${before === null || times[i] - before > gap ? "M" : "L"}${x(times[i]).toFixed(1)},${y(v).toFixed(1)}`;
    before = v === null ? null : times[i];
  });
  return d;
}
function areaPath(times, values, x, y) {
  let d = "", run = [];
  const close = () => {
    if (run.length) d += `M${x(times[run[0]]).toFixed(1)},${y(0).toFixed(1)}` + run.map((i) => `L${x(times[i]).toFixed(1)},${y(values[i]).toFixed(1)}`).join("") + `L${x(times[run.at(-1)]).toFixed(1)},${y(0).toFixed(1)}Z`;
    run = [];
  };
  values.forEach((v, i) => (v === null ? close() : run.push(i)));
  close();
  return d;
}
// A name that is wider than the figure goes on in a second line, broken at a space. A letter is about 7.4 pixels wide.
function headline(text, x, y, width) {
  const fits = Math.floor((width - x) / 7.4);
  if (text.length <= fits) return [el("text", { x, y, class: "name" }, text)];
  const at = text.lastIndexOf(" ", fits);
  return [el("text", { x, y: y - 14, class: "name" }, text.slice(0, at)), el("text", { x, y, class: "name" }, text.slice(at + 1))];
}
function panels(id, times, step, list, source) {
  const figure = $(id), width = figure.clientWidth, right = width - RIGHT, x0 = times[0], x1 = times.at(-1);
  const x = (t) => LEFT + ((t - x0) / (x1 - x0 || 1)) * (right - LEFT);
  const svg = el("svg", { role: "img", "aria-label": list.map((p) => p.name).join(", ") });
  const spans = [];
  let bottom = -14;
  for (const panel of list) {
    const title = headline(`${panel.name}${panel.unit ? `, ${panel.unit}` : ""}`, 0, 0, width), top = bottom + 28 + 14 * title.length;
    title.forEach((line) => line.setAttribute("y", Number(line.getAttribute("y")) + top - 13));
    svg.append(...title);
    const height = panel.height || 130, [low, high] = extent(panel);
    bottom = top + height;
    const floor = bottom;
    const y = (v) => floor - ((v - low) / (high - low)) * height;
    const marks = ticks(low, high, height < 100 ? 3 : 4), empty = panel.series.every((s) => s.values.every((v) => v === null));
    for (const v of empty ? [] : marks.at) {
      svg.append(el("line", { x1: LEFT, x2: right, y1: y(v), y2: y(v), stroke: v === 0 && low < 0 ? "var(--faint)" : "var(--grid)" }));
      svg.append(el("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, marks.text(panel.series.some((s) => s.mirror) ? Math.abs(v) : v)));
    }
    for (const s of panel.series) {
      const values = s.mirror ? s.values.map((v) => (v === null ? null : -v)) : s.values;
      // the area above zero in one colour and the area below it in the other: the two meet where the line crosses zero
      for (const [fill, from, to] of [[s.fill, top, s.fillBelow ? y(0) : floor], [s.fillBelow, y(0), floor]].filter(([fill]) => fill)) {
        const clip = `${id}-${svg.childElementCount}`;
        svg.append(el("clipPath", { id: clip }, el("rect", { x: LEFT, y: from, width: right - LEFT, height: Math.max(0, to - from) })));
        svg.append(el("path", { d: areaPath(times, values, x, y), fill, "clip-path": `url(#${clip})` }));
      }
      svg.append(el("path", { d: linePath(times, values, x, y, step * 1500), fill: "none", stroke: s.colour, "stroke-width": s.width || 1.5, "stroke-linejoin": "round", "stroke-linecap": "round" }));
    }
    if (empty) svg.append(el("text", { x: (LEFT + right) / 2, y: (top + bottom) / 2 + 4, "text-anchor": "middle" }, panel.empty || "null all along: too little history"));
    spans.push({ panel, y });
  }
  const marks = timeTicks(x0, x1, Math.max(3, width / 110));
  for (const t of marks.at) {
    svg.append(el("line", { x1: x(t), x2: x(t), y1: bottom, y2: bottom + 4, stroke: "var(--faint)" }));
    svg.append(el("text", { x: x(t), y: bottom + 17, "text-anchor": x(t) > right - 20 ? "end" : "middle" }, marks.text(t)));
  }
  svg.append(el("line", { x1: LEFT, x2: right, y1: bottom, y2: bottom, stroke: "var(--faint)" }));
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 24}`);
  const hair = el("line", { y1: 12, y2: bottom, stroke: "var(--faint)", visibility: "hidden" });
  const dots = el("g");
  svg.append(hair, dots);
  const named = list.flatMap((p) => p.legend || p.series).filter((s) => s.name);
  const legend = el("div", { class: "legend" }, ...named.map((s) => el("span", {}, el("i", { style: `background:${s.colour}` }), s.name)));
  figure.replaceChildren(...(named.length > 1 ? [legend] : []), svg, el("figcaption", {}, `Source: ${source}, every ${step} s`));
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect();
    const i = Math.max(0, Math.min(times.length - 1, Math.round(((event.clientX - box.left - LEFT) / (right - LEFT)) * (times.length - 1))));
    hair.setAttribute("x1", x(times[i])); hair.setAttribute("x2", x(times[i])); hair.setAttribute("visibility", "visible");
    const lines = [el("b", {}, clock(times[i], "second"))];
    dots.replaceChildren();
    for (const { panel, y } of spans) for (const s of panel.series) {
      const v = s.values[i];
      lines.push(el("div", {}, el("span", {}, s.name || panel.name), number(v, 5)));
      if (v !== null) dots.append(el("circle", { cx: x(times[i]), cy: y(s.mirror ? -v : v), r: 3.5, fill: s.colour, stroke: "var(--card)", "stroke-width": 1.5 }));
    }
    tip(event, lines);
  };
  svg.onpointerleave = () => { hair.setAttribute("visibility", "hidden"); dots.replaceChildren(); $("tip").hidden = true; };
}
function tip(event, lines) {
  const box = $("tip");
  box.replaceChildren(...lines);
  box.hidden = false;
  const wide = box.offsetWidth, room = document.documentElement.clientWidth;
  const left = event.clientX + 16 + wide > room - 8 ? Math.max(8, event.clientX - wide - 16) : event.clientX + 16;
  box.style.left = `${left + window.scrollX}px`;
  box.style.top = `${event.clientY + window.scrollY + 14}px`;
}

// ---- histogram -------------------------------------------------------------------------------------------------------------
function quantile(sorted, q) { return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]; }
function histogram(id, delays, marksAt, source) {
  const figure = $(id), width = figure.clientWidth, height = 170, top = 54, right = width - RIGHT, bottom = top + height;
  const low = Math.min(0, ...delays), high = Math.max(...delays, ...marksAt.map((m) => m.ms)) * 1.02 || 1;
  const step = ticks(low, high, width < 480 ? 18 : 36), size = step.at.length > 1 ? step.at[1] - step.at[0] : 1, from = Math.floor(low / size) * size;
  const counts = new Array(Math.ceil((high - from) / size) + 1).fill(0);
  delays.forEach((ms) => counts[Math.floor((ms - from) / size)]++);
  const x = (ms) => LEFT + ((ms - from) / (counts.length * size)) * (right - LEFT), most = Math.max(...counts), y = (n) => bottom - (n / most) * height;
  const svg = el("svg", { role: "img", "aria-label": "latency histogram", viewBox: `0 0 ${width} ${bottom + 38}` });
  svg.append(el("text", { x: 0, y: top - 10, class: "name" }, "rows"));
  const rows = ticks(0, most, Math.min(4, most));
  for (const n of rows.at.filter(Number.isInteger)) {
    svg.append(el("line", { x1: LEFT, x2: right, y1: y(n), y2: y(n), stroke: "var(--grid)" }), el("text", { x: LEFT - 8, y: y(n) + 4, "text-anchor": "end" }, rows.text(n)));
  }
  counts.forEach((n, i) => {
    if (!n) return;
    const bar = el("rect", { x: x(from + i * size) + 1, y: y(n), width: Math.max(1, x(from + size) - x(from) - 2), height: bottom - y(n), fill: "var(--faint)", rx: 1.5 });
    bar.onpointermove = (event) => tip(event, [el("b", {}, `${number(from + i * size)} to ${number(from + (i + 1) * size)} ms`), el("div", {}, el("span", {}, "rows"), String(n))]);
    bar.onpointerleave = () => { $("tip").hidden = true; };
    svg.append(bar);
  });
  const shown = ticks(from, from + counts.length * size, Math.max(3, width / 110));
  for (const ms of shown.at) svg.append(el("text", { x: x(ms), y: bottom + 17, "text-anchor": "middle" }, shown.text(ms)));
  svg.append(el("text", { x: right, y: bottom + 34, "text-anchor": "end", class: "name" }, "ms after the boundary"));
  svg.append(el("line", { x1: LEFT, x2: right, y1: bottom, y2: bottom, stroke: "var(--faint)" }));
  marksAt.forEach((m, i) => {
    const end = x(m.ms) > right - 90;
    svg.append(el("line", { x1: x(m.ms), x2: x(m.ms), y1: top - 8 - (i % 3) * 14, y2: bottom, stroke: m.colour, "stroke-dasharray": "3 3" }));
    svg.append(el("text", { x: x(m.ms) + (end ? -5 : 5), y: top - 6 - (i % 3) * 14, "text-anchor": end ? "end" : "start", class: "strong" }, m.name));
  });
  figure.replaceChildren(svg, el("figcaption", {}, `Source: ${source}`));
}

// ---- the point-in-time join ---------------------------------------------------------------------------------------------------
function join(id, pit) {
  const figure = $(id), width = figure.clientWidth, right = width - 14, left = 14, rowY = 64, askY = 190;
  const narrow = width < 560, height = narrow ? 330 : 278;  // on a phone every other label stands lower, beside its neighbour
  const x0 = pit.rows[0].t - 350, x1 = Math.max(pit.rows.at(-1).readable, pit.moments.at(-1).t) + 500;
  const x = (t) => left + ((t - x0) / (x1 - x0)) * (right - left);
  const svg = el("svg", { role: "img", "aria-label": "which row each training moment gets", viewBox: `0 0 ${width} ${height}` });
  svg.append(el("text", { x: 0, y: 14, class: "name" }, "mid_price, its rows in the offline table"));
  svg.append(el("text", { x: 0, y: height - 8, class: "name" }, "moments of a training set, and what each got"));
  svg.append(el("line", { x1: left, x2: right, y1: rowY, y2: rowY, stroke: "var(--rule)" }), el("line", { x1: left, x2: right, y1: askY, y2: askY, stroke: "var(--rule)" }));
  pit.rows.forEach((row, i) => {
    svg.append(el("rect", { x: x(row.t), y: rowY - 3, width: Math.max(1, x(row.readable) - x(row.t)), height: 6, fill: "var(--grid)" }));
    svg.append(el("line", { x1: x(row.readable), x2: x(row.readable), y1: rowY - 6, y2: rowY + 6, stroke: "var(--line)" }));
    svg.append(el("circle", { cx: x(row.t), cy: rowY, r: 5, fill: "var(--line)" }));
    svg.append(el("text", { x: x(row.t), y: rowY - 28, "text-anchor": "middle" }, narrow ? `:${clock(row.t, "second").slice(-2)}` : clock(row.t, "second")));
    if (!narrow || i % 2 === 0) svg.append(el("text", { x: x(row.t), y: rowY - 14, "text-anchor": "middle", class: "strong" }, number(row.value, 7)));
  });
  pit.moments.forEach((m, i) => {
    const at = x(m.t);
    const arc = (value, readable, attributes) => {
      const fits = pit.rows.filter((r) => r.t <= m.t && (!readable || r.readable <= m.t));
      const row = fits.at(-1);
      if (!row || value === null || row.value !== value) return;
      svg.append(el("path", { d: `M${at},${askY}C${at},${askY - 60} ${x(row.t)},${rowY + 66} ${x(row.t)},${rowY + 8}`, fill: "none", "stroke-width": 1.5, ...attributes }));
    };
    svg.append(el("line", { x1: at, x2: at, y1: rowY + 12, y2: askY, stroke: "var(--grid)" }));
    arc(m.by_event, false, { stroke: "var(--green)" });
    arc(m.by_created, true, { stroke: "var(--violet)", "stroke-dasharray": "5 5" });
    svg.append(el("rect", { x: at - 4.5, y: askY - 4.5, width: 9, height: 9, fill: "var(--ink)", transform: `rotate(45 ${at} ${askY})` }));
    const side = at > right - 34 ? "end" : "middle", y = askY + 20 + (narrow && i % 2 ? 52 : 0);
    svg.append(el("text", { x: at, y, "text-anchor": side, class: "strong" }, narrow ? clock(m.t, "ms").slice(-7) : clock(m.t, "ms")));
    svg.append(el("text", { x: at, y: y + 17, "text-anchor": side, style: "fill:var(--green)" }, number(m.by_event, 7)));
    svg.append(el("text", { x: at, y: y + 33, "text-anchor": side, style: "fill:var(--violet)" }, number(m.by_created, 7)));
  });
  const legend = el("div", { class: "legend" },
    el("span", {}, el("i", { style: "background:var(--green)" }), "by event time: the newest row at or before the moment"),
    el("span", {}, el("i", { style: "background:var(--violet)" }), "with filter_by_created_timestamp: the newest that could be read by then"));
  figure.replaceChildren(legend, svg, el("figcaption", {}, `Source: the table microstructure and get_historical_features, ${pit.symbol}, ${day(pit.rows[0].t)}`));
}

// ---- the page ------------------------------------------------------------------------------------------------------------------
function tile(value, text) { return el("div", {}, el("b", {}, value), el("span", {}, text)); }
function onlineTable(online) {
  const head = el("tr", {}, el("th", {}, "feature"), ...online.symbols.map((s) => el("th", {}, s)));
  const body = [];
  let view = "";
  for (const row of online.rows) {
    if (row.view !== view) body.push(el("tr", { class: "view" }, el("td", { colspan: online.symbols.length + 1 }, `${row.view}, served for ${age(row.ttl_s * 1000)} at most`)));
    view = row.view;
    body.push(el("tr", {}, el("td", {}, row.feature), ...row.cells.map((cell) => el("td", {},
      cell.value === null ? el("span", { class: `state ${cell.status === "PRESENT" ? "NULL_VALUE" : cell.status}` }, cell.status === "PRESENT" ? "null" : cell.status) : number(cell.value),
      el("small", {}, cell.status === "NOT_FOUND" ? "" : age(cell.age_ms))))));
  }
  $("online").replaceChildren(el("thead", {}, head), el("tbody", {}, ...body));
}
let chosen = Object.keys(DATA.series.symbols)[0];
function draw() {
  const { t, step_s: step, symbols } = DATA.series, s = symbols[chosen];
  if (s) {
    // blue is to buy and orange is to sell, in every chart; a price has its own colour
    const buy = { colour: "var(--blue)", fill: "var(--wash)" }, sell = { colour: "var(--orange)", fill: "var(--wash2)" };
    const price = { name: "Mid price", unit: "quote", series: [{ values: s.mid_price, colour: "var(--line)" }] }, source = "get_historical_features";
    panels("price", t, step, [price, { name: "Imbalance, five levels", unit: "share", range: [-1, 1], height: 110,
      legend: [{ name: "more to buy", ...buy }, { name: "more to sell", ...sell }],
      series: [{ values: s.imbalance_l5, colour: "var(--faint)", width: 1, fill: buy.fill, fillBelow: sell.fill }] }], source);
    panels("flow", t, step, [{ name: "Volume in one minute: buyers up, sellers down", unit: "base", zero: true, series: [
      { name: "buyers", values: s.buy_volume_1m, ...buy }, { name: "sellers", values: s.sell_volume_1m, ...sell, mirror: true }] },
      { name: "VPIN", unit: "share", zero: true, height: 100, empty: "null all along: fifty buckets of volume are not full yet", series: [{ values: s.vpin, colour: "var(--violet)" }] }], source);
    panels("mood", t, step, [{ ...price, height: 100 }, { name: "Sentiment, −1 to 1", zero: true, empty: "null all along: no scored post", series: [
      { name: "weighted, half-life 15 min", values: s.sentiment_ew_15m, colour: "var(--green)" }, { name: "mean of one hour", values: s.sentiment_compound_1h, colour: "var(--violet)" }] },
      { name: "Posts in five minutes", zero: true, height: 60, empty: "no posts", series: [{ values: s.tweet_count, colour: "var(--faint)", fill: "var(--grid)" }] }], source);
  }
  const delays = DATA.latency.ms, sorted = [...delays].sort((a, b) => a - b);
  if (sorted.length && sorted[0] === sorted.at(-1)) $("latency").replaceChildren(el("p", {}, `All ${sorted.length} of them: ${number(sorted[0])} ms.`));
  else if (delays.length) histogram("latency", delays, DATA.latency.marks.map((m) => ({ ...m, colour: "var(--faint)" })).concat(
    { name: `p50 ${Math.round(quantile(sorted, 0.5))} ms`, ms: quantile(sorted, 0.5), colour: "var(--ink)" }, { name: `p99 ${Math.round(quantile(sorted, 0.99))} ms`, ms: quantile(sorted, 0.99), colour: "var(--ink)" }), DATA.latency.source);
  if (DATA.example) join("pit", DATA.example); else $("pit-section").hidden = true;
}
$("about").textContent = DATA.about;
$("tiles").replaceChildren(...DATA.tiles.map(([value, text]) => tile(value, text)));
$("latency-title").textContent = DATA.latency.title;
$("latency-text").textContent = DATA.latency.text;
$("served").textContent = DATA.served;
const names = Object.keys(DATA.series.symbols);
if (names.length > 1) $("symbols").replaceChildren(...names.map((name) => {
  const button = el("button", { type: "button", "aria-pressed": String(name === chosen) }, name);
  button.onclick = () => {
    chosen = name;
    for (const other of $("symbols").children) other.setAttribute("aria-pressed", String(other === button));
    draw();
  };
  return button;
}));
$("theme").onclick = () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
};
onlineTable(DATA.online);
draw();
let width = document.documentElement.clientWidth;
addEventListener("resize", () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  draw();
});
document.documentElement.dataset.drawn = "yes";

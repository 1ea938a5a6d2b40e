// Charts of the last five minutes, in SVG. Without tooltips: the legend shows the values, the
// latest or those under the pointer.

const SVG = "http://www.w3.org/2000/svg";
const MINUTE = 60_000;
const HEIGHT = 132;
/// Width of the labels of the vertical axis. The charts are drawn from there to the edge.
const LEFT = 46;
/// Least distance of two labels, and about the width of a character of them.
const GAP = 18;
const CHARACTER = 6.6;
const TOP = 8;
const BOTTOM = 18;

export const svg = (name, attributes = {}) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const html = (name, className, text) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

/// The next round number: 1, 1.5, 2, 3, 5, 10, 15 …
const roundUp = (value) => {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 10].map((step) => step * unit).find((step) => step >= value * 0.999);
};

/// Kinds: "stack" for parts of a whole, "lines" for the rest. A series without a name is not in the
/// legend. With `log` the scale is logarithmic; `top` fixes its end, `least` is the lowest end.
export class Chart {
  constructor(figure, options) {
    this.options = options;
    this.figure = figure;
    this.ceiling = options.top ?? options.least ?? 1;
    const caption = html("figcaption");
    caption.append(html("span", "title", options.title));
    const legend = html("ul", "legend");
    this.values = options.series.map((series) => {
      if (!series.name) return null;
      const item = html("li", `key ${series.look}`);
      const value = html("b", "", "–");
      item.append(html("i"), html("span", "", series.name), value);
      legend.append(item);
      return value;
    });
    caption.append(legend);
    this.canvas = svg("svg", { height: HEIGHT, role: "img", "aria-label": options.title });
    figure.append(caption, this.canvas);
    figure.tabIndex = 0;
  }

  /// Rows are oldest first, each with its time `t`; `at` is the row of the legend, or null for the
  /// latest.
  draw(rows, at) {
    this.rows = rows;
    const width = this.canvas.clientWidth || 320;
    const last = rows.length ? rows[rows.length - 1].t : Date.now();
    this.span = Math.min(5, Math.max(1, Math.ceil((last - (rows[0]?.t ?? last)) / MINUTE))) * MINUTE;
    const x = (t) => width - ((last - t) / this.span) * (width - LEFT);
    const table = this.options.series.map((series) => rows.map((row) => series.value(row)));
    const stacked = this.options.kind === "stack";
    const heights = stacked ? rows.map((_, i) => table.reduce((sum, values) => sum + (values[i] ?? 0), 0)) : table.flat();
    this.fit(heights);
    const y = this.scale();
    const parts = [this.grid(width, y, x, last)];
    if (stacked) parts.push(...this.stack(rows, table, x, y));
    else parts.push(...this.lines(rows, table, x, y));
    parts.push(svg("line", { class: "base", x1: LEFT, x2: width, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
    if (at !== null && rows[at]) parts.push(svg("line", { class: "cursor", x1: x(rows[at].t), x2: x(rows[at].t), y1: TOP, y2: HEIGHT - BOTTOM }));
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.canvas.replaceChildren(...parts);
    const told = at ?? rows.length - 1;
    this.values.forEach((value, index) => {
      if (value === null) return;
      const number = table[index][told];
      const say = this.options.series[index].say ?? this.options.format;
      value.textContent = number === null || number === undefined ? "–" : say(number, rows[told]);
    });
  }

  /// The row under a point of the screen, or null.
  rowAt(clientX) {
    if (!this.rows?.length) return null;
    const box = this.canvas.getBoundingClientRect();
    const last = this.rows[this.rows.length - 1].t;
    const t = last - ((box.right - clientX) / (box.width - LEFT)) * this.span;
    const distance = (row) => Math.abs(row.t - t);
    let nearest = 0;
    this.rows.forEach((row, i) => { if (distance(row) < distance(this.rows[nearest])) nearest = i; });
    return nearest;
  }

  /// The scale grows at once and shrinks only when it is far too large, so that it does not
  /// flicker.
  fit(heights) {
    if (this.options.top) return;
    const highest = Math.max(this.options.least ?? 1, ...heights.filter((height) => height !== null && height !== undefined));
    // A decade has no parts on a logarithmic scale.
    const wanted = this.options.log ? 10 ** Math.ceil(Math.log10(highest)) : roundUp(highest);
    if (wanted > this.ceiling || wanted <= this.ceiling / 4) this.ceiling = wanted;
  }

  scale() {
    const room = HEIGHT - TOP - BOTTOM;
    if (!this.options.log) return (value) => HEIGHT - BOTTOM - (Math.min(value, this.ceiling) / this.ceiling) * room;
    const floor = this.options.floor;
    const decades = Math.log10(this.ceiling / floor);
    return (value) => HEIGHT - BOTTOM - (Math.max(0, Math.log10(Math.max(value, floor) / floor)) / decades) * room;
  }

  grid(width, y, x, last) {
    const group = svg("g", { class: "grid" });
    let above = Infinity;
    // From below: the end of the scale is the most likely to have no label.
    for (const mark of this.marks()) {
      const height = y(mark);
      group.append(svg("line", { x1: LEFT, x2: width, y1: height, y2: height }));
      if (above - height < GAP) continue;
      above = height;
      const label = svg("text", { x: LEFT - 7, y: height + 3.5, "text-anchor": "end" });
      label.textContent = this.options.format(mark);
      group.append(label);
    }
    let right = Infinity;
    for (const [ago, text] of this.steps()) {
      // The latest label ends where the chart does, the others are centred.
      const long = text.length * CHARACTER;
      const at = ago === 0 ? width : Math.max(LEFT + long / 2, x(last - ago));
      const end = ago === 0 ? at : at + long / 2;
      if (end > right - 8) continue;
      right = end - long;
      const label = svg("text", { x: at, y: HEIGHT - 4, "text-anchor": ago === 0 ? "end" : "middle" });
      label.textContent = text;
      group.append(label);
    }
    return group;
  }

  /// Labels of the vertical axis, the lowest first.
  marks() {
    if (!this.options.log) return [0, this.ceiling / 2, this.ceiling];
    const marks = [];
    for (let mark = this.options.floor; mark <= this.ceiling * 1.001; mark *= 10) marks.push(mark);
    return marks;
  }

  /// Labels of the horizontal axis, the latest first.
  steps() {
    const minutes = [[0, "now"], ...[1, 2, 3, 4].map((minutes) => [minutes * MINUTE, `−${minutes} min`])];
    const seconds = [[0, "now"], [20_000, "−20 s"], [40_000, "−40 s"]];
    return (this.span > MINUTE ? minutes : seconds).filter(([ago]) => ago < this.span);
  }

  stack(rows, table, x, y) {
    const bases = rows.map(() => 0);
    return this.options.series.map((series, index) => {
      const lower = bases.map((base) => y(base));
      table[index].forEach((value, i) => { bases[i] += value ?? 0; });
      const upper = bases.map((base) => y(base));
      const there = rows.map((row, i) => `${x(row.t).toFixed(1)} ${upper[i].toFixed(1)}`);
      const back = rows.map((row, i) => `${x(row.t).toFixed(1)} ${lower[i].toFixed(1)}`).reverse();
      const d = rows.length ? `M${there.join("L")}L${back.join("L")}Z` : "";
      return svg("path", { class: `area ${series.look}`, d });
    });
  }

  lines(rows, table, x, y) {
    return this.options.series.map((series, index) => {
      let d = "";
      let before = null;
      rows.forEach((row, i) => {
        const value = table[index][i];
        if (value === null || value === undefined) { before = null; return; }
        const joined = before !== null && row.t - before < 4000;
        d += `${joined ? "L" : "M"}${x(row.t).toFixed(1)} ${y(value).toFixed(1)}${joined ? "" : "h.01"}`;
        before = row.t;
      });
      return svg("path", { class: `line ${series.look}`, d });
    });
  }
}

/// Small line chart, for a table.
export const spark = (canvas, values) => {
  const [width, height] = [96, 20];
  const highest = Math.max(1, ...values);
  const step = width / Math.max(59, values.length - 1);
  const from = width - (values.length - 1) * step;
  const points = values.map((value, i) => `${(from + i * step).toFixed(1)} ${(height - 1 - (value / highest) * (height - 3)).toFixed(1)}`);
  if (!canvas.firstChild) canvas.append(svg("path", { class: "under" }), svg("path", { class: "over" }));
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  canvas.firstChild.setAttribute("d", line && `${line}L${width} ${height}L${from.toFixed(1)} ${height}Z`);
  canvas.lastChild.setAttribute("d", line);
};

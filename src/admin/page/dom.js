// Updates of the document that touch only what changed.

export const byId = (id) => document.getElementById(id);
export const say = (id, text) => {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
};

export const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

/// Keeps one child for each item, in their order, and fills it: existing ones stay, with focus and
/// selection.
export const keyed = (parent, items, keyOf, make, fill) => {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const key = keyOf(item);
    const child = old.get(key) ?? make(item);
    old.delete(key);
    child.dataset.key = key;
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    fill(child, item);
  });
  old.forEach((child) => child.remove());
};

export const row = (cells) => {
  const element = document.createElement("tr");
  cells.forEach((kind, i) => {
    const cell = document.createElement(i === 0 ? "th" : "td");
    if (i === 0) cell.scope = "row";
    cell.className = kind;
    element.append(cell);
  });
  return element;
};

export const fillCells = (element, from, texts) => texts.forEach((text, i) => put(element.children[from + i], text));

export const addMeter = (cell) => {
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.append(document.createElement("i"));
  cell.append(bar, document.createElement("span"));
};

export const meterRow = (kinds) => () => {
  const element = row(kinds);
  addMeter(element.lastChild);
  return element;
};

export const fillMeter = (cell, part, text, level) => {
  cell.firstChild.dataset.level = level;
  cell.firstChild.firstChild.style.width = `${Math.min(100, part * 100)}%`;
  put(cell.lastChild, text);
};

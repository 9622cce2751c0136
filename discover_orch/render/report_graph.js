"use strict";
// The graph of the report page: zoom, pan and keys. Of a run with many tools it shows the stages, and draws one of them.
const graphView = (onSelect) => {
  const frame = document.getElementById("graph");
  if (!frame) return { show: () => {}, stageOf: () => null, isOpen: () => false };

  const overview = frame.querySelector("svg");
  const middleOf = (tool) => {
    const box = tool.querySelector(".box").getBBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };

  // Zoom and pan: the frame scrolls, and the size of the image follows the scale.
  let svg, width, height, scale;
  const fitting = () => Math.min(1, (frame.clientWidth - 2) / width);
  const zoom = (next, x = frame.clientWidth / 2, y = frame.clientHeight / 2) => {
    const before = scale;
    scale = Math.min(4, Math.max(Math.min(fitting(), 0.2), next));
    svg.setAttribute("width", width * scale);
    svg.setAttribute("height", height * scale);
    frame.scrollTo((frame.scrollLeft + x) * scale / before - x, (frame.scrollTop + y) * scale / before - y);
  };
  const adopt = (next) => {
    svg = next;
    width = svg.viewBox.baseVal.width;
    height = svg.viewBox.baseVal.height;
    scale = 1;
    zoom(Math.max(fitting(), 0.7));
    const tools = [...svg.querySelectorAll("[data-tool]")];
    const first = next === overview || !tools.length ? 0 : middleOf(tools[0])[1] * scale - frame.clientHeight / 2;
    frame.scrollTo(0, first);
    if (tools.length) {
      svg.setAttribute("role", "group");
      svg.setAttribute("aria-label", svg.querySelector("title").textContent);
    }
    tools.forEach((tool, place) => {
      tool.setAttribute("tabindex", place ? "-1" : "0");
      tool.setAttribute("role", "button");
      tool.setAttribute("aria-label", tool.querySelector("title").textContent);
    });
  };
  const keys = { "+": () => zoom(scale * 1.3), "-": () => zoom(scale / 1.3), 0: () => zoom(fitting()), 1: () => zoom(1) };
  const bar = document.createElement("div");
  bar.className = "zoom";
  for (const [text, key] of [["Zoom in", "+"], ["Zoom out", "-"], ["Fit", "0"], ["100 %", "1"]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.title = "Key " + key + " in the graph";
    button.addEventListener("click", keys[key]);
    bar.append(button);
  }
  frame.before(bar);
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const corner = frame.getBoundingClientRect();
    zoom(scale * (event.deltaY < 0 ? 1.15 : 1 / 1.15), event.clientX - corner.left, event.clientY - corner.top);
  }, { passive: false });
  let drag = null, wasDragged = false;
  frame.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType !== "mouse" || event.target === frame) return;
    wasDragged = false;
    drag = { x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop, hasMoved: false };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.hasMoved ||= Math.abs(x) + Math.abs(y) > 4;
    if (drag.hasMoved) frame.scrollTo(drag.left - x, drag.top - y);
  });
  addEventListener("pointerup", () => {
    wasDragged = drag !== null && drag.hasMoved;
    drag = null;
  });
  frame.addEventListener("click", (event) => {
    if (!wasDragged) return;
    wasDragged = false;
    event.preventDefault();
    event.stopPropagation();
  }, true);
  frame.addEventListener("dragstart", (event) => event.preventDefault());

  // Keys: of the zoom, and from tool to tool.
  const ways = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 1], ArrowUp: [1, -1] };
  const walk = (tool, [axis, sign]) => {
    const here = middleOf(tool);
    let best = null, least = Infinity;
    for (const other of svg.querySelectorAll("[data-tool]")) {
      const there = middleOf(other);
      const ahead = (there[axis] - here[axis]) * sign;
      const cost = ahead + 3 * Math.abs(there[1 - axis] - here[1 - axis]);
      if (other !== tool && ahead > 1 && cost < least) [best, least] = [other, cost];
    }
    if (!best) return;
    tool.setAttribute("tabindex", "-1");
    best.setAttribute("tabindex", "0");
    best.focus();
    best.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key === "=" ? "+" : event.key;
    const tool = event.target.closest("[data-tool]");
    const action = tool && ways[key] ? () => walk(tool, ways[key])
      : tool && (key === "Enter" || key === " ") ? () => onSelect(tool.dataset.tool)
      : Object.hasOwn(keys, key) ? keys[key] : null;
    if (!action) return;
    event.preventDefault();
    action();
  });

  // One stage of many.
  const source = document.getElementById("stages");
  const crumbs = document.querySelector(".crumbs");
  adopt(overview);
  if (!source) return { show: () => {}, stageOf: () => null, isOpen: () => false };
  const { stages, after, data } = JSON.parse(source.content.textContent);
  let shown = null;
  const show = (place) => {
    if (!stages[place]) place = null;
    if (place === shown) return;
    shown = place;
    const next = place === null ? overview : drawStage(stages[place], after, data);
    frame.replaceChildren(next);
    adopt(next);
    frame.setAttribute("aria-label", place === null ? "Graph" : "Graph of the stage " + nameOf(place));
    crumbs.replaceChildren();
    crumbs.previousElementSibling.hidden = place !== null;
    if (place === null) return;
    const back = document.createElement("a");
    back.href = "#graph";
    back.textContent = "All stages";
    const here = document.createElement("b");
    here.textContent = nameOf(place);
    here.setAttribute("aria-current", "page");
    crumbs.append(back, " › ", here, ` (${stages[place].length} tools)`);
  };
  const lists = [...document.querySelectorAll("details.stage")];
  lists.forEach((list) => list.removeAttribute("id")); // so that the browser does not scroll from the graph to the list
  const nameOf = (place) => lists[place].querySelector("summary").firstChild.textContent.trim();
  return { show, stageOf: (tool) => stages.findIndex((tools) => tools.includes(Number(tool))), isOpen: () => shown !== null };
};

// The tools of one stage and the data that they use, in columns, as an SVG element. `stage` has the numbers of the tools.
const drawStage = (stage, after, data) => {
  const nodes = new Map();
  const edges = [];
  const cut = (text) => (text.length > 28 ? text.slice(0, 14) + "…" + text.slice(-13) : text);
  const textOf = (tool, selector) => document.querySelector(`#t${tool} > summary ${selector}`).firstChild?.textContent ?? "";
  const add = (key, kind, label, more) => {
    const node = { key, kind, label, shown: cut(label), layer: -1, left: [], right: [], ...more };
    node.height = kind === "tool" ? 30 : 24;
    node.width = node.shown.length * 6.8 + 24 + (node.mark ? 16 : 0);
    nodes.set(key, node);
    return node;
  };
  for (const tool of stage) {
    const [mark, ...words] = textOf(tool, ".status").split(" ");
    const state = words.join(" ");
    const tone = ["passed", "fresh"].includes(state) ? "good" : ["failed", "unknown"].includes(state) ? "bad" : "warn";
    add("t" + tool, "tool", textOf(tool, "b"), { mark, tone, tool, tip: [state, textOf(tool, ".took")].join("\n") });
  }
  const isHere = (tool) => nodes.has("t" + tool);
  const joined = new Set();
  const names = (verb, tools) => {
    const others = tools.filter((tool) => !isHere(tool)).map((tool) => textOf(tool, "b"));
    const more = others.length > 5 ? ` and ${others.length - 5} more` : "";
    return others.length ? `\n${verb} ${others.slice(0, 5).join(", ")}${more}` : "";
  };
  data.forEach(([kind, label, tip, readers, writers], place) => {
    if (![...readers, ...writers].some(isHere)) return;
    const more = names("written by", writers) + names("read by", readers);
    add("d" + place, kind, label, { tip: tip + more });
    for (const tool of writers.filter(isHere)) edges.push(["t" + tool, "d" + place]);
    for (const tool of readers.filter((one) => isHere(one) && !writers.includes(one))) edges.push(["d" + place, "t" + tool]);
    for (const one of writers) for (const other of readers) joined.add(one + ">" + other);
  });
  for (const [one, other] of after) {
    if (isHere(one) && isHere(other) && !joined.has(one + ">" + other)) edges.push(["t" + one, "t" + other]);
  }

  // Columns: longest paths, in the order of the tools.
  const into = new Map(), out = new Map();
  for (const [from, to] of edges) {
    into.set(to, [...(into.get(to) || []), from]);
    out.set(from, [...(out.get(from) || []), to]);
  }
  for (const tool of stage) {
    const key = "t" + tool;
    let layer = 1;
    for (const one of into.get(key) || []) layer = Math.max(layer, nodes.get(one).layer + 1);
    nodes.get(key).layer = layer;
    for (const one of out.get(key) || []) {
      const target = nodes.get(one);
      const isRead = (out.get(one) || []).some((reader) => nodes.get(reader).layer >= 0);
      if (target.kind !== "tool" && !isRead) target.layer = Math.max(target.layer, layer + 1);
    }
  }
  for (const node of nodes.values()) {
    if (node.layer < 0) node.layer = Math.min(...(out.get(node.key) || []).map((one) => nodes.get(one).layer)) - 1;
  }
  const used = [...new Set([...nodes.values()].map((node) => node.layer))].sort((a, b) => a - b);
  const columns = used.map(() => []);
  for (const node of nodes.values()) {
    node.layer = used.indexOf(node.layer);
    columns[node.layer].push(node);
  }
  for (const [from, to] of edges) {
    const [a, b] = [nodes.get(from), nodes.get(to)];
    if (a.layer < b.layer) {
      a.right.push(b);
      b.left.push(a);
    }
  }
  arrange(columns);

  // The image, of the same parts as the one of the stages.
  let x = 0;
  for (const column of columns) {
    const widest = Math.max(...column.map((node) => node.width));
    for (const node of column) node.x = x + (widest - node.width) / 2;
    x += widest + 48;
  }
  const make = (tag, attributes, ...inside) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  };
  const [width, height] = [x - 48 + 32, Math.max(...[...nodes.values()].map((node) => node.y + node.height / 2)) + 32];
  const group = make("g", { transform: "translate(16 16)" });
  for (const [from, to] of edges) {
    const [a, b] = [nodes.get(from), nodes.get(to)];
    const [startX, endX] = [a.x + a.width, b.x - 6];
    const bend = Math.max(Math.abs(endX - startX) / 2, 24);
    const path = `M${startX} ${a.y}C${startX + bend} ${a.y} ${endX - bend} ${b.y} ${endX} ${b.y}`;
    group.append(make("path", { class: "edge", "data-from": from, "data-to": to, d: path }));
    group.append(make("path", { class: "head", d: `M${b.x} ${b.y}l-7.2 -3.5v7z` }));
  }
  for (const node of nodes.values()) {
    const [top, right] = [node.y - node.height / 2, node.x + node.width];
    const radius = { tool: 7, table: 2, file: 0 }[node.kind];
    const parts = [make("title", {}, `${node.kind} ${node.label}\n${node.tip}`.trim()),
      make("rect", { class: "box", x: node.x, y: top, width: node.width, height: node.height, rx: radius })];
    if (node.kind === "table") parts.push(make("path", { class: "fold", d: `M${node.x} ${top + 4}H${right}` }));
    if (node.kind === "file") parts.push(make("path", { class: "fold", d: `M${right - 8} ${top}v8h8` }));
    if (node.mark) parts.push(make("text", { class: "mark", x: node.x + 10, y: node.y + 4 }, node.mark));
    parts.push(make("text", { x: node.x + 12 + (node.mark ? 16 : 0), y: node.y + 4 }, node.shown));
    const tool = node.kind === "tool" ? { "data-tool": node.tool } : {};
    group.append(make("g", { class: `${node.kind} ${node.tone || ""}`, "data-key": node.key, ...tool }, ...parts));
  }
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  return make("svg", { class: "orch-graph", role: "img", ...size }, make("title", {}, "Tools and data of the stage"), group);
};

// Orders the nodes of each column by barycentres, and gives each its height `y`, near to that of its neighbours.
const arrange = (columns) => {
  const mean = (found) => found.reduce((sum, one) => sum + one, 0) / found.length;
  const rank = (column) => column.forEach((node, place) => { node.rank = place / column.length; });
  columns.forEach(rank);
  for (let turn = 0; turn < 8; turn++) {
    const side = turn % 2 ? "right" : "left";
    for (const column of turn % 2 ? [...columns].reverse() : columns) {
      for (const node of column) node.wish = node[side].length ? mean(node[side].map((one) => one.rank)) : node.rank;
      column.sort((a, b) => a.wish - b.wish);
      rank(column);
    }
  }
  const gap = (column, place) => (place ? (column[place - 1].height + column[place].height) / 2 + 14 : 0);
  for (const column of columns) {
    let y = 0;
    column.forEach((node, place) => { node.y = y += gap(column, place); });
  }
  for (let turn = 0; turn < 5; turn++) {
    const sides = turn === 4 ? ["left", "right"] : [turn % 2 ? "right" : "left"];
    for (const column of turn % 2 ? [...columns].reverse() : columns) {
      // A least-squares problem, solved by pooling adjacent violators, as in layout.py.
      const pools = [];
      let offset = 0;
      column.forEach((node, place) => {
        offset += gap(column, place);
        const near = sides.flatMap((side) => node[side].map((one) => one.y));
        let pool = { at: (near.length ? mean(near) : node.y) - offset, weight: near.length || 0.01, size: 1 };
        while (pools.length && pools.at(-1).at > pool.at) {
          const before = pools.pop();
          const weight = before.weight + pool.weight;
          pool = { at: (before.at * before.weight + pool.at * pool.weight) / weight, weight, size: before.size + pool.size };
        }
        pools.push(pool);
      });
      let place = 0, y = 0;
      for (const pool of pools) {
        for (let one = 0; one < pool.size; one++, place++) column[place].y = pool.at + (y += gap(column, place));
      }
    }
  }
  const all = columns.flat();
  const top = Math.min(...all.map((node) => node.y - node.height / 2));
  for (const node of all) node.y -= top;
};

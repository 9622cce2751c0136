"use strict";
// The graph of the report page: zoom, pan and keys. Of a run with many tools it shows the stages.
const graphView = (onSelect) => {
  const frame = document.getElementById("graph");
  if (!frame) return;

  const svg = frame.querySelector("svg");
  const { width, height } = svg.viewBox.baseVal;
  const middleOf = (tool) => {
    const box = tool.querySelector(".box").getBBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };

  // Zoom and pan: the frame scrolls, and the size of the image follows the scale.
  let scale = 1;
  const fitting = () => Math.min(1, (frame.clientWidth - 2) / width);
  const zoom = (next, x = frame.clientWidth / 2, y = frame.clientHeight / 2) => {
    const before = scale;
    scale = Math.min(4, Math.max(Math.min(fitting(), 0.2), next));
    svg.setAttribute("width", width * scale);
    svg.setAttribute("height", height * scale);
    frame.scrollTo((frame.scrollLeft + x) * scale / before - x, (frame.scrollTop + y) * scale / before - y);
  };
  zoom(Math.max(fitting(), 0.7));
  const tools = [...svg.querySelectorAll("[data-tool]")];
  if (tools.length) {
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", svg.querySelector("title").textContent);
  }
  tools.forEach((tool, place) => {
    tool.setAttribute("tabindex", place ? "-1" : "0");
    tool.setAttribute("role", "button");
    tool.setAttribute("aria-label", tool.querySelector("title").textContent);
  });
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
    for (const other of tools) {
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
};

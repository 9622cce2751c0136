(() => {
  const root = document.documentElement;
  root.classList.add("has-js");
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const tools = all("details.tool");

  // Filter: by text and by status.
  const field = document.getElementById("filter");
  const buttons = all(".filter button");
  const texts = tools.map((tool) => {
    const stage = tool.parentElement.querySelector("summary").firstChild.textContent;
    return (tool.querySelector("summary").textContent + " " + stage).toLowerCase();
  });
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hidden = new Set(buttons.filter((one) => one.getAttribute("aria-pressed") === "false").map((one) => one.dataset.s));
    const isFiltered = words.length > 0 || hidden.size > 0;
    const counts = new Map();
    let shown = 0;
    tools.forEach((tool, place) => {
      const fits = !hidden.has(tool.dataset.s) && words.every((word) => texts[place].includes(word));
      tool.hidden = !fits;
      shown += fits;
      counts.set(tool.parentElement, (counts.get(tool.parentElement) || 0) + fits);
    });
    for (const [stage, count] of counts) {
      stage.hidden = count === 0;
      if (words.length && count && count <= 200) stage.open = true;
    }
    document.getElementById("found").textContent = isFiltered ? `${shown} of ${tools.length} tools` : "";
  };
  if (field) {
    field.addEventListener("input", filter);
    buttons.forEach((button) => button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    }));
  }

  // Selection: one tool, in the graph, in the timeline and in the list.
  let selected = null;
  const select = (key, scrolls) => {
    all(".is-selected").forEach((one) => one.classList.remove("is-selected"));
    all(".is-near").forEach((one) => one.classList.remove("is-near"));
    selected = key === selected && scrolls ? null : key;
    const edges = selected === null ? [] : all(".orch-graph .edge");
    root.classList.toggle("has-selection", edges.length > 0);
    if (selected === null) return;
    for (const one of all(`[data-t="${selected}"], [data-tool="${selected}"]`)) {
      one.classList.add("is-selected");
      if (one.dataset.key) {
        for (const edge of edges) {
          if (edge.dataset.from === one.dataset.key || edge.dataset.to === one.dataset.key) {
            edge.classList.add("is-near");
            edge.nextElementSibling.classList.add("is-near");
          }
        }
      }
    }
    const tool = document.getElementById("t" + selected);
    if (scrolls && tool) {
      tool.parentElement.open = true;
      tool.parentElement.hidden = tool.hidden = false;
      tool.open = true;
      tool.scrollIntoView({ block: "nearest" });
      tool.querySelector("summary").focus({ preventScroll: true });
    }
  };
  const choose = (key) => {
    history.pushState(null, "", key === selected ? "#graph" : "#t" + key); // first: it keeps where the page is scrolled to
    select(key, true);
  };
  graphView(choose);
  document.addEventListener("click", (event) => {
    const tool = event.target.closest("svg [data-t], svg [data-tool]");
    if (tool) choose(tool.dataset.t || tool.dataset.tool);
    const link = event.target.closest(".failure a, .made a, svg a");
    if (!link) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    follow();
  });
  tools.forEach((tool) => tool.addEventListener("toggle", () => { if (tool.open) select(tool.dataset.t, false); }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") select(null, false);
    if (event.key === "/" && field && document.activeElement !== field) {
      event.preventDefault();
      field.focus();
    }
  });

  // The address: #t3 is a tool, #s3 a stage.
  const follow = () => {
    const [, kind, place] = location.hash.match(/^#([st])(\d+)$/) || [];
    selected = null;
    if (kind === "t" && tools[place]) {
      select(place, true);
      return;
    }
    select(null, false);
    const stage = kind === "s" && all("details.stage")[place];
    if (stage) {
      stage.open = true;
      stage.hidden = false;
      stage.scrollIntoView();
      stage.querySelector("summary").focus({ preventScroll: true });
    }
    if (location.hash === "#graph") document.getElementById("graph")?.focus({ preventScroll: true });
  };
  addEventListener("popstate", follow);
  if (location.hash) follow();

  // Logs: gzip in base64.
  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const clean = (text) => text
    .replace(/\x1b\[[0-9;:]*m/g, "")
    .replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
      (one) => "\\x" + one.charCodeAt(0).toString(16).padStart(2, "0"));
  all("button.log").forEach((button) => button.addEventListener("click", async () => {
    const cut = Number(button.dataset.cut);
    const pre = document.createElement("pre");
    pre.tabIndex = 0;
    try {
      const bytes = await unpack(button.parentElement.nextElementSibling.content.textContent);
      const left = cut ? `(${cut.toLocaleString()} bytes before this are left out)\n` : "";
      pre.textContent = left + clean(new TextDecoder().decode(bytes));
      pre.setAttribute("aria-label", "Log");
    } catch (error) {
      pre.textContent = "This browser cannot open the log: " + error.message;
    }
    button.parentElement.replaceWith(pre);
    pre.focus({ preventScroll: true });
  }));
})();

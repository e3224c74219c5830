"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  async function inflated(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  let plotly;
  function loadPlotly() {
    plotly ??= inflated("plotly").then((source) => {
      const element = document.createElement("script");
      element.textContent = source;
      document.head.append(element);
      return window.Plotly;
    });
    return plotly;
  }

  const bundles = new Map();
  function views(number) {
    if (!bundles.has(number)) bundles.set(number, inflated(`bundle-${number}`).then(JSON.parse));
    return bundles.get(number);
  }

  function chartButtons(chart, draw) {
    const bar = document.createElement("div");
    bar.className = "metrics";
    for (const [group, kinds] of Charts.kinds(chart)) {
      const [named, label] = [document.createElement("span"), document.createElement("span")];
      named.setAttribute("role", "group");
      named.setAttribute("aria-label", group);
      label.textContent = group;
      named.append(label);
      for (const [kind, text] of kinds) {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.kind = kind;
        button.textContent = text;
        button.addEventListener("click", () => draw(kind));
        named.append(button);
      }
      bar.append(named);
    }
    return bar;
  }

  const drawn = new Map();
  async function drawChart(element, chart) {
    const Plotly = await loadPlotly();
    if (!element.isConnected || element.dataset.drawn) return;
    element.dataset.drawn = "1";
    const plot = document.createElement("div");
    plot.className = "plot";
    let current = "max_ulp";
    const draw = (kind = current) => {
      current = kind;
      for (const one of bar.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one.dataset.kind === kind));
      return Plotly.react(plot, ...Charts.figure(chart, kind));
    };
    const bar = chartButtons(chart, draw);
    // A picture has no buttons inside for those who cannot see it: they stand before it.
    element.before(bar);
    element.append(plot);
    drawn.set(element, draw);
    await draw();
  }
  function redraw() {
    for (const [element, draw] of drawn) element.isConnected ? draw() : drawn.delete(element);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => { document.documentElement.dataset.print = "1"; redraw(); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.print; redraw(); });

  // Pairs.
  async function show(pair, place) {
    pair.wanted = String(place);
    const found = await views(pair.dataset.number);
    // Opening a pair by a link asks twice: for what stood there, and for what the link names.
    if (pair.wanted !== String(place)) return;
    const view = pair.querySelector(".view");
    if (String(place) !== pair.dataset.shown) {
      view.innerHTML = found[place][0];
      pair.dataset.shown = place;
      pair.querySelector(".choose").value = place;
    }
    await drawChart(view.querySelector(".chart"), found[place][1]);
  }
  for (const pair of document.querySelectorAll(".pair[data-shown]")) {
    pair.addEventListener("toggle", () => pair.open && show(pair, pair.wanted ?? pair.dataset.shown));
    pair.querySelector(".choose").addEventListener("change", (event) => show(pair, event.target.value));
  }
  for (const lazy of document.querySelectorAll(".pair .lazy")) {
    lazy.closest(".pair").addEventListener("toggle", async () => {
      lazy.innerHTML ||= await inflated(lazy.dataset.from);
    });
  }
  function follow() {
    const [, number, rest] = location.hash.match(/^#pair-(\d+)(?:\/(.+))?$/) ?? [];
    const pair = number && byId(`pair-${number}`);
    if (!pair) return;
    pair.open = true;
    const place = rest && (/^\d+$/.test(rest) ? rest : placeOf(pair, decodeURIComponent(rest)));
    if (place && pair.dataset.shown) show(pair, place);
    pair.scrollIntoView();
  }
  function placeOf(pair, dtype) {
    const chosen = byId("filter-case").value;
    const options = [...pair.querySelectorAll(`.choose optgroup[label="${CSS.escape(dtype)}"] option`)];
    return (options.find((one) => one.text === `${chosen} ${dtype}`) ?? options[0])?.value;
  }
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#pair-"]');
    if (link && link.getAttribute("href") === location.hash) follow();
  });

  // The matrix.
  const spots = JSON.parse(byId("spots").textContent);
  const heat = byId("heat");
  const cells = [...heat.querySelectorAll("td[data-pair]")];
  for (const cell of cells) cell.whole = [cell.className, cell.dataset.kinds, cell.firstElementChild.innerHTML];

  function ofCase(name) {
    return new Map((spots.cases[name] ?? []).map(([pair, dtype, ...spot]) => [`${pair} ${spots.dtypes[dtype]}`, spot]));
  }
  function fill(cell, spot) {
    const [kind, symbol, level, expected, figures] = spot ?? ["", "", 0, 1, ""];
    cell.className = `heat-${level}${expected ? "" : " unexpected"}`;
    cell.dataset.kinds = kind;
    const told = document.createElement("span"), more = document.createElement("span");
    told.className = "kind";
    told.textContent = spot ? `${symbol} ${kind}` : "not asked";
    more.className = "figures";
    more.textContent = expected ? figures : `${figures}\n✕ not as expected`;
    cell.firstElementChild.replaceChildren(told, more);
  }
  function filter() {
    const [name, dtype, verdict, epsilon] = ["case", "dtype", "verdict", "epsilon"].map((one) => byId(`filter-${one}`)?.value ?? "");
    const found = name ? ofCase(name) : null;
    let count = 0;
    for (const cell of cells) {
      if (found) fill(cell, found.get(`${cell.dataset.pair} ${cell.dataset.dtype}`));
      else [cell.className, cell.dataset.kinds, cell.firstElementChild.innerHTML] = cell.whole;
      const placed = !epsilon || cell.parentElement.dataset.epsilon.split(" ").includes(epsilon);
      const matches = placed && (!verdict || cell.dataset.kinds.split(" ").includes(verdict));
      cell.classList.toggle("dim", !matches);
      cell.toggleAttribute("inert", !matches);
      count += matches && (!dtype || cell.dataset.dtype === dtype);
    }
    for (const one of heat.querySelectorAll("[data-dtype]")) one.hidden = Boolean(dtype) && one.dataset.dtype !== dtype;
    for (const row of heat.tBodies[0].rows) row.hidden = ![...row.cells].some((one) => one.dataset.pair && !one.hidden && !one.inert);
    byId("filter-count").textContent = name || dtype || verdict || epsilon ? `${count} of ${cells.length} fields` : "";
  }
  const filters = document.querySelector("#matrix .filters");
  filters.addEventListener("change", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(filter));

  filter();
  follow();
  // Plotly takes a second to unpack and to read: done while the reader still reads.
  if (byId("plotly")) addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(loadPlotly));
})();

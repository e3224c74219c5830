"use strict";
(() => {
  const QUANTITIES = {w: ["solid", "circle"], m: ["dash", "square"], v: ["dot", "diamond"], vmax: ["dashdot", "cross"]};
  const METRICS = {max_ulp: "ULP", max_steps: "lr", max_abs: "absolute", max_rel: "relative"};
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

  // Charts. Zero and NaN have no place on a logarithmic axis: each gets a line of its own, below and above the rest.
  const power = (value) => Math.pow(10, value);

  function axis(curves) {
    const positive = curves.flatMap((one) => one[2]).filter((value) => value > 0);
    const low = positive.length ? Math.floor(Math.log10(Math.min(...positive))) : 0;
    const high = positive.length ? Math.ceil(Math.log10(Math.max(...positive))) : 0;
    const gap = Math.max(1, Math.round((high - low) / 8));
    const [zero, lost] = [low - gap, high + gap];
    const values = curves.flatMap((one) => one[2]);
    const every = Math.max(1, Math.ceil((high - low) / 7));
    const ticks = [];
    const label = (one) => (one >= 0 && one < 4 ? String(power(one)) : `1e${one}`);
    for (let one = low; one <= high; one += every) ticks.push([power(one), label(one)]);
    if (values.includes(0)) ticks.unshift([power(zero), "0"]);
    if (values.includes(null)) ticks.push([power(lost), "NaN/inf"]);
    const ends = [values.includes(0) ? zero : low, values.includes(null) ? lost : high];
    return {zero: power(zero), lost: power(lost), ticks, range: [ends[0] - 0.3 * gap, ends[1] + 0.4 * gap]};
  }

  function figure(chart, metric) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const curves = chart.curves.filter((one) => one[1] === metric);
    const floor = metric === "max_steps" ? chart.noise : null;
    const place = axis(floor ? [...curves, [null, null, [floor]]] : curves);
    const unit = {max_ulp: " ULP", max_steps: " lr"}[metric] ?? "";
    const traces = curves.map(([quantity, , values]) => ({
      name: quantity,
      x: chart.steps,
      y: values.map((value) => (value === null ? place.lost : value === 0 ? place.zero : value)),
      text: values.map((value) => (value === null ? "NaN or inf" : `${value}${unit}`)),
      hovertemplate: `${quantity}, step %{x}: %{text}<extra></extra>`,
      mode: chart.steps.length > 60 ? "lines" : "lines+markers",
      line: {color: color(`c-${quantity}`), dash: QUANTITIES[quantity]?.[0] ?? "solid", width: 2},
      marker: {color: color(`c-${quantity}`), symbol: QUANTITIES[quantity]?.[1] ?? "circle", size: 6},
    }));
    const ink = color("ink"), soft = color("soft"), line = color("line");
    const shapes = [], annotations = [];
    const note = (text, ink, at) => annotations.push({text, showarrow: false, font: {size: 12, color: ink}, ...at});
    // Shapes take values on a logarithmic axis, annotations take their logarithms.
    if (chart.first !== null) {
      const [x, ends] = [chart.first, {yref: "paper", y0: 0, y1: 1}];
      shapes.push({type: "line", x0: x, x1: x, ...ends, line: {color: ink, width: 1, dash: "dash"}});
      const at = {x: Math.log10(x), yref: "paper", y: 1, xanchor: "left", yanchor: "bottom"};
      note(`first difference: step ${x}`, ink, at);
    }
    if (floor) {
      const ends = {xref: "paper", x0: 0, x1: 1};
      shapes.push({type: "line", ...ends, y0: floor, y1: floor, line: {color: soft, width: 2, dash: "longdash"}});
      note("noise floor", soft, {xref: "paper", x: 1, y: Math.log10(floor), xanchor: "right", yanchor: "bottom"});
    }
    const both = {type: "log", gridcolor: line, linecolor: line, zeroline: false};
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: {color: ink, family: "system-ui, sans-serif", size: 13},
      margin: {l: 70, r: 12, t: 30, b: 48},
      showlegend: true,
      legend: {orientation: "h", x: 1, y: 1.02, xanchor: "right", yanchor: "bottom"},
      shapes,
      annotations,
      xaxis: {...both, title: {text: "step"}, dtick: chart.steps.at(-1) > 20 ? "D2" : undefined, tickformat: ",d"},
      yaxis: {
        ...both,
        title: {text: `difference, ${METRICS[metric]}`},
        range: place.range,
        tickvals: place.ticks.map((one) => one[0]),
        ticktext: place.ticks.map((one) => one[1]),
      },
    };
    return [traces, layout, {displayModeBar: false, responsive: true}];
  }

  function metricButtons(chart, draw) {
    const bar = document.createElement("div");
    bar.className = "metrics";
    for (const metric of Object.keys(METRICS).filter((one) => chart.curves.some((curve) => curve[1] === one))) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.metric = metric;
      button.textContent = METRICS[metric];
      button.addEventListener("click", () => draw(metric));
      bar.append(button);
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
    const draw = (metric = current) => {
      current = metric;
      for (const one of bar.children) one.setAttribute("aria-pressed", String(one.dataset.metric === metric));
      return Plotly.react(plot, ...figure(chart, metric));
    };
    const bar = metricButtons(chart, draw);
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
    const [name, dtype, verdict] = ["case", "dtype", "verdict"].map((one) => byId(`filter-${one}`).value);
    const found = name ? ofCase(name) : null;
    let count = 0;
    for (const cell of cells) {
      if (found) fill(cell, found.get(`${cell.dataset.pair} ${cell.dataset.dtype}`));
      else [cell.className, cell.dataset.kinds, cell.firstElementChild.innerHTML] = cell.whole;
      const matches = !verdict || cell.dataset.kinds.split(" ").includes(verdict);
      cell.classList.toggle("dim", !matches);
      cell.toggleAttribute("inert", !matches);
      count += matches && (!dtype || cell.dataset.dtype === dtype);
    }
    for (const one of heat.querySelectorAll("[data-dtype]")) one.hidden = Boolean(dtype) && one.dataset.dtype !== dtype;
    for (const row of heat.tBodies[0].rows) row.hidden = ![...row.cells].some((one) => one.dataset.pair && !one.hidden && !one.inert);
    byId("filter-count").textContent = name || dtype || verdict ? `${count} of ${cells.length} fields` : "";
  }
  const filters = document.querySelector("#matrix .filters");
  filters.addEventListener("change", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(filter));

  filter();
  follow();
})();

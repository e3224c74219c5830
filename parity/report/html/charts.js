"use strict";
// What Plotly draws of a pair: kinds of charts by name, each from the data of one view.
const Charts = (() => {
  const QUANTITIES = {w: ["solid", "circle", ""], m: ["dash", "square", "/"], v: ["dot", "diamond", "x"], vmax: ["dashdot", "cross", "."]};
  const METRICS = {max_ulp: ["ULP", " ULP"], max_steps: ["lr", " lr"], max_abs: ["absolute", ""], max_rel: ["relative", ""]};
  const TERMS = [["c-w", ""], ["c-w", "/"], ["c-vmax", "x"], ["line", ""], ["c-v", "/"], ["c-v", ""]];
  const NO_DISTANCE = -1, ZEROS = -1;

  const power = (value) => Math.pow(10, value);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function layout(more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: {color: color("ink"), family: "system-ui, sans-serif", size: 13},
      margin: {l: 70, r: 12, t: 30, b: 52},
      showlegend: true,
      legend: {orientation: "h", x: 1, y: 1.02, xanchor: "right", yanchor: "bottom"},
      hoverlabel: {align: "left"},
      ...more,
    };
  }
  function axis(title, more = {}) {
    return {title: {text: title}, gridcolor: color("line"), linecolor: color("line"), zeroline: false, fixedrange: true, ...more};
  }
  const stepAxis = (last) => axis("step", {type: "log", dtick: last > 20 ? "D2" : undefined, tickformat: ",d"});

  // Zero and NaN have no place on a logarithmic axis: each gets a line of its own, below and above the rest.
  function logarithmic(curves) {
    const values = curves.flatMap((one) => one[2]);
    const positive = values.filter((value) => value > 0);
    const low = positive.length ? Math.floor(Math.log10(Math.min(...positive))) : 0;
    const high = positive.length ? Math.ceil(Math.log10(Math.max(...positive))) : 0;
    const gap = Math.max(1, Math.round((high - low) / 8));
    const [zero, lost] = [low - gap, high + gap];
    const every = Math.max(1, Math.ceil((high - low) / 7));
    const ticks = [];
    const label = (one) => (one >= 0 && one < 4 ? String(power(one)) : `1e${one}`);
    for (let one = low; one <= high; one += every) ticks.push([power(one), label(one)]);
    if (values.includes(0)) ticks.unshift([power(zero), "0"]);
    if (values.includes(null)) ticks.push([power(lost), "NaN/inf"]);
    const ends = [values.includes(0) ? zero : low, values.includes(null) ? lost : high];
    return {zero: power(zero), lost: power(lost), ticks, range: [ends[0] - 0.3 * gap, ends[1] + 0.4 * gap]};
  }

  function curves(chart, metric) {
    const shown = chart.curves.filter((one) => one[1] === metric);
    const floor = metric === "max_steps" ? chart.noise : null;
    const place = logarithmic(floor ? [...shown, [null, null, [floor]]] : shown);
    const [name, unit] = METRICS[metric];
    const traces = shown.map(([quantity, , values]) => ({
      name: quantity,
      x: chart.steps,
      y: values.map((value) => (value === null ? place.lost : value === 0 ? place.zero : value)),
      text: values.map((value) => (value === null ? "NaN or inf" : `${value}${unit}`)),
      hovertemplate: `${quantity}, step %{x}: %{text}<extra></extra>`,
      mode: chart.steps.length > 60 ? "lines" : "lines+markers",
      line: {color: color(`c-${quantity}`), dash: QUANTITIES[quantity]?.[0] ?? "solid", width: 2},
      marker: {color: color(`c-${quantity}`), symbol: QUANTITIES[quantity]?.[1] ?? "circle", size: 6},
    }));
    const [ink, soft] = [color("ink"), color("soft")];
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
    const ticks = {tickvals: place.ticks.map((one) => one[0]), ticktext: place.ticks.map((one) => one[1])};
    const yaxis = axis(`difference, ${name}`, {type: "log", range: place.range, ...ticks});
    return [traces, layout({shapes, annotations, xaxis: stepAxis(chart.steps.at(-1)), yaxis})];
  }

  const short = (value) => (value < 10000 ? value.toLocaleString("en") : value.toExponential(0).replace("+", ""));
  const distance = (chart, one) => (one === NO_DISTANCE ? "NaN/inf" : chart.classes[one]);
  function distances(cells, place) {
    const found = cells.map((one) => one[place]);
    const most = Math.max(...found);
    const all = [...Array(most + 1).keys()];
    return found.includes(NO_DISTANCE) ? [...all, NO_DISTANCE] : all;
  }

  function thinned(list, label) {
    const every = Math.ceil(list.length / (innerWidth < 640 ? 4 : 9));
    const kept = list.map((one, place) => [place, label(one)]).filter(([place]) => place % every === 0);
    return {tickvals: kept.map((one) => one[0]), ticktext: kept.map((one) => one[1])};
  }

  function histogram(chart) {
    const totals = chart.histograms.map(([quantity, counts]) => [quantity, new Map(counts)]);
    const classes = distances(totals.flatMap(([, counts]) => [...counts.keys()].map((one) => [one])), 0);
    const traces = totals.map(([quantity, counts]) => {
      const sum = [...counts.values()].reduce((one, other) => one + other, 0);
      return {
        type: "bar",
        name: quantity,
        x: classes.map((_, place) => place),
        y: classes.map((one) => counts.get(one) ?? null),
        text: classes.map((one) => {
          const elements = (counts.get(one) ?? 0).toLocaleString("en");
          return `${elements} of ${sum.toLocaleString("en")} elements<br>apart by ${distance(chart, one)} ULP`;
        }),
        textposition: "none",
        hovertemplate: `${quantity}: %{text}<extra></extra>`,
        marker: {color: color(`c-${quantity}`), pattern: {shape: QUANTITIES[quantity]?.[2] ?? "", fgcolor: color("paper"), fillmode: "overlay", size: 5}},
      };
    });
    const most = Math.max(...traces.flatMap((one) => one.y.filter(Boolean)));
    return [traces, layout({
      barmode: "group",
      xaxis: axis("ULP apart", {showgrid: false, ...thinned(classes, (one) => distance(chart, one))}),
      yaxis: axis("elements of all steps", {type: "log", range: [-0.3, Math.log10(most) + 0.2], dtick: 1, tickformat: "~s"}),
    })];
  }

  function density(chart, quantity) {
    const [, starts, cells] = chart.densities.find((one) => one[0] === quantity);
    const columns = starts.map((_, place) => place);
    if (cells.some((one) => one[0] === ZEROS)) columns.unshift(ZEROS);
    if (cells.some((one) => one[0] < ZEROS)) columns.push(ZEROS - 1);
    const classes = distances(cells, 1);
    const counts = new Map(cells.map(([column, one, elements]) => [`${column} ${one}`, elements]));
    const magnitude = (one) => (one === ZEROS ? "0" : one < ZEROS ? "NaN/inf" : Math.pow(2, starts[one]).toExponential(0).replace("+", ""));
    const found = (value) => classes.map((one) => columns.map((column) => value(counts.get(`${column} ${one}`))));
    const most = Math.log10(Math.max(...counts.values()));
    const ticks = [...Array(Math.floor(most) + 1).keys()];
    const trace = {
      type: "heatmap",
      x: columns.map((_, place) => place),
      y: classes.map((_, place) => place),
      z: found((elements) => (elements ? Math.log10(elements) : null)),
      text: classes.map((one) => columns.map((column) => {
        const elements = (counts.get(`${column} ${one}`) ?? 0).toLocaleString("en");
        return `${elements} elements of ${quantity} from ${magnitude(column)} on<br>apart by ${distance(chart, one)} ULP`;
      })),
      hovertemplate: "%{text}<extra></extra>",
      xgap: 1,
      ygap: 1,
      zmin: 0,
      zmax: Math.max(1, most),
      colorscale: [2, 3, 4, 5].map((one, place) => [place / 3, color(`h${one}`)]),
      colorbar: {title: {text: "elements", side: "right"}, tickvals: ticks, ticktext: ticks.map((one) => short(power(one))), thickness: 12, outlinewidth: 0},
    };
    return [[trace], layout({
      showlegend: false,
      xaxis: axis(`size of ${quantity}`, {showgrid: false, ...thinned(columns, magnitude)}),
      yaxis: axis("ULP apart", {showgrid: false, automargin: true, ...thinned(classes, (one) => distance(chart, one))}),
    })];
  }

  function shares(chart) {
    const {steps, terms} = chart.shares;
    const traces = terms.map(([place, name, values]) => ({
      name,
      x: steps,
      y: values.map((one) => 100 * one),
      stackgroup: "terms",
      mode: "lines",
      line: {width: 1, color: color("ink")},
      fillcolor: color(TERMS[place][0]),
      fillpattern: {shape: TERMS[place][1], fgcolor: color("paper"), size: 7, fillmode: "overlay"},
      hovertemplate: `${name}, step %{x}: %{y:.3g} %<extra></extra>`,
    }));
    return [traces, layout({
      xaxis: stepAxis(steps.at(-1)),
      yaxis: axis("share of w's difference, %", {range: [0, 100]}),
      legend: {orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", traceorder: "normal"},
    })];
  }

  // What there is to choose from: groups of charts, each with its name and what its button says.
  function kinds(chart) {
    const curves = Object.entries(METRICS).filter(([one]) => chart.curves.some((curve) => curve[1] === one));
    const found = [["by step", curves.map(([one, [text]]) => [one, text])]];
    const sizes = (chart.densities ?? []).map(([quantity]) => [`density ${quantity}`, `by size of ${quantity}`]);
    if (sizes.length) found.push(["elements", [["histogram", "by distance"], ...sizes]]);
    if (chart.shares?.terms.length) found.push(["terms", [["shares", "shares of w"]]]);
    return found;
  }

  function figure(chart, kind) {
    const [name, quantity] = kind.split(" ");
    const made = {histogram, density, shares}[name];
    return [...(made ? made(chart, quantity) : curves(chart, kind)), {displayModeBar: false, responsive: true}];
  }

  return {kinds, figure};
})();

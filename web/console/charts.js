// Lines over time, drawn by Chart.js (a global of chart.js, which came as a script before this module).
// Each has a legend in text, a summary for who can't see it, and its numbers as a table.

import { h, show } from "./dom.js";
import { minute, time } from "./format.js";

const Chart = globalThis.Chart;
const STEP_MS = 5000;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const MINUTE_MS = 60000;

function keepWholeMinutes(scale) {
  const labels = scale.getLabels();
  const most = scale.width < 360 ? 4 : 6;
  const step = [1, 2, 3, 5, 15].find((minutes) => labels.length * STEP_MS / (minutes * MINUTE_MS) <= most) ?? 15;
  scale.ticks = labels.map((at, value) => ({ at, value })).filter(({ at }) => at % (step * MINUTE_MS) === 0);
}

function axis(format, text, grid) {
  return {
    y: {
      beginAtZero: true,
      grace: "5%",
      border: { display: false },
      grid: { color: grid, drawBorder: false },
      ticks: { color: text, maxTicksLimit: 5, callback: (value) => format(value), precision: format.isWhole ? 0 : undefined },
    },
    x: {
      grid: { display: false, drawBorder: false },
      afterBuildTicks: keepWholeMinutes,
      ticks: { color: text, autoSkip: false, maxRotation: 0,
        callback(value) { return minute(this.getLabelForValue(value)); } },
    },
  };
}

/**
 * chart({title, series: [{key, label}], format, signal}): an element, and update({times, KEY: [numbers]})
 * with as many numbers a series as there are times (ms since 1970); null is a hole.
 */
export function chart({ title, series, format, signal }) {
  const canvas = h("canvas", { role: "img", "aria-label": title }); // more than that once there is something to tell
  const values = series.map(() => h("strong"));
  const legend = h("ul", { class: "legend" }, series.map((one, index) =>
    h("li", {}, h("span", { class: `swatch series-${index + 1}`, "aria-hidden": "true" }), one.label, values[index])));
  const rows = h("tbody");
  const data = h("details", { class: "data" }, h("summary", {}, "Show as a table"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
      h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), series.map((one) => h("th", { scope: "col", class: "number" }, one.label)))),
        rows)));
  const element = h("section", { class: "panel", "aria-label": title },
    h("div", { class: "chart-head" }, h("h2", {}, title), legend),
    h("div", { class: "plot" }, canvas), data);
  let plot = null;
  let latest = null;

  function make() {
    plot = new Chart(canvas, {
      type: "line",
      data: { labels: [], datasets: series.map((one) => ({ label: one.label, data: [] })) },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        elements: { point: { radius: 0, hoverRadius: 4 }, line: { borderWidth: 2, cubicInterpolationMode: "monotone" } },
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: { title: (items) => time(items[0].label * 1), label: (item) => ` ${item.dataset.label}: ${format(item.parsed.y)}` } },
        },
      },
    });
    paint();
  }

  function paint() {
    plot.options.scales = axis(format, colour("--soft"), colour("--grid"));
    plot.data.datasets.forEach((set, index) => {
      set.borderColor = colour(`--series-${index + 1}`);
      set.backgroundColor = set.borderColor;
      set.pointBackgroundColor = set.borderColor;
    });
    plot.update("none");
  }

  function summarise() {
    const parts = series.map((one, index) => {
      const known = latest[one.key].filter((value) => value !== null);
      const last = known.at(-1);
      values[index].textContent = last === undefined ? "–" : format(last);
      return known.length === 0
        ? `${one.label}: nothing yet`
        : `${one.label}: now ${format(last)}, highest ${format(Math.max(...known))}, lowest ${format(Math.min(...known))}`;
    });
    canvas.setAttribute("aria-label", `${title}, the last ${Math.round(latest.times.length * STEP_MS / MINUTE_MS)} minutes. ${parts.join(". ")}.`);
  }

  function fillTable() {
    if (data.open && latest) {
      const order = latest.times.map((at, index) => [at, index]).reverse();
      show(rows, order.map(([at, index]) => h("tr", {}, h("th", { scope: "row" }, time(at)),
        series.map((one) => h("td", { class: "number" }, latest[one.key][index] === null ? "–" : format(latest[one.key][index]))))));
    }
  }

  data.addEventListener("toggle", fillTable);
  document.addEventListener("theme-changed", () => plot && paint(), { signal });
  signal.addEventListener("abort", () => plot?.destroy(), { once: true });

  return {
    element,
    update(next) {
      latest = next;
      if (!plot) {
        make();
      }
      plot.data.labels = next.times;
      plot.data.datasets.forEach((set, index) => { set.data = next[series[index].key]; });
      plot.update("none");
      summarise();
      fillTable();
    },
  };
}

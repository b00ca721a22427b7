// One chart of the overview: drawn with uPlot, with a legend of buttons and the same numbers as a table.

import uPlot from "../vendor/uplot/uplot.js";
import { locale } from "./locale.js";

/**
 * @typedef {{name: string, points: [number, number | null][]}} Series
 * @typedef {{name: string, unit: string, series: Series[]}} Chart  as /api/v1/overview/charts has it
 * @typedef {object} Words
 * @property {string} title        what the chart shows
 * @property {Record<string, string>} series  names of the series
 * @property {string} table        of the button that shows the table
 * @property {string} time         head of the table's first column
 * @property {string} none         in the place of a value that nobody knows
 * @property {string} empty        in the place of a chart without any value
 */

const DAY_SECONDS = 24 * 3600;
const AXIS_PIXELS = 60;
const DASHES = [7, 4];

/** @type {Record<string, (value: number) => string>} */
const UNITS = {
  photos_per_second: (value) => `${number(value)}/s`,
  photos: (value) => number(value),
  seconds: (value) => (value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`),
  share: (value) => new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 }).format(value),
  cores: (value) => number(value),
  bytes: (value) => bytes(value),
};

/** Two or three figures, which are enough to read. */
function number(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: size < 1 ? 2 : 3 };
  return new Intl.NumberFormat(locale, digits).format(value);
}

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = value < 1 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), units.length - 1);
  return `${number(value / 1000 ** power)} ${units[power]}`;
}

/** @returns {(seconds: number) => string} as short as the span allows */
function clock(seconds) {
  const day = seconds > 2 * DAY_SECONDS;
  const format = new Intl.DateTimeFormat(
    locale,
    day ? { weekday: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  );
  return (at) => format.format(at * 1000);
}

function moment(at) {
  const format = { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Intl.DateTimeFormat(locale, format).format(at * 1000);
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * Draw a chart into `root`, a figure that is empty.
 *
 * @param {HTMLElement} root
 * @param {Chart} chart
 * @param {Words} words
 * @returns {{update: (chart: Chart) => void, destroy: () => void}} update: of the same series, newer points
 */
export function draw(root, chart, words) {
  return new Drawing(root, chart, words);
}

class Drawing {
  constructor(root, chart, words) {
    this.words = words;
    this.root = root;
    this.hidden = new Set();
    root.classList.add("chart");
    root.setAttribute("aria-label", words.title);
    this.plot = element("div", "chart-plot");
    this.time = element("span", "chart-time");
    this.legend = element("div", "chart-legend");
    this.table = element("details", "chart-table", element("summary", "", words.table));
    this.table.addEventListener("toggle", () => this.fillTable());
    root.replaceChildren(this.legend, this.plot, this.table);
    // The picture says nothing that the legend and the table do not.
    this.plot.setAttribute("aria-hidden", "true");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.paint = () => this.show();
    this.dark.addEventListener("change", this.paint);
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.plot);
    this.update(chart);
  }

  update(chart) {
    const names = chart.series.map((series) => series.name).join();
    const known = this.chart?.series.map((series) => series.name).join();
    this.chart = chart;
    this.times = chart.series[0]?.points.map(([at]) => at) ?? [];
    this.values = chart.series.map((series) => series.points.map(([, value]) => value));
    this.write = UNITS[chart.unit] ?? number;
    if (names !== known) this.fillLegend();
    this.show();
    this.tell(null);
    this.fillTable();
  }

  destroy() {
    this.resized.disconnect();
    this.dark.removeEventListener("change", this.paint);
    this.canvas?.destroy();
    this.root.replaceChildren();
  }

  label(series) {
    return this.words.series[series.name] ?? series.name;
  }

  fillLegend() {
    this.cells = [];
    const several = this.chart.series.length > 1;
    const buttons = this.chart.series.map((series, index) => {
      const swatch = element("span", `chart-swatch${index ? " second" : ""}${series.name === "failed" ? " failed" : ""}`);
      const value = element("span", "chart-value");
      const button = element("button", "", swatch, element("span", "", this.label(series)), value);
      this.cells.push(value);
      button.type = "button";
      if (several) {
        button.setAttribute("aria-pressed", "true");
        button.addEventListener("click", () => this.toggle(index, button));
      } else {
        // One line alone is not to be hidden.
        button.disabled = true;
      }
      return button;
    });
    this.legend.replaceChildren(...buttons, this.time);
  }

  toggle(index, button) {
    const shown = this.hidden.has(index);
    if (shown) this.hidden.delete(index);
    else this.hidden.add(index);
    button.setAttribute("aria-pressed", String(shown));
    this.canvas?.setSeries(index + 1, { show: shown });
  }

  /** Values at a place of the cursor, null: the newest that are known. */
  tell(place) {
    this.values.forEach((values, index) => {
      const value = place === null ? values.findLast((each) => each !== null) : values[place];
      this.cells[index].textContent = value === null || value === undefined ? this.words.none : this.write(value);
    });
    this.time.textContent = place === null ? "" : moment(this.times[place]);
  }

  fillTable() {
    this.table.querySelector("div")?.remove();
    if (!this.table.open) return;
    const head = [this.words.time, ...this.chart.series.map((series) => this.label(series))];
    const cell = (tag, scope, text) => {
      const made = element(tag, "", text);
      if (scope) made.scope = scope;
      return made;
    };
    const rows = this.times.map((at, place) =>
      element(
        "tr",
        "",
        cell("th", "row", moment(at)),
        ...this.values.map((values) =>
          cell("td", "", values[place] === null ? this.words.none : this.write(values[place])),
        ),
      ),
    );
    // The newest first, which is what somebody looks for.
    const table = element(
      "table",
      "",
      element("caption", "visually-hidden", this.words.title),
      element("thead", "", element("tr", "", ...head.map((text) => cell("th", "col", text)))),
      element("tbody", "", ...rows.reverse()),
    );
    const scrolled = element("div", "", table);
    scrolled.tabIndex = 0;
    scrolled.setAttribute("role", "region");
    scrolled.setAttribute("aria-label", this.words.title);
    this.table.append(scrolled);
  }

  fit() {
    const { clientWidth, clientHeight } = this.plot;
    if (this.canvas && clientWidth) this.canvas.setSize({ width: clientWidth, height: clientHeight });
    else if (clientWidth) this.show();
  }

  show() {
    const known = this.values.some((values) => values.some((value) => value !== null));
    const { clientWidth, clientHeight } = this.plot;
    this.canvas?.destroy();
    this.canvas = null;
    if (!known) {
      this.plot.replaceChildren(element("p", "chart-empty", this.words.empty));
    } else if (clientWidth) {
      this.plot.replaceChildren();
      this.canvas = new uPlot(this.options(clientWidth, clientHeight), [this.times, ...this.values], this.plot);
    }
  }

  options(width, height) {
    const style = getComputedStyle(this.root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--muted"),
      font: `12px ${style.fontFamily}`,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const shown = clock(this.times.at(-1) - this.times[0]);
    return {
      width,
      height,
      padding: [10, 20, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, least, most) => [Math.min(0, least ?? 0), most > 0 ? most * 1.08 : 1] } },
      axes: [
        { ...axis, size: 30, space: 64, values: (_, places) => places.map(shown) },
        { ...axis, size: AXIS_PIXELS, space: 36, values: (_, places) => places.map((value) => this.write(value)) },
      ],
      series: [{}, ...this.chart.series.map((series, index) => this.line(series, index, colour))],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? null)] },
    };
  }

  line(series, index, colour) {
    const stroke = colour(series.name === "failed" ? "--line-failed" : index ? "--line-second" : "--line-first");
    return {
      stroke,
      fill: index ? undefined : `${stroke}1f`,
      width: 2,
      dash: index ? DASHES : undefined,
      points: { show: false },
      show: !this.hidden.has(index),
    };
  }
}

// Calls and cost over time: stacked bars on an axis of days, weeks or months, and the same as a table.
//
// The axis is ordinal: places are numbers, and labels are made of the days' own names. Given instants, the chart's own
// arithmetic is an hour off near a change of the browser's clock.

import { dayLabel } from "./days.mjs";
import { series, total } from "./totals.mjs";
import { html } from "./ui.mjs";
import { useEffect, useMemo, useRef, useState } from "./vendor/hooks.mjs";
import uPlot from "./vendor/uplot.mjs";
import { count, countOf, dollars } from "./words.mjs";

const HEIGHT = 220;
/** Pixels per label of the axis. */
const LABEL_WIDTH = 64;
const UNITS = { "@day": "day", "@week": "week", "@month": "month" };
/** Statuses with a color of their own, by number; the others share one. */
const COLORED = [
  "completed",
  "no-answer",
  "busy",
  "failed",
  "stopped",
  "canceled",
  "error",
  "balance-low",
  "in-progress",
];

/** The custom property with the color of a status. @param {string} status */
const colorOf = (status) => `--c${COLORED.indexOf(status) + 1}`;

/**
 * @typedef {object} Bar one color of a stack
 * @property {string} name
 * @property {string} color the name of a custom property
 * @property {number[]} values one for each place
 *
 * @typedef {object} Stack
 * @property {string} title
 * @property {string} unit
 * @property {string[]} days
 * @property {Bar[]} bars
 * @property {(value: number) => string} format how values of the axis are written
 * @property {(at: number) => string} describe everything about one place
 */

/** @param {{ totals: import("./loader.mjs").Totals, onToggle: () => void, isTable: boolean }} props */
export function Charts({ totals, onToggle, isTable }) {
  const { daily, unit } = totals;
  const data = useMemo(() => series(daily, unit), [daily, unit]);
  const calls = useMemo(() => callStack(data, UNITS[unit]), [data, unit]);
  const cost = useMemo(() => costStack(data, UNITS[unit]), [data, unit]);
  return html`
    <div class="panels two">
      <${Panel} stack=${calls} isTable=${isTable} onToggle=${onToggle} table=${html`<${CallsTable} data=${data} stack=${calls} />`} />
      <${Panel} stack=${cost} isTable=${isTable} onToggle=${onToggle} table=${html`<${CostTable} data=${data} stack=${cost} />`} />
    </div>
    ${data.undated > 0 && html`<p class="note">${countOf(data.undated, "call")} without a readable date: in the totals, not in the charts.</p>`}
  `;
}

/**
 * @param {import("./totals.mjs").Series} data
 * @param {string} unit
 * @returns {Stack}
 */
function callStack({ days, statuses, calls }, unit) {
  const bars = statuses.map((name) => ({
    name: `${name} ${count(total(calls.get(name) ?? new Map()))}`,
    color: colorOf(name),
    values: days.map((day) => calls.get(name)?.get(day) ?? 0),
  }));
  const describe = (/** @type {number} */ at) => {
    const parts = statuses
      .map((name) => [name, calls.get(name)?.get(days[at] ?? "") ?? 0])
      .filter(([, calls]) => calls);
    const all = parts.reduce((sum, [, calls]) => sum + Number(calls), 0);
    return `${countOf(all, "call")}${parts.length > 0 ? ": " : ""}${parts.map(([name, calls]) => `${calls} ${name}`).join(", ")}`;
  };
  return { title: `Calls per ${unit}, by status`, unit, days, bars, format: count, describe };
}

/**
 * @param {import("./totals.mjs").Series} data
 * @param {string} unit
 * @returns {Stack}
 */
function costStack({ days, cost }, unit) {
  const values = days.map((day) => Number(cost.get(day) ?? 0));
  const describe = (/** @type {number} */ at) => dollars(cost.get(days[at] ?? "") ?? "0");
  const format = (/** @type {number} */ cents) => `$${count(cents / 100)}`;
  return {
    title: `Cost per ${unit}`,
    unit,
    days,
    bars: [{ name: "", color: "--accent", values }],
    format,
    describe,
  };
}

/** @param {{ stack: Stack, isTable: boolean, onToggle: () => void, table: any }} props */
function Panel({ stack, isTable, onToggle, table }) {
  return html`
    <section class="panel">
      <header>
        <h2>${stack.title}</h2>
        <button type="button" aria-pressed=${isTable} onClick=${onToggle}>Table</button>
      </header>
      ${isTable ? table : html`<${Chart} stack=${stack} />`}
    </section>
  `;
}

/** @param {{ stack: Stack }} props */
function Chart({ stack }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    let plot = draw(stack, element, setAt);
    const redraw = () => {
      plot.destroy();
      plot = draw(stack, element, setAt);
    };
    // Colors on a canvas don't follow the page's.
    const schemes = [matchMedia("(prefers-color-scheme: dark)"), matchMedia("(forced-colors: active)")];
    schemes.forEach((scheme) => scheme.addEventListener("change", redraw));
    const resized = new ResizeObserver(() => {
      if (Math.abs(element.clientWidth - plot.width) > 1)
        plot.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    resized.observe(element);
    return () => {
      schemes.forEach((scheme) => scheme.removeEventListener("change", redraw));
      resized.disconnect();
      plot.destroy();
    };
  }, [stack]);
  const { days, describe, title } = stack;
  const day = at === null ? undefined : days[at];
  const range = days.length === 0 ? "no calls" : `${days[0]} to ${days.at(-1)}`;
  return html`
    <div class="chart" ref=${place} role="img" aria-label="${title}, ${range}. The table view has the numbers."></div>
    <p class="readout" aria-hidden="true">
      ${day === undefined ? html`<${Legend} stack=${stack} />` : html`<b>${fullLabel(day)}</b> ${describe(at ?? 0)}`}
    </p>
  `;
}

/** @param {{ stack: Stack }} props */
function Legend({ stack }) {
  const named = stack.bars.filter(({ name }) => name !== "");
  return named.map(
    ({ name, color }) => html`<span class="key"><i class="swatch ${color.slice(2)}"></i>${name}</span>`,
  );
}

/**
 * @param {Stack} stack
 * @param {HTMLElement} element
 * @param {(at: number | null) => void} onCursor
 */
function draw({ days, bars, format }, element, onCursor) {
  const style = getComputedStyle(element);
  const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const sums = stacked(bars.map(({ values }) => values));
  const axis = {
    stroke: color("--soft"),
    grid: { stroke: color("--line"), width: 1 },
    ticks: { stroke: color("--line"), width: 1 },
  };
  const font = "12px system-ui, sans-serif";
  // The tallest first, so that each covers the lower part of the one before.
  const drawn = bars.map((bar, at) => ({ bar, sums: sums[at] ?? [] })).reverse();
  /** @type {uPlot.Options} */
  const options = {
    width: Math.max(200, element.clientWidth),
    height: HEIGHT,
    padding: [12, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: false, range: () => [-0.6, Math.max(0.6, days.length - 0.4)] },
      y: { range: (_plot, _min, max) => [0, Math.max(1, max * 1.08)] },
    },
    axes: [
      {
        ...axis,
        font,
        grid: { show: false },
        splits: (plot) => places(days.length, Math.max(1, Math.floor(plot.width / LABEL_WIDTH))),
        values: (_plot, splits) => splits.map((at) => shortLabel(days[at] ?? "")),
      },
      {
        ...axis,
        font,
        size: 64,
        values: (_plot, splits) => splits.map((at) => (at % 1 === 0 ? format(at) : "")),
      },
    ],
    series: [
      {},
      ...drawn.map(({ bar }) => ({
        fill: color(bar.color),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars?.({ size: [0.8, 40] }),
      })),
    ],
    hooks: { setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)] },
  };
  const data = [days.map((_day, at) => at), ...drawn.map(({ sums }) => sums)];
  return new uPlot(options, /** @type {any} */ (data), element);
}

/** Each list with all lists before it added. @param {number[][]} lists */
function stacked(lists) {
  /** @type {number[][]} */
  const sums = [];
  for (const list of lists) {
    const below = sums.at(-1);
    sums.push(below === undefined ? list : list.map((value, at) => value + (below[at] ?? 0)));
  }
  return sums;
}

/**
 * At most so many places, at equal distances.
 * @param {number} length
 * @param {number} most
 */
function places(length, most) {
  const step = Math.max(1, Math.ceil(length / most));
  return Array.from({ length: Math.ceil(length / step) }, (_none, at) => at * step);
}

/** @param {string} day */
function shortLabel(day) {
  return dayLabel(
    day,
    day.length === 7 ? { month: "short", year: "2-digit" } : { month: "short", day: "numeric" },
  );
}

/** @param {string} day */
function fullLabel(day) {
  if (day.length === 7) return dayLabel(day, { month: "long", year: "numeric" });
  return dayLabel(day, { weekday: "short", month: "short", day: "numeric", year: "numeric" });
}

/** @param {{ data: import("./totals.mjs").Series, stack: Stack }} props */
function CallsTable({ data: { days, statuses, calls }, stack }) {
  const cell = (/** @type {string} */ status, /** @type {string} */ day) => calls.get(status)?.get(day) ?? 0;
  const sumOf = (/** @type {string} */ day) => statuses.reduce((all, status) => all + cell(status, day), 0);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label=${stack.title}>
      <table class="figures">
        <caption class="visually-hidden">${stack.title}</caption>
        <thead>
          <tr><th scope="col">${stack.unit}</th><th scope="col">all</th>${statuses.map((status) => html`<th scope="col">${status}</th>`)}</tr>
        </thead>
        <tbody>
          ${days.toReversed().map(
            (day) => html`
              <tr key=${day}>
                <th scope="row">${day}</th><td>${count(sumOf(day))}</td>${statuses.map((status) => html`<td>${count(cell(status, day))}</td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/** @param {{ data: import("./totals.mjs").Series, stack: Stack }} props */
function CostTable({ data: { days, cost }, stack }) {
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label=${stack.title}>
      <table class="figures">
        <caption class="visually-hidden">${stack.title}</caption>
        <thead><tr><th scope="col">${stack.unit}</th><th scope="col">cost</th></tr></thead>
        <tbody>
          ${days.toReversed().map((day) => html`<tr key=${day}><th scope="row">${day}</th><td>${dollars(cost.get(day) ?? "0")}</td></tr>`)}
        </tbody>
      </table>
    </div>
  `;
}

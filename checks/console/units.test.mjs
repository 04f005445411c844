// The console's own arithmetic, without a browser. test_console.py runs this in several time zones.

import assert from "node:assert/strict";
import { test } from "node:test";
import { turns } from "../../console/call.mjs";
import { allBetween, dayLabel, dayOf, daysBetween, plusDays } from "../../console/days.mjs";
import { parseWithDecimals, sum } from "../../console/decimal.mjs";
import { applied, readCalls, select } from "../../console/rows.mjs";
import { failures, hangupReasons, missingOf, series, tiles } from "../../console/totals.mjs";
import { unitOf } from "../../console/view.mjs";
import { ago, callLength, dollars, instantOf, share, webLink } from "../../console/words.mjs";

test("sums are exact at any length", () => {
  assert.equal(sum(["324.71", "181.51"]), "506.22");
  assert.equal(sum(["0.1", "0.2"]), "0.3");
  assert.equal(sum(["9007199254740993", "0.000000000001"]), "9007199254740993.000000000001");
  assert.equal(sum(["-1.5", "0.25"]), "-1.25");
  assert.equal(sum([]), "0");
});

test("cents become dollars with one rounding", () => {
  assert.equal(dollars("50622.5"), "$506.23");
  assert.equal(dollars("900719925474099312"), "$9,007,199,254,740,993.12");
  assert.equal(dollars("0.4"), "$0.00");
});

test("numbers of a response keep their text, where the engine hands it out", () => {
  const { sum: text, name } = parseWithDecimals('{"sum":12.710,"name":"5"}');
  assert.ok(text === "12.710" || text === "12.71");
  assert.equal(name, "5");
});

test("the day of an instant is that of the zone, whatever the clock of this machine does", () => {
  assert.equal(dayOf(Date.parse("2026-03-28T18:29:59.999Z"), "Asia/Kolkata"), "2026-03-28");
  assert.equal(dayOf(Date.parse("2026-03-28T18:30:00Z"), "Asia/Kolkata"), "2026-03-29");
  assert.equal(dayOf(Date.parse("2026-03-29T01:30:00Z"), "UTC"), "2026-03-29");
  assert.equal(dayOf(Date.parse("2026-11-01T05:30:00Z"), "America/New_York"), "2026-11-01");
});

test("days follow one another across changes of the clock", () => {
  assert.equal(plusDays("2026-03-28", 1), "2026-03-29");
  assert.equal(plusDays("2026-03-30", -1), "2026-03-29");
  assert.equal(daysBetween("2026-03-01", "2026-04-01"), 31);
  assert.deepEqual(allBetween("2026-10-24", "2026-10-26", "@day"), [
    "2026-10-24",
    "2026-10-25",
    "2026-10-26",
  ]);
  assert.deepEqual(allBetween("2026-12-28", "2027-01-05", "@week"), ["2026-12-28", "2027-01-04"]);
  assert.deepEqual(allBetween("2026-11", "2027-02", "@month"), ["2026-11", "2026-12", "2027-01", "2027-02"]);
  assert.equal(dayLabel("2026-03-29", { month: "short", day: "numeric" }), "Mar 29");
});

test("the charts' unit gets coarser before there are too many groups", () => {
  const view = { agents: ["a"], range: "all", from: "", to: "", zone: "UTC" };
  const since = (days) => [{ id: "a", name: "A", createdAt: Date.now() - days * 86_400_000 }];
  assert.equal(unitOf(view, since(100)), "@day");
  assert.equal(unitOf(view, since(400)), "@week");
  assert.equal(unitOf(view, since(2_000)), "@month");
  assert.equal(unitOf({ ...view, range: "90d" }, since(2_000)), "@day");
});

const group = (day, status, count, cost, reason = null) => ({
  key: { "@day": day, status, "telephony_data.hangup_reason": reason },
  count: String(count),
  stats: { total_cost: { count: String(count), sum: cost } },
});

const summary = {
  total: "8",
  stats: { total_cost: { sum: "506.22" }, conversation_duration: { sum: "0" } },
  histogram: { counts: ["8", "0", "0", "0", "0", "0", "0", "0"] },
  groups: [
    group("2026-11-01", "completed", 2, "324.71", "Normal"),
    group("2026-11-03", "failed", 3, "181.51", ""),
    group("2026-11-03", "call-disconnected", 1, "0"),
    group(null, null, 2, "0"),
  ],
};

test("nothing is divided by no minutes", () => {
  assert.equal(tiles(summary).centsPerMinute, null);
  assert.equal(tiles(summary).connected, 0);
  assert.equal(share(0, 0), "–");
});

test("a call that upstream only disconnected is under way, as is one without a status", () => {
  assert.equal(tiles(summary).underWay, 3);
});

test("days without calls have their place, and calls without a date are counted apart", () => {
  const { days, cost, undated, statuses } = series(summary, "@day");
  assert.deepEqual(days, ["2026-11-01", "2026-11-02", "2026-11-03"]);
  assert.equal(cost.get("2026-11-03"), "181.51");
  assert.equal(undated, 2);
  assert.equal(statuses[0], "failed");
  assert.deepEqual(series({ ...summary, groups: [] }, "@day").days, []);
});

test("failures are by status and reason", () => {
  assert.deepEqual(failures(summary), [{ label: "failed · (no reason given)", count: 3 }]);
  assert.equal(hangupReasons(summary)[0].label, "(no reason given)");
});

test("a search looks at ids, numbers, statuses and reasons", () => {
  const call = (id, seconds, reason) => ({
    id,
    agent: "",
    created: "",
    at: seconds,
    status: "busy",
    seconds,
    cents: 0,
    number: "+91",
    reason,
  });
  const calls = [call("a", 3, "x"), call("b", 1, "Carrier"), call("c", 2, "x")];
  const wanted = { text: "", status: "", by: "at", descending: true };
  assert.equal(select(calls, wanted).length, 3);
  assert.deepEqual(
    select(calls, { ...wanted, text: "CARRIER" }).map(({ id }) => id),
    ["b"],
  );
  assert.deepEqual(
    select(calls, { ...wanted, by: "seconds", descending: false }).map(({ id }) => id),
    ["b", "c", "a"],
  );
  assert.deepEqual(select(calls, { ...wanted, status: "failed" }), []);
});

test("fifty thousand rows are sorted without a spread of arguments", () => {
  const calls = Array.from({ length: 300_000 }, (_none, at) => ({
    id: String(at),
    at,
    number: "",
    status: "",
    reason: "",
    cents: (at * 7_919) % 1_000,
  }));
  assert.equal(select(calls, { text: "", status: "", by: "cents", descending: true })[0].cents, 999);
});

/** The signal of a request that nobody ends. */
const going = () => new AbortController().signal;

/** The calls of a body, cut into pieces wherever, and its verdict. */
async function callsOf(text, pieces = 7) {
  const bytes = new TextEncoder().encode(text);
  const body = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += pieces) controller.enqueue(bytes.slice(at, at + pieces));
      controller.close();
    },
  });
  const calls = [];
  const response = new Response(body, { headers: { "X-Request-Id": "r-1" } });
  const end = await readCalls(response, "first", going(), (some) => calls.push(...some));
  return { calls, end };
}

const END = '{"@end":{"complete":true,"count":2,"as_of":"2026-11-01T00:00:00Z"}}\n';

test("rows are of the agent that the line before them names", async () => {
  const text =
    '{"@agent":{"agent_id":"a"}}\n{"id":"1"}\n\n{"@agent":{"agent_id":"b"}}\n{"@agent":{"agent_id":"c"}}\n{"id":"ह"}\n';
  const { calls, end } = await callsOf(text + END);
  assert.deepEqual(
    calls.map(({ id, agent }) => `${agent} ${id}`),
    ["a 1", "c ह"],
  );
  assert.equal(end.complete, true);
  assert.equal((await callsOf(`{"id":"1","status":null}\n${END}`)).calls[0].agent, "first");
});

test("a control line is no row, also one that is not known yet", async () => {
  const { calls } = await callsOf(`{"@new":{"id":"x"}}\n{"id":"1"}\n${END}`);
  assert.deepEqual(
    calls.map(({ id }) => id),
    ["1"],
  );
});

test("a reader that has enough ends the stream, and rows that are gone name their agent", async () => {
  const body = `{"id":"1"}\n{"@removed":{"id":"2"}}\n{"@removed":{"agent_id":"b","id":"3"}}\n${END}`;
  assert.equal(await readCalls(new Response(body), "first", going(), () => false), null);
  const gone = [];
  await readCalls(
    new Response(body),
    "first",
    going(),
    () => {},
    (id, agent) => gone.push(`${agent} ${id}`),
  );
  assert.deepEqual(gone, ["first 2", "b 3"]);
});

const ROWS = `${'{"id":"1","status":"busy"}\n'.repeat(100_000)}${END}`;

test("others get their turns while rows that have arrived are parsed", async () => {
  let turns = 0;
  const other = setInterval(() => (turns += 1));
  const seen = [];
  await readCalls(new Response(ROWS), "first", going(), () => seen.push(turns));
  clearInterval(other);
  assert.ok(new Set(seen).size > 1, seen.join());
});

test("rows of a request that was ended between two turns are not delivered", async () => {
  const abort = new AbortController();
  let delivered = 0;
  const read = readCalls(new Response(ROWS), "first", abort.signal, () => {
    delivered += 1;
    abort.abort();
  });
  await assert.rejects(read, { name: "AbortError" });
  assert.equal(delivered, 1);
});

const at = (id, seconds, agent = "a", status = "busy") => ({ id, agent, at: seconds, status });
const idsOf = (calls) => calls.map(({ id }) => id).join("");

test("changes are applied by id, and what did not change is the same object", () => {
  const calls = [at("a", 9), at("b", 7), at("c", 5), at("d", 3)];
  const next = applied(
    calls,
    [at("b", 7, "a", "failed"), at("x", 8), at("y", 8), at("z", 1)],
    new Map([["c", "a"]]),
  );
  assert.equal(idsOf(next), "axybdz");
  assert.equal(next[0], calls[0]);
  assert.equal(next[3].status, "failed");
  assert.equal(applied(calls, [], new Map()), calls);
});

test("a call that comes again, goes twice or is of another agent does no harm", () => {
  const calls = [at("a", 9), at("b", 7)];
  assert.equal(idsOf(applied(calls, [at("a", 9), at("a", 9)], new Map([["x", "a"]]))), "ab");
  assert.equal(idsOf(applied(calls, [], new Map([["a", "other"]]))), "ab");
  assert.equal(idsOf(applied(calls, [at("a", 9, "other")], new Map())), "aab");
  assert.equal(idsOf(applied(calls, [at("a", 5)], new Map())), "ba");
});

test("calls without a date stay where they are, and new ones come last", () => {
  const calls = [at("a", 9), at("u", NaN), at("b", 5)];
  assert.equal(idsOf(applied(calls, [at("c", 3), at("v", NaN), at("d", 7)], new Map())), "audbcv");
  assert.equal(idsOf(applied(calls, [at("u", NaN)], new Map())), "aub");
});

test("changes applied one after another are the rows of the last response", () => {
  let state = 7;
  const draw = (most) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % most;
  };
  const truth = new Map();
  let calls = [];
  for (let turn = 0; turn < 300; turn += 1) {
    const changed = Array.from({ length: draw(4) }, () => {
      const id = String(draw(60));
      return { id, agent: "a", at: Number(id) % 20, status: `${turn}` };
    });
    const removed = new Map();
    for (const id of truth.keys())
      if (draw(30) === 0 && !changed.some((call) => call.id === id)) removed.set(id, "a");
    changed.forEach((call) => truth.set(call.id, call));
    removed.forEach((_agent, id) => truth.delete(id));
    calls = applied(calls, changed, removed);
    const sorted = [...truth.values()].sort((one, two) => two.at - one.at || (one.id < two.id ? -1 : 1));
    assert.deepEqual(calls, sorted);
  }
});

test("a stream without a verdict is cut off, wherever it ends", async () => {
  const whole = `{"id":"1"}\n{"id":"2"}\n${END}`;
  for (let length = 0; length < whole.length - 1; length += 1) {
    await assert.rejects(
      callsOf(whole.slice(0, length)),
      { code: "cut_off", requestId: "r-1" },
      String(length),
    );
  }
});

test("with several agents each says what is missing of it", () => {
  const part = { from: "a", to: "b", code: "c", detail: "d" };
  assert.deepEqual(missingOf({ ...summary, missing: [part] }), [part]);
  assert.deepEqual(
    missingOf({ ...summary, agents: [{ agent_id: "x", missing: [part] }, { agent_id: "y" }] }),
    [{ ...part, agent: "x" }],
  );
});

test("a transcript is split at who speaks", () => {
  assert.deepEqual(turns("assistant: Hello\nhow are you?\nuser: ratio: 5"), [
    { who: "assistant", said: "Hello\nhow are you?" },
    { who: "user", said: "ratio: 5" },
  ]);
  assert.deepEqual(turns("no label"), [{ who: "", said: "no label" }]);
});

test("only web pages are links", () => {
  assert.equal(webLink("https://a.example/x"), "https://a.example/x");
  for (const text of [
    "javascript:alert(1)",
    "data:text/html,x",
    "blob:x",
    "//a.example",
    "",
    null,
    5,
    " java\nscript:alert(1)",
  ]) {
    assert.equal(webLink(text), null, String(text));
  }
});

test("instants without an offset mean UTC", () => {
  assert.equal(instantOf("2026-01-28T13:17:50.116924"), Date.parse("2026-01-28T13:17:50.116Z"));
  assert.equal(instantOf("2026-01-28T13:17:50+05:30"), Date.parse("2026-01-28T07:47:50Z"));
  assert.ok(Number.isNaN(instantOf(null)));
});

test("times are said as people say them", () => {
  assert.equal(callLength(125.4), "2:05");
  assert.equal(ago(59.6), "60 s");
  assert.equal(ago(240), "4 min");
});

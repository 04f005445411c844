// The agents to choose from, and the control that chooses.

import { Problem, get } from "./api.mjs";
import { html } from "./ui.mjs";
import { useEffect, useRef, useState } from "./vendor/hooks.mjs";
import { UUID } from "./view.mjs";
import { count, instantOf, sentence, textOf } from "./words.mjs";

/**
 * @typedef {import("./view.mjs").Agent} Agent
 * @typedef {{ list: Agent[], problem: Problem | null, isLoaded: boolean }} Agents
 */

/** The most agents of one list that are shown; the search finds the others. */
const MOST_SHOWN = 200;
/** The most agents that one request may name. */
const MOST_CHOSEN = 100;

/**
 * The agents that the key reaches.
 * @param {AbortSignal} signal
 * @returns {Promise<Agents>}
 */
export async function readAgents(signal) {
  try {
    const response = await get("v2/agent/all", { signal });
    const document = await response.json();
    const list = (Array.isArray(document) ? document : []).map(agentOf).filter(({ id }) => UUID.test(id));
    list.sort((one, two) => one.name.localeCompare(two.name));
    return { list, problem: null, isLoaded: true };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { list: [], problem: error, isLoaded: true };
  }
}

/** @param {any} agent @returns {Agent} */
function agentOf(agent) {
  const id = textOf(agent?.id).toLowerCase();
  const created = instantOf(agent?.created_at);
  return { id, name: textOf(agent?.agent_name) || id, createdAt: Number.isNaN(created) ? null : created };
}

/**
 * Chooses agents; the choice is made when the list is closed.
 * @param {object} props
 * @param {Agents} props.agents
 * @param {string[]} props.chosen
 * @param {(ids: string[]) => void} props.onChoose
 */
export function AgentPicker({ agents, chosen, onChoose }) {
  const details = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const [text, setText] = useState("");
  const [draft, setDraft] = useState(chosen);
  useEffect(() => setDraft(chosen), [chosen]);
  const close = (/** @type {string[]} */ ids) => {
    if (!details.current?.open) return;
    details.current.open = false;
    const kept = ids.length === 0 ? chosen : ids;
    setDraft(kept);
    if (kept.join() !== chosen.join()) onChoose(kept);
  };
  useEffect(() => {
    const onPointer = (/** @type {Event} */ event) => {
      if (details.current && !event.composedPath().includes(details.current)) close(draft);
    };
    document.addEventListener("pointerdown", onPointer);
    return () => document.removeEventListener("pointerdown", onPointer);
  });
  const leave = (/** @type {string[]} */ ids) => {
    close(ids);
    details.current?.querySelector("summary")?.focus();
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") leave(chosen);
  };
  const toggle = (/** @type {string} */ id) => {
    // Out of all, one is taken away.
    const now = isAll && agents.list.length <= MOST_CHOSEN ? agents.list.map((agent) => agent.id) : draft;
    const others = now.filter((one) => one !== id && one !== "all");
    setDraft(now.includes(id) ? others : [...others, id].sort());
  };
  const needle = text.trim().toLowerCase();
  const matches = agents.list.filter(
    ({ id, name }) => name.toLowerCase().includes(needle) || id.startsWith(needle),
  );
  const isAll = draft[0] === "all";
  const isFull = !isAll && draft.length >= MOST_CHOSEN;
  return html`
    <details class="picker" ref=${details} onKeyDown=${onKeyDown}>
      <summary><span class="label">Agents</span> <span class="value">${chosenWords(agents.list, chosen)}</span></summary>
      <div class="choices">
        ${agents.problem && html`<p class="note">The list of agents can't be read: ${sentence(agents.problem.message)} Enter an agent's id.</p>`}
        <label>Search, or an agent's id <input type="search" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>
        ${UUID.test(needle) && matches.length === 0 && html`<button type="button" onClick=${() => leave([needle])}>Show this agent</button>`}
        <fieldset>
          <legend class="visually-hidden">Agents</legend>
          ${
            agents.list.length > 1 &&
            needle === "" &&
            html`<label><input type="checkbox" checked=${isAll} onChange=${() => setDraft(isAll ? [] : ["all"])} /> <span>All ${count(agents.list.length)} agents</span></label>`
          }
          ${matches.slice(0, MOST_SHOWN).map(
            ({ id, name }) => html`
              <label key=${id}>
                <input type="checkbox" checked=${isAll || draft.includes(id)} disabled=${isFull && !draft.includes(id)} onChange=${() => toggle(id)} />
                <span>${name}<small>${id.slice(0, 8)}</small></span>
              </label>
            `,
          )}
        </fieldset>
        ${matches.length > MOST_SHOWN && html`<p class="note">${count(MOST_SHOWN)} of ${count(matches.length)}: search for the others.</p>`}
        ${isFull && html`<p class="note">At most ${MOST_CHOSEN} agents can be chosen by name; or choose all.</p>`}
        ${matches.length === 0 && !agents.problem && agents.isLoaded && html`<p class="note">No agent matches.</p>`}
        ${matches.length > 0 && html`<button type="button" class="main" disabled=${draft.length === 0} onClick=${() => leave(draft)}>Show ${chosenWords(agents.list, draft)}</button>`}
      </div>
    </details>
  `;
}

/**
 * @param {Agent[]} list
 * @param {string[]} chosen
 */
function chosenWords(list, chosen) {
  const [first, ...rest] = chosen;
  if (first === undefined) return "choose…";
  if (first === "all") return list.length > 0 ? `all ${count(list.length)} agents` : "all agents";
  const name = list.find(({ id }) => id === first)?.name ?? first;
  return rest.length === 0 ? name : `${name} and ${count(rest.length)} more`;
}

// The agents to choose from, and the control that chooses.

import { Problem, get } from "./api.mjs";
import { html } from "./ui.mjs";
import { useEffect, useRef, useState } from "./vendor/hooks.mjs";
import { UUID } from "./view.mjs";
import { count, instantOf, textOf } from "./words.mjs";

/**
 * @typedef {import("./view.mjs").Agent} Agent
 * @typedef {{ list: Agent[], problem: Problem | null, isLoaded: boolean }} Agents
 */

/** The most agents of one list that are shown; the search finds the others. */
const MOST_SHOWN = 200;

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
 * @param {object} props
 * @param {Agents} props.agents
 * @param {string[]} props.chosen
 * @param {(ids: string[]) => void} props.onChoose
 */
export function AgentPicker({ agents, chosen, onChoose }) {
  const details = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const [text, setText] = useState("");
  const close = () => {
    if (details.current) details.current.open = false;
  };
  useEffect(() => {
    const onPointer = (/** @type {Event} */ event) => {
      if (details.current && !event.composedPath().includes(details.current)) close();
    };
    document.addEventListener("pointerdown", onPointer);
    return () => document.removeEventListener("pointerdown", onPointer);
  }, []);
  const needle = text.trim().toLowerCase();
  const matches = agents.list.filter(({ id, name }) => name.toLowerCase().includes(needle) || id.startsWith(needle));
  const choose = (/** @type {string} */ id) => {
    onChoose([id]);
    close();
    details.current?.querySelector("summary")?.focus();
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    close();
    details.current?.querySelector("summary")?.focus();
  };
  return html`
    <details class="picker" ref=${details} onKeyDown=${onKeyDown}>
      <summary><span class="label">Agent</span> <span class="value">${chosenWords(agents.list, chosen)}</span></summary>
      <div class="choices">
        ${agents.problem && html`<p class="note">The list of agents can't be read: ${agents.problem.message} Enter an agent's id.</p>`}
        <label>Search, or an agent's id <input type="search" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>
        ${UUID.test(needle) && matches.length === 0 && html`<button type="button" onClick=${() => choose(needle)}>Show this agent</button>`}
        <fieldset>
          <legend class="visually-hidden">Agents</legend>
          ${matches.slice(0, MOST_SHOWN).map(
            ({ id, name }) => html`
              <label key=${id}><input type="radio" name="agent" checked=${chosen.includes(id)} onChange=${() => choose(id)} /> <span>${name}<small>${id.slice(0, 8)}</small></span></label>
            `,
          )}
        </fieldset>
        ${matches.length > MOST_SHOWN && html`<p class="note">${count(MOST_SHOWN)} of ${count(matches.length)}: search for the others.</p>`}
        ${matches.length === 0 && !agents.problem && agents.isLoaded && html`<p class="note">No agent matches.</p>`}
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
  const name = list.find(({ id }) => id === first)?.name ?? first;
  return rest.length === 0 ? name : `${name} and ${count(rest.length)} more`;
}

// The start: the key leaves the address before anything else happens.

import { App, wordsOfAddress } from "./app.mjs";
import { html } from "./ui.mjs";
import { render } from "./vendor/preact.mjs";

const words = wordsOfAddress();
const place = document.getElementById("app");
if (place) render(html`<${App} words=${words} />`, place);

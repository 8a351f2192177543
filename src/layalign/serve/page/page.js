"use strict";

const byId = (id) => document.getElementById(id);
let stopping = null;

function showError(message) {
  byId("error").textContent = message;
  byId("error").hidden = !message;
}

async function post(path, body, signal) {
  const response = await fetch(path, {
    method: "POST", signal, body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  });
  if (!response.ok) {
    const found = await response.json().catch(() => null);
    throw new Error(found?.error?.message ?? `the server answered with status ${response.status}`);
  }
  return response;
}

/** Yields the JSON of every server-sent event; a stream that breaks off is an error. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the server stopped in the middle of the answer");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.slice("data: ".length);
      if (data === "[DONE]") return;
      const found = JSON.parse(data);
      if (found.error) throw new Error(found.error.message);
      yield found;
    }
  }
}

async function answer(id, request, signal) {
  const [text, speed] = [byId(id), byId(`${id}-speed`)];
  text.textContent = speed.textContent = "";
  const asked = { ...request, layalign: id === "bare" ? "off" : "on", stream: true, stream_options: { include_usage: true } };
  const response = await post("/v1/chat/completions", asked, signal);
  let start = null;
  for await (const chunk of events(response)) {
    start ??= performance.now();
    text.textContent += chunk.choices[0]?.delta.content ?? "";
    if (chunk.usage) {
      const [tokens, seconds] = [chunk.usage.completion_tokens, (performance.now() - start) / 1000];
      const rate = tokens > 1 ? `, ${((tokens - 1) / seconds).toFixed(1)} a second` : "";
      speed.textContent = `${tokens} tokens${rate}`;
    }
  }
}

/** An element with text and with a shade from 0 to 1. */
function shaded(tag, text, shade, note) {
  const element = document.createElement(tag);
  element.dir = "auto"; // or "</s>" would be turned round among Arabic tokens
  element.textContent = text;
  element.style.setProperty("--shade", shade);
  if (note !== undefined) {
    const small = document.createElement("small");
    small.textContent = note;
    element.append(small);
  }
  return element;
}

const percent = (value) => (100 * value).toFixed(value < 0.1 ? 1 : 0);

function headed(row, text, scope) {
  const head = document.createElement("th");
  head.scope = scope;
  head.textContent = text;
  row.append(head);
  return row;
}

/** Asked for after the answer, because it takes as long as some words of it. */
async function showUsed(request, signal) {
  const found = await (await post("/used", request, signal)).json();
  byId("tokens").dir = getComputedStyle(byId("question")).direction;
  byId("tokens").replaceChildren(...found.tokens.map((token, i) => shaded("li", token || "·", found.used[i], percent(found.used[i]))));
  if (found.more) byId("tokens").append(shaded("li", `… ${found.more}`, 0, "not looked at"));
  const most = Math.max(...found.shares, 1e-9);
  byId("layers").replaceChildren(...found.layers.map((layer, i) => shaded("li", layer, found.shares[i] / most, percent(found.shares[i]))));
  const largest = Math.max(...found.mixing.flat().map(Math.abs), 1e-9);
  byId("mixing").replaceChildren(...found.mixing.map((weights, i) => {
    const row = headed(document.createElement("tr"), found.layers[i], "row");
    row.append(...weights.map((weight) => shaded("td", weight.toFixed(2).replace("-0.00", "0.00"), Math.abs(weight) / largest)));
    return row;
  }));
  if (found.mixing[0]?.length === found.encoder_layers.length) {
    const top = document.createElement("tr");
    ["", ...found.encoder_layers].forEach((layer) => headed(top, layer, "col"));
    byId("mixing").prepend(top);
  }
  byId("used").hidden = false;
}

async function ask(event) {
  event.preventDefault();
  showError("");
  byId("used").hidden = true;
  const { signal } = (stopping = new AbortController());
  byId("ask").disabled = !(byId("stop").disabled = false);
  const request = { messages: [{ role: "user", content: byId("question").value }] };
  if (byId("language").value.trim()) request.language = byId("language").value.trim();
  const jobs = [answer("layalign", request, signal).then(() => showUsed(request, signal))];
  if (byId("beside").checked) jobs.push(answer("bare", request, signal));
  for (const { reason: wrong } of await Promise.allSettled(jobs)) {
    if (wrong && wrong.name !== "AbortError") showError(`No answer: ${wrong.message}`);
  }
  byId("ask").disabled = !(byId("stop").disabled = true);
}

byId("form").addEventListener("submit", ask);
byId("stop").addEventListener("click", () => stopping.abort());
byId("beside").addEventListener("change", (event) => { byId("beside-answer").hidden = !event.target.checked; });
fetch("/v1/models").then((r) => r.json()).then((found) => { byId("model").textContent = found.data[0].id; });

"use strict";
// Everything that was read is put into the page as text, never as HTML.
const $ = (id) => document.getElementById(id);

function theme() {
  const root = document.documentElement, button = $("theme");
  let dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark ? "Light colours" : "Dark colours"; };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    dark = !dark;
    root.dataset.theme = dark ? "dark" : "light";
    name();
  });
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Text in a direction of its own, whatever stands beside it.
function own(tag, className, text, lang) {
  const element = make(tag, className, text);
  element.dir = "auto";
  if (lang) element.lang = lang;
  return element;
}

function verdict(correct) {
  if (correct === null) return "";
  return correct ? make("span", "right", "✓ right") : make("span", "wrong", "✗ wrong");
}

function answer(set, [method, output, parsed, correct]) {
  const box = make("section", "answer"), head = make("h3");
  head.append(own("bdi", "", set.methods[method]), " ", verdict(correct));
  box.append(head, own("p", "text", output || "(nothing)"));
  if (correct !== null && parsed !== output) {
    const found = make("p", "note", parsed === null ? "No answer found" : "Answer found: ");
    found.append(own("bdi", "", parsed ?? ""));
    box.append(found);
  }
  return box;
}

function row(set, item, method) {
  const [name, tag] = set.languages[item.language];
  const line = make("li"), head = make("p", "note");
  head.append(own("bdi", "", name));
  line.append(head, own("p", "text question", item.question, tag));
  const reference = make("p", "reference", "Reference: ");
  reference.append(own("bdi", "", item.reference));
  const answers = make("div", "answers");
  for (const given of item.answers) {
    if (method === "" || given[0] === Number(method)) answers.append(answer(set, given));
  }
  line.append(reference, answers);
  return line;
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, label]) => {
    const option = make("option", "", label);
    option.value = value;
    return option;
  }));
}

const plain = (text) => text.normalize("NFKC").toLowerCase();

function words(item) {
  // Made once, when it is first searched.
  item.words ??= plain([item.question, item.reference, ...item.answers.map((a) => a[1])].join("\n"));
  return item.words;
}

function fits(item, { language, method, result, search }) {
  if (language !== "" && item.language !== Number(language)) return false;
  const given = method === "" ? item.answers : item.answers.filter((a) => a[0] === Number(method));
  if (!given.length) return false;
  const right = given.map((a) => a[3]);
  if (result === "right" && !right.every((r) => r === true)) return false;
  if (result === "wrong" && !right.every((r) => r === false)) return false;
  if (result === "differ" && new Set(item.answers.map((a) => a[3])).size < 2) return false;
  return search === "" || words(item).includes(search);
}

function examples() {
  const sets = JSON.parse($("data").textContent), size = 50;
  let set, found = [], page = 0;

  function draw(jump) {
    const from = page * size, shown = found.slice(from, from + size);
    $("rows").replaceChildren(...shown.map((item) => row(set, item, $("method").value)));
    $("rows").start = from + 1;
    const last = Math.max(0, Math.ceil(found.length / size) - 1);
    const seed = set.seeds.length ? `; the answers are those of seed ${set.seeds.join(", ")}` : "";
    $("count").textContent = `${found.length} of ${set.items.length} examples${seed}`;
    $("page").textContent = `Page ${page + 1} of ${last + 1}`;
    $("pages").hidden = last === 0;
    $("previous").disabled = page === 0;
    $("next").disabled = page === last;
    if (jump) {
      $("rows").focus({ preventScroll: true });
      $("examples").scrollIntoView();
    }
  }

  function filter() {
    const chosen = { search: plain($("search").value.trim()) };
    for (const id of ["language", "method", "result"]) chosen[id] = $(id).value;
    found = set.items.filter((item) => fits(item, chosen));
    page = 0;
    draw(false);
  }

  function choose() {
    set = sets[Number($("questions").value)];
    options($("language"), [["", "All"], ...set.languages.map(([name], n) => [n, name])]);
    options($("method"), [["", "All"], ...set.methods.map((label, n) => [n, label])]);
    filter();
  }

  $("questions").addEventListener("change", choose);
  for (const id of ["language", "method", "result"]) $(id).addEventListener("change", filter);
  $("search").addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    $(id).addEventListener("click", () => { page += step; draw(true); });
  }
  $("questions").parentElement.hidden = sets.length === 1;
  $("filters").hidden = false;
  choose();
}

theme();
if ($("data")) examples();

// Without this file every page works; with it, pages stay current by themselves.
"use strict";

let every = Number(document.body.dataset.refresh || 0);

const region = () => document.querySelector("[data-live]");

/** Whether replacing the region would take something away from who uses it. */
function isInUse(live) {
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && live.contains(selection.anchorNode)) return true;
  const active = document.activeElement;
  return live.contains(active) && active.matches("input, select, textarea");
}

/** Finds in a new copy what has the focus now; an element is known by its words. */
function focusMark(live) {
  const active = document.activeElement;
  if (!live.contains(active)) return () => null;
  const alike = () => [...live.querySelectorAll(active.localName)].filter((each) =>
    each.textContent === active.textContent
    && each.getAttribute("href") === active.getAttribute("href"));
  const index = alike().indexOf(active);
  return () => alike()[index];
}

async function refresh() {
  const live = region();
  if (!live || document.hidden || isInUse(live)) return;
  const answer = await fetch(location.href, { headers: { "X-Flowd-Live": "1" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-live]");
  // A page that says why there is none: what is shown is not current.
  if (!fresh) throw new Error(`${answer.status}`);
  if (isInUse(live)) return;
  const focused = focusMark(live);
  const open = [...live.querySelectorAll("details")].map((each) => each.open);
  live.replaceChildren(...document.adoptNode(fresh).childNodes);
  if (fresh.hasAttribute("data-ended")) every = 0;
  live.querySelectorAll("details").forEach((each, at) => { each.open = open[at] ?? false; });
  focused()?.focus({ preventScroll: true });
}

// A field that is typed into is meant to be set.
document.addEventListener("input", (event) => {
  const input = event.target;
  if (!input.name?.startsWith("f:")) return;
  const mode = input.form?.elements.namedItem(`m:${input.name.slice(2)}`);
  if (mode) mode.value = "set";
});

// How many letters are ticked; ticking one means the selected ones.
document.addEventListener("change", (event) => {
  const form = event.target.form;
  // Not `form.id`: an input is named so.
  if (!form?.matches("#bulk") || event.target.type !== "checkbox") return;
  const ticked = document.querySelectorAll('input[form="bulk"]:checked').length;
  form.querySelector("[data-selected]").textContent = ticked ? `${ticked} selected` : "selected";
  form.elements.namedItem("scope").value = "selected";
});

const away = document.querySelector("[data-away-text]");
let underWay = false;
async function refreshOnce() {
  if (underWay) return;
  underWay = true;
  try {
    await refresh();
    away.hidden = true;
  } catch {
    away.hidden = false;
  } finally {
    underWay = false;
  }
}

if (every) {
  setInterval(() => every && refreshOnce(), every * 1000);
  document.addEventListener("visibilitychange", refreshOnce);
}

// Events as they happen; the page is refreshed with them.
const MOST_EVENTS = 200;
const section = document.querySelector("[data-events]");
if (section) {
  const list = section.querySelector("ol");
  const state = section.querySelector("[data-events-state]");
  const source = new EventSource(section.dataset.events);
  let soon = 0;
  section.hidden = false;
  source.addEventListener("open", () => { state.textContent = list.childElementCount ? "" : "waiting for the first"; });
  source.addEventListener("error", () => { state.textContent = "connection lost, trying again"; });
  source.addEventListener("message", (message) => {
    const said = JSON.parse(message.data);
    const line = document.createElement("li");
    for (const [name, text] of [
      ["at", said.at ?? ""],
      [`name ${CSS.escape(said.event)}`, said.event],
      ["text", `${said.job ? `${said.job} attempt ${said.attempt}: ` : ""}${said.text}`],
    ]) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      line.append(part);
    }
    list.prepend(line);
    while (list.childElementCount > MOST_EVENTS) list.lastElementChild.remove();
    state.textContent = "";
    soon ||= setTimeout(() => { soon = 0; refreshOnce(); }, 400);
  });
  addEventListener("pagehide", () => source.close());
}

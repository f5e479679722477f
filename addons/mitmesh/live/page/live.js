// Shows what /live/events tells. All of it goes in as text, never as HTML.
"use strict";
const NAMES = ["llm_call", "cache_hit", "cache_miss", "quota_warn", "quota_block", "refused", "redacted"];
const MOST = 200;
const hidden = new Set();
const at = (id) => document.getElementById(id);

function cell(row, text, kind) {
  const made = row.insertCell();
  made.textContent = text ?? "";
  if (kind) made.className = kind;
  return made;
}

function tag(parent, text, kind) {
  const made = document.createElement("span");
  made.className = "tag " + kind;
  made.textContent = text;
  parent.append(made);
}

const count = (n) => n == null ? "–" : n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : n >= 1e4 ? (n / 1e3).toFixed(1) + "k" : String(n);
const money = (micro) => micro == null ? "unknown" : "$" + (micro / 1e6).toFixed(micro && micro < 1e4 ? 4 : 2);
const span = (ms) => ms == null ? "" : ms >= 1000 ? (ms / 1000).toFixed(1) + " s" : ms + " ms";
const who = (e) => [e.user, e.team, e.tool].filter(Boolean).join(" · ") || "unknown";

function cost(s) {
  const parts = [];
  if (s.cost_microusd || !s.notional_microusd) parts.push(money(s.cost_microusd));
  if (s.notional_microusd) parts.push("≈" + money(s.notional_microusd));
  if (s.unpriced) parts.push("+ " + s.unpriced + " unpriced");
  return parts.join(" ");
}

function showSessions(list) {
  const body = at("sessions");
  body.replaceChildren();
  for (const s of list.slice(0, 40)) {
    const row = body.insertRow();
    if (s.running) row.className = "running";
    const state = cell(row, "");
    if (s.running) tag(state, s.running > 1 ? "running ×" + s.running : "running", "live");
    if (s.refused) tag(state, s.refused + " refused", "refused");
    cell(row, who(s), "name");
    cell(row, s.session || "–", "name quiet");
    cell(row, s.model, "model");
    cell(row, count(s.calls), "n");
    cell(row, count(s.prompt), "n");
    cell(row, count(s.completion), "n");
    cell(row, cost(s), "n");
  }
  at("nobody").hidden = list.length > 0;
}

function detail(e) {
  if (e.event === "dropped") return e.events + " events came faster than this page took them";
  if (e.event !== "llm_call") return (e.rule || "") + (e.mode === "observe" ? " (only observed)" : "");
  const said = [];
  if (e.outcome !== "answered") said.push((e.outcome || "").replaceAll("_", " "));
  if (e.status >= 400) said.push("HTTP " + e.status);
  if (e.origin !== "provider") said.push("by " + e.origin);
  if (e.prompt != null) said.push(count(e.prompt) + " + " + count(e.completion) + (e.estimated ? " tokens, estimated" : " tokens"));
  if (e.prompt != null) said.push((e.notional ? "≈" : "") + money(e.cost_microusd));
  said.push(span(e.total_ms));
  return said.filter(Boolean).join(" · ");
}

function showEvent(e) {
  const row = at("events").insertRow(0);
  row.dataset.event = e.event;
  row.hidden = hidden.has(e.event);
  cell(row, (e.at || new Date().toISOString()).slice(11, 19));
  tag(cell(row, ""), e.event, e.event);
  cell(row, e.id ? who(e) : "", "name");
  cell(row, e.model, "model");
  cell(row, detail(e), "name");
  while (at("events").rows.length > MOST) at("events").deleteRow(-1);
}

for (const name of NAMES) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.onchange = () => {
    if (box.checked) hidden.delete(name); else hidden.add(name);
    for (const row of at("events").rows) row.hidden = hidden.has(row.dataset.event);
  };
  label.append(box, " " + name);
  at("filters").append(label);
}

const source = new EventSource("/live/events");
source.onopen = () => { at("state").textContent = "connected"; at("state").className = "on"; at("events").replaceChildren(); };
source.onerror = () => { at("state").textContent = "not connected, trying again"; at("state").className = "off"; };
source.addEventListener("sessions", (m) => showSessions(JSON.parse(m.data)));
for (const name of [...NAMES, "dropped"]) source.addEventListener(name, (m) => showEvent(JSON.parse(m.data)));

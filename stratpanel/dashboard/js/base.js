// Shared by every component of the dashboard: DOM building, icons, words for times and numbers, the colour scheme, dialogs.
// Text reaches the page through text nodes only; nothing here takes markup.

const SVG = "http://www.w3.org/2000/svg"

function h(tag, props, ...kids) {
  const el = document.createElement(tag)
  for (const [key, value] of Object.entries(props || {})) {
    if (value == null || value === false) { continue }
    if (key === "class") { el.className = value }
    else if (key.startsWith("on")) { el.addEventListener(key.slice(2), value) }
    else if (key === "value" || key === "checked" || key === "tabIndex") { el[key] = value }
    else { el.setAttribute(key, value === true ? "" : String(value)) }
  }
  for (const kid of kids.flat()) { if (kid != null && kid !== false) { el.append(kid) } }
  return el
}

const ICONS = {
  play: "M5 3.5v9l7.5-4.5z", stop: "M4 4h8v8H4z", again: "M12.6 8a4.6 4.6 0 1 1-1.4-3.3M11.4 1.8v3.1H8.3",
  pause: "M5 3.5v9M11 3.5v9", more: "M3.5 8h.01M8 8h.01M12.5 8h.01", search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4zM10.2 10.2l3 3",
  cross: "M4 4l8 8M12 4l-8 8", check: "M3.5 8.5l3 3 6-7", down: "M4 6l4 4 4-4", up: "M4 10l4-4 4 4", left: "M10 3.5L5.5 8l4.5 4.5",
  warn: "M8 2.2L14.4 13.5H1.6zM8 6.4v3.2M8 11.6h.01", ask: "M5.9 6a2.1 2.1 0 1 1 3 2c-.6.3-.9.7-.9 1.3M8 11.7h.01",
  copy: "M5.5 5.5h7v7h-7zM3.5 10.5v-7h7", save: "M8 2.5v7M5 7l3 3 3-3M3 12.8h10", clock: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM8 5v3.2l2 1.3",
  heart: "M8 13S2.8 9.8 2.8 6.2A2.7 2.7 0 0 1 8 5a2.7 2.7 0 0 1 5.2 1.2C13.2 9.8 8 13 8 13z", halt: "M5.2 2h5.6L14 5.2v5.6L10.8 14H5.2L2 10.8V5.2zM8 5v3.6M8 10.9h.01",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.6v1.2M8 13.2v1.2M1.6 8h1.2M13.2 8h1.2M3.5 3.5l.8.8M11.7 11.7l.8.8M3.5 12.5l.8-.8M11.7 4.3l.8-.8",
  moon: "M12.8 9.6A5.3 5.3 0 0 1 6.4 3.2a5.3 5.3 0 1 0 6.4 6.4z", plus: "M8 3v10M3 8h10", list: "M3 4.5h10M3 8h10M3 11.5h10", week: "M2.5 4h11v9h-11zM2.5 7h11M5.5 2.5v3M10.5 2.5v3",
  dot: "M8 4.2a3.8 3.8 0 1 0 0 7.6 3.8 3.8 0 0 0 0-7.6z", ring: "M8 3.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4z", half: "M8 3.2a4.8 4.8 0 0 1 0 9.6z", diamond: "M8 3l5 5-5 5-5-5z",
  open: "M6 3.5L10.5 8 6 12.5", bolt: "M9 1.8L3.6 9H8l-1 5.2L12.4 7H8z",
}
const FILLED = new Set(["play", "stop", "dot", "half", "diamond"])

function icon(name, size = 16) {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("viewBox", "0 0 16 16")
  svg.setAttribute("width", size)
  svg.setAttribute("height", size)
  svg.setAttribute("aria-hidden", "true")
  svg.setAttribute("class", "icon " + name)
  const path = document.createElementNS(SVG, "path")
  path.setAttribute("d", ICONS[name])
  if (FILLED.has(name)) { path.setAttribute("fill", "currentColor") }
  else {
    for (const [k, v] of [["fill", "none"], ["stroke", "currentColor"], ["stroke-width", "1.6"], ["stroke-linecap", "round"], ["stroke-linejoin", "round"]]) {
      path.setAttribute(k, v)
    }
  }
  svg.append(path)
  return svg
}

// A state is a word, a shape and a colour; the colour is never alone.
const STATES = {
  running: {tone: "good", icon: "dot", rank: 5}, starting: {tone: "busy", icon: "half", rank: 3}, stopping: {tone: "busy", icon: "half", rank: 4},
  backoff: {tone: "warn", icon: "again", rank: 2}, fatal: {tone: "bad", icon: "cross", rank: 0}, lost: {tone: "bad", icon: "ask", rank: 1},
  exited: {tone: "idle", icon: "diamond", rank: 6}, stopped: {tone: "idle", icon: "stop", rank: 7},
}
const ALIVE = new Set(["running", "starting", "stopping", "backoff"])
const stateOf = (row) => STATES[row.state] || {tone: "warn", icon: "ask", rank: 1}

function setText(node, text) { if (node.textContent !== text) { node.textContent = text } }

function span(seconds) {
  if (seconds == null || !isFinite(seconds)) { return "" }
  const s = Math.max(0, Math.floor(seconds))
  if (s < 60) { return s + " s" }
  if (s < 3600) { return Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0") }
  if (s < 86400) { return Math.floor(s / 3600) + " h " + String(Math.floor(s % 3600 / 60)).padStart(2, "0") }
  return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h"
}
const fixed = (x, digits = 1) => x == null ? "" : x.toFixed(digits)
const megabytes = (x) => x == null ? "" : x >= 10000 ? (x / 1024).toFixed(1) + " GB" : x >= 100 ? x.toFixed(0) + " MB" : x.toFixed(1) + " MB"

const zoneFormats = new Map()
function zoned(zone, options) {
  const key = zone + JSON.stringify(options)
  if (!zoneFormats.has(key)) {
    let made
    try { made = new Intl.DateTimeFormat("en-GB", {timeZone: zone || undefined, hour12: false, ...options}) }
    catch (error) { made = new Intl.DateTimeFormat("en-GB", {hour12: false, ...options}) }  // a zone this browser does not know: its own
    zoneFormats.set(key, made)
  }
  return zoneFormats.get(key)
}
const clockOf = (epoch, zone) => zoned(zone, {hour: "2-digit", minute: "2-digit"}).format(new Date(epoch * 1000))
const secondsOf = (epoch, zone) => zoned(zone, {hour: "2-digit", minute: "2-digit", second: "2-digit"}).format(new Date(epoch * 1000))
const dayClock = (epoch, zone) => zoned(zone, {weekday: "short", hour: "2-digit", minute: "2-digit"}).format(new Date(epoch * 1000)).replace(",", "")
const dateClock = (epoch, zone) => zoned(zone, {weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit"}).format(new Date(epoch * 1000)).replaceAll(",", "")
const epochOf = (text) => text ? Date.parse(text) / 1000 : null
const ZONES = {"Asia/Kolkata": "IST", "Asia/Calcutta": "IST", "UTC": "UTC", "America/New_York": "ET", "Europe/London": "UK", "America/Chicago": "CT", "Asia/Tokyo": "JST"}
const zoneWord = (zone) => ZONES[zone] || (zone ? zone.split("/").pop().replace("_", " ") : "")

// The page's scheme: pmui marks an ancestor, JupyterLab the body; else what the system prefers.
function schemeOf(el) {
  for (let node = el; node; node = node.parentNode || node.host) {
    if (node.classList?.contains("mui-dark")) { return "dark" }
    if (node.classList?.contains("mui-light")) { return "light" }
  }
  const lab = document.body.dataset.jpThemeLight
  if (lab != null) { return lab === "false" ? "dark" : "light" }
  const root = document.documentElement.dataset.theme
  if (root === "dark" || root === "light") { return root }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"
}

function followScheme(el, root, changed) {
  const apply = () => {
    const scheme = schemeOf(el)
    if (root.dataset.scheme !== scheme) { root.dataset.scheme = scheme; changed && changed(scheme) }
  }
  const watch = new MutationObserver(apply)
  for (let node = el; node; node = node.parentNode || node.host) {
    if (node.classList?.contains("mui-dark") || node.classList?.contains("mui-light")) {
      watch.observe(node, {attributes: true, attributeFilter: ["class"]})
    }
  }
  watch.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "class"]})
  watch.observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]})
  apply()
  return () => watch.disconnect()
}

function button(label, name, act, props = {}) {
  const kind = props.class ? " " + props.class : ""
  return h("button", {type: "button", ...props, class: "btn" + kind, onclick: act, title: props.title, "aria-label": props["aria-label"]},
           name ? icon(name) : null, label ? h("span", {}, label) : null)
}
function iconButton(label, name, act, props = {}) {
  return button("", name, act, {...props, title: props.title || label, "aria-label": label, class: "bare " + (props.class || "")})
}

// One question, answered true, false or with the typed text. Escape is no; focus returns to where it was.
function confirmBox(root, {title, lines = [], yes = "Yes", no = "Cancel", danger = false, type = null, input = null, focusYes = false}) {
  return new Promise((done) => {
    const field = type || input ? h("input", {type: "text", class: "field", "aria-label": type ? "type " + type + " to confirm" : input.label, autocomplete: "off", spellcheck: "false"}) : null
    if (input?.value) { field.value = input.value }
    const go = button(yes, null, () => close(field && !type ? field.value : true), {class: danger ? "danger" : "solid"})
    const back = button(no, null, () => close(false))
    const box = h("dialog", {class: "ask", "aria-label": title}, h("h2", {}, title), lines.map((line) => h("p", {class: line.strong ? "strong" : ""}, line.text ?? line)),
                  field ? h("label", {class: "typed"}, type ? h("span", {}, "Type ", h("b", {}, type), " to confirm") : h("span", {}, input.label), field) : null,
                  h("div", {class: "buttons"}, back, go))
    const close = (answer) => { box.close(); box.remove(); done(answer) }
    box.addEventListener("cancel", (event) => { event.preventDefault(); close(false) })
    box.addEventListener("keydown", (event) => {
      event.stopPropagation()
      if (event.key === "Enter" && event.target === field && !go.disabled) { event.preventDefault(); go.click() }
    })
    if (type) {
      go.disabled = true
      field.addEventListener("input", () => { go.disabled = field.value !== type })
    }
    root.append(box)
    box.showModal()
    ;(field || (focusYes ? go : back)).focus()
  })
}

// The week ahead: one row per scheduled strategy, its windows as bars over the sessions of its market, now as a line.

const DAY = 86400
const planOf = (row) => row ? [row.calendar, row.next_start, row.next_stop].join() : ""

class Week {
  constructor(model, el) {
    this.store = storeOf(model.bus)
    this.back = button("All strategies", "left", () => this.store.ask("open", {page: "board"}), {class: "back"})
    this.note = h("span", {class: "muted", role: "status"}, "Reading the week…")
    this.axis = h("div", {class: "axis"})
    this.rows = h("div", {class: "rows", role: "list", "aria-label": "windows of the week"})
    this.root = h("div", {class: "sp week"}, h("div", {class: "bar"}, this.back, h("h1", {}, "The week"), this.note), h("div", {class: "scroll"}, this.axis, this.rows))
    el.append(this.root)
    this.offs = [this.store.on("markets", () => this.load()), followScheme(el.getRootNode().host || el, this.root), this.store.on("tick", () => this.moveNow()), this.store.on("rows", (ids) => this.follow(ids))]
    this.names = new Map()
    this.plans = new Map()
    this.load()
    this.timer = setInterval(() => this.load(), 60000)
  }

  stop() { clearInterval(this.timer); clearTimeout(this.soon); for (const off of this.offs) { off() } }

  async load() {
    try { this.draw(await this.store.ask("get", {path: "/api/week"})) }
    catch (error) { setText(this.note, `the week could not be read: ${error.message}`) }
  }

  // What a strategy does, and whether it is planned otherwise, is told by its row; null: all rows came anew.
  follow(ids) {
    let planned = ids === null
    for (const id of ids || []) {
      const row = this.store.rows.get(id), name = this.names.get(id)
      planned ||= this.plans.get(id) !== planOf(row)
      if (row && name) { name.replaceChild(icon(stateOf(row).icon, 11), name.firstChild) }
    }
    if (planned) { clearTimeout(this.soon); this.soon = setTimeout(() => this.load(), 200) }
  }

  place(at) { return (at - this.from) / (7 * DAY) * 100 + "%" }

  draw(week) {
    const now = this.store.now(), zone = Intl.DateTimeFormat().resolvedOptions().timeZone
    const midnight = new Date(now * 1000)
    midnight.setHours(0, 0, 0, 0)
    this.from = midnight.getTime() / 1000
    const to = this.from + 7 * DAY
    const bars = new Map()
    for (const row of week.rows || []) {
      const windows = (row.windows || [row]).map((w) => ({start: epochOf(w.start), stop: epochOf(w.stop), rule: w.rule || w.why || ""})).filter((w) => w.start && w.stop && w.stop > this.from && w.start < to)
      const known = bars.get(row.id) || []
      bars.set(row.id, known.concat(windows))
    }
    const sessions = this.store.markets.flatMap((market) => market.sessions.map((s) => ({...s, calendar: market.name}))).filter((s) => s.close > this.from && s.open < to)
    setText(this.note, bars.size ? `${bars.size} scheduled · times of this browser (${zone})` : "No strategy is scheduled.")
    this.axis.replaceChildren(h("span", {class: "name"}), h("div", {class: "lane"}, [...Array(7)].map((_, d) => { const at = this.from + d * DAY; const label = h("span", {class: "day"}, zoned("", {weekday: "short", day: "numeric", month: "short"}).format(new Date((at + 43200) * 1000))); label.style.left = this.place(at); return label })))
    const ids = [...bars.keys()].sort((a, b) => a.localeCompare(b, "en", {numeric: true}))
    this.plans = new Map([...this.store.rows].map(([id, row]) => [id, planOf(row)]))
    this.names = new Map(ids.map((id) => [id, h("button", {type: "button", class: "name", onclick: () => this.store.ask("open", {page: "strategy", id})}, icon(stateOf(this.store.rows.get(id) || {}).icon, 11), h("span", {}, id))]))
    this.rows.replaceChildren(...ids.map((id) => {
      const row = this.store.rows.get(id) || {}, lane = h("div", {class: "lane"})
      for (let d = 1; d < 7; d++) { const line = h("i", {class: "line"}); line.style.left = this.place(this.from + d * DAY); lane.append(line) }
      for (const s of sessions.filter((x) => x.calendar === row.calendar)) { const band = h("i", {class: "session" + (s.kind && s.kind !== "regular" ? " special" : ""), title: `${s.calendar}: ${(s.kind || "session").replace("_", " ")} ${dayClock(s.open)} to ${clockOf(s.close)}${s.why ? ", " + s.why : ""}`}); this.span(band, s.open, s.close); lane.append(band) }
      for (const w of bars.get(id)) { const words = `${id}: ${dayClock(w.start)} to ${dayClock(w.stop)}${w.rule ? ", " + w.rule : ""}`; const bar = h("button", {type: "button", class: "window " + (w.start <= now && now < w.stop ? "on" : ""), title: words, "aria-label": words, onclick: () => this.store.ask("open", {page: "strategy", id, tab: "schedule"})}); this.span(bar, w.start, w.stop); lane.append(bar) }
      return h("div", {class: "row", role: "listitem"}, this.names.get(id), lane)
    }))
    this.moveNow()
  }

  span(node, from, to) { node.style.left = this.place(Math.max(from, this.from)); node.style.width = `max(3px, ${(Math.min(to, this.from + 7 * DAY) - Math.max(from, this.from)) / (7 * DAY) * 100}%)` }

  moveNow() { this.root.style.setProperty("--now", String((this.store.now() - this.from) / (7 * DAY))) }
}

export function render({model, el}) {
  const week = new Week(model, el)
  model.on("lifecycle:remove", () => week.stop())
}

export default {render}

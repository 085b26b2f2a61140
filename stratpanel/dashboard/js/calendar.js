// Three months of a market: regular, short, special and closed days, said by shape and words as well as by colour, and
// the person's own days with their reasons, which can be added and taken back here.

const DAY_MS = 86400000, KINDS_OF_DAY = {regular: "open", short: "shortened", special: "special session", holiday: "closed", weekend: "weekend", unknown: "past the calendar's data"}
const KINDS_OF_WORD = [["closed", "Closed all day"], ["open", "Open in these sessions"], ["short", "A shortened day, in these sessions"], ["hours", "Regular hours from this day on"], ["valid", "All days through this one are entered"]]
const ABOUT = {closed: "day", open: "day", hours: "hours", valid: "valid"} // calendars of one's own are made by hand
const keyOf = (date) => date.toISOString().slice(0, 10)

class MarketDays {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.title = h("div", {class: "title"})
    this.earlier = iconButton("earlier months", "left", () => this.turn(-3))
    this.later = iconButton("later months", "open", () => this.turn(3))
    this.add = button("Add a day", "plus", () => this.ask(this.today(), null), {class: "add"})
    this.note = h("p", {class: "said bad", role: "status"})
    this.months = h("div", {class: "row", role: "group", "aria-label": "days of the market"})
    this.months.addEventListener("keydown", (event) => this.key(event))
    this.legend = h("p", {class: "legend muted"}, "Struck: closed on a weekday. Underlined: shortened. Boxed: special session. Dot: your own word.")
    this.mine = h("div", {class: "mine"})
    this.root = h("div", {class: "sp days", hidden: true}, h("div", {class: "bar"}, this.title, h("span", {class: "grow"}), this.earlier, this.later, this.add), this.note, this.months, this.legend, this.mine)
    el.append(this.root)
    this.offs = [followScheme(el.getRootNode().host || el, this.root), this.store.on("markets", () => this.model.send_msg({do: "again"})), this.store.on("all", () => this.draw())]
    model.on(["sessions", "market", "overrides", "first", "problem"], () => this.soon())
    this.draw()
  }

  stop() { for (const off of this.offs) { off() } cancelAnimationFrame(this.frame) }
  soon() { this.frame ||= requestAnimationFrame(() => { this.frame = null; this.draw() }) }
  turn(months) { this.model.send_msg({do: "turn", months}) }
  today() { return keyOf(new Date(this.store.now() * 1000)) }
  get may() { return this.store.user.role === "admin" }

  draw() {
    const {market, sessions, overrides, problem, through} = this.model
    this.root.hidden = !market
    if (!market) { return }
    setText(this.title, "Calendar " + market)
    setText(this.note, problem)
    this.add.disabled = !this.may
    this.add.title = this.may ? "a holiday, a session, other hours, or how far the days are known" : "Changing a calendar needs the role admin"
    const kinds = new Map()
    for (const s of sessions) { kinds.set(s.date, [...(kinds.get(s.date) || []), s]) }
    const own = new Map(overrides.filter((row) => row.date && ["closed", "open"].includes(row.kind)).map((row) => [row.date, row]))
    const [year, month] = this.model.first.split("-").map(Number)
    this.months.replaceChildren(...[0, 1, 2].map((m) => this.month(new Date(Date.UTC(year, month - 1 + m, 1)), kinds, own, through)))
    const start = this.months.querySelector(".today") || this.months.querySelector("button")
    if (start) { start.tabIndex = 0 }
    const today = this.today()
    const differing = [...kinds.values()].flat().filter((s) => s.kind !== "regular" && s.date >= today && !own.has(s.date)).slice(0, 6)
    const rows = [...overrides].sort((a, b) => (a.date || "").localeCompare(b.date || ""))
    this.mine.replaceChildren(
      h("div", {class: "title"}, "Your own days and hours"),
      rows.length ? h("ul", {}, rows.map((row) => this.own(row, today))) : h("p", {class: "muted"}, "None: the days are as shipped."),
      ...(differing.length ? [h("div", {class: "title"}, "Coming days that differ"), h("ul", {}, differing.map((s) => h("li", {}, h("b", {}, s.date), h("span", {}, `${s.kind.replace("_", " ")} ${this.hours(s)}`), h("span", {class: "muted why"}, s.why || ""))))] : []))
  }

  hours(s) { return `${clockOf(epochOf(s.open), this.model.zone)}–${clockOf(epochOf(s.close), this.model.zone)}` }

  month(first, kinds, own, through) {
    const days = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 0)).getUTCDate(), today = this.today()
    const cells = [...Array((first.getUTCDay() + 6) % 7)].map(() => h("span"))
    for (let d = 0; d < days; d++) {
      const date = new Date(first.getTime() + d * DAY_MS), key = keyOf(date), parts = kinds.get(key), mine = own.get(key)
      const kind = parts ? (parts[0].kind === "regular" ? "regular" : parts[0].kind === "early_close" ? "short" : "special") : through && key > through ? "unknown" : [0, 6].includes(date.getUTCDay()) && !mine ? "weekend" : "holiday"
      const why = mine ? `, your word: ${mine.reason}` : parts?.[0].why ? ", " + parts[0].why : ""
      const words = `${key}: ${KINDS_OF_DAY[kind]}${parts ? " " + parts.map((s) => this.hours(s)).join(", ") : ""}${why}`
      cells.push(h("button", {type: "button", class: `day ${kind}${key === today ? " today" : ""}${mine ? " own" : ""}`, title: words, "aria-label": words, tabIndex: -1, "data-day": key, onclick: () => this.ask(key, mine, parts)}, String(d + 1)))
    }
    return h("div", {class: "month"}, h("b", {}, new Intl.DateTimeFormat("en-GB", {month: "long", year: "numeric", timeZone: "UTC"}).format(first)), h("div", {class: "grid"}, ["M", "T", "W", "T", "F", "S", "S"].map((d) => h("i", {"aria-hidden": "true"}, d)), cells))
  }

  key(event) {
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7}[event.key], at = event.target.dataset?.day
    if (!by || !at) { return }
    event.preventDefault()
    const to = this.months.querySelector(`[data-day="${keyOf(new Date(Date.parse(at) + by * DAY_MS))}"]`)
    if (to) { event.target.tabIndex = -1; to.tabIndex = 0; to.focus() }
  }

  own(row, today) {
    const words = {closed: "closed", open: (row.partial ? "shortened, open " : "open ") + row.sessions.join(", "), hours: `from then on, regular hours ${row.sessions.join(", ")} on ${(row.days || []).join(", ")}`, valid: "all days until then are entered", calendar: "calendar of your own"}[row.kind]
    const removable = row.kind in ABOUT && row.calendars.some((name) => name.toUpperCase() === this.model.market.toUpperCase())
    const remove = removable ? button("Remove", null, () => this.remove(row), {disabled: !this.may, "aria-label": `remove your word about ${ABOUT[row.kind] === "day" ? "" : ABOUT[row.kind] + " "}${row.date}`, title: this.may ? "as shipped again" : "Changing a calendar needs the role admin"}) : h("span", {class: "muted", title: "strategies/calendar_overrides.toml"}, `line ${row.line} of the file`)
    return h("li", {class: row.date && row.date < today && row.kind !== "hours" ? "past" : ""}, h("b", {}, row.date || ""), h("span", {}, `${words}${row.calendars.length > 1 || !removable ? ` (${row.calendars.join(", ")})` : ""}`), h("span", {class: "muted why"}, row.reason), remove)
  }

  async remove(row) {
    const about = ABOUT[row.kind], {market} = this.model
    const line = {day: `${market} is as shipped on that day again`, hours: `The hours of ${market} from that day on are as shipped again`, valid: `${market} is known as far as shipped again; past that nothing starts by itself`}[about]
    if (!(await confirmBox(this.root, {title: `Take back your word about ${row.date}?`, lines: [line + ", for every strategy and at once."], yes: "Remove", focusYes: true}))) { return }
    try { await this.store.ask("override", {calendar: market, date: row.date, about, override: null}); this.model.send_msg({do: "again"}) }
    catch (error) { this.store.toast("bad", error.message) }
  }

  ask(day, mine, parts) {
    if (!this.may) { this.store.toast("info", "Changing a calendar needs the role admin"); return }
    const {market} = this.model
    const date = h("input", {type: "date", class: "field", value: day, required: true})
    const kind = h("select", {onchange: () => shape()}, KINDS_OF_WORD.map(([v, t]) => h("option", {value: v}, t)))
    const sessions = h("input", {type: "text", class: "field", placeholder: "09:15-15:30", spellcheck: "false", value: mine?.sessions?.join(", ") || (parts || []).map((s) => this.hours(s).replace("–", "-")).join(", ")})
    const days = h("input", {type: "text", class: "field", placeholder: "mon-fri", spellcheck: "false"})
    const why = h("input", {type: "text", class: "field", placeholder: "exchange circular 123/2026", value: mine?.reason || ""})
    kind.value = mine?.partial ? "short" : mine?.kind || "closed"
    const problem = h("p", {class: "problem", role: "alert"}), label = (text, field, hint) => h("label", {}, h("span", {}, text), field, hint ? h("small", {class: "muted"}, hint) : null)
    const hours = label("Sessions", sessions, `On the clock of ${market}. Several: 09:15-12:30, 18:00-19:00. A close not after its open is on the next day.`)
    const weekdays = label("Weekdays", days, "mon-fri unless you say otherwise; several: mon, wed, fri.")
    const save = button("Save", null, () => store(), {class: "solid"}), back = button("Cancel", null, () => close())
    const box = h("dialog", {class: "ask day-form", "aria-label": `Your word about ${market}`}, h("h2", {}, `Your word about ${market}`), h("p", {}, "It counts for every strategy of this workspace, at once: what should run by it is started, what should not is stopped. Stopping a process does not close positions."),
      label("Day", date), label("What", kind), hours, weekdays, label("Why", why, "for the one who reads it next"), problem, h("div", {class: "buttons"}, back, save))
    const shape = () => { hours.hidden = ["closed", "valid"].includes(kind.value); weekdays.hidden = kind.value !== "hours" }
    const close = () => { box.close(); box.remove() }
    const store = async () => {
      const override = {kind: kind.value === "short" ? "open" : kind.value, why: why.value}
      if (kind.value === "short") { override.partial = true }
      if (days.value.trim() && kind.value === "hours") { override.days = days.value }
      if (!hours.hidden) {
        override.windows = sessions.value.split(/[,;]/).filter((part) => part.trim()).map((part) => { const [open, to] = part.split(/[-–]/).map((t) => t?.trim()); return {open, close: to || ""} })
      }
      save.disabled = true
      setText(problem, "")
      try { await this.store.ask("override", {calendar: market, date: date.value, override}); close(); this.model.send_msg({do: "again"}) }
      catch (error) { setText(problem, [error.message, ...Object.entries(error.fields || {}).map(([name, text]) => `${name}: ${text}`)].join("; ")) }
      finally { save.disabled = false }
    }
    box.addEventListener("cancel", (event) => { event.preventDefault(); close() })
    box.addEventListener("keydown", (event) => { event.stopPropagation(); if (event.key === "Enter" && event.target.tagName === "INPUT") { event.preventDefault(); save.click() } })
    shape()
    this.root.append(box)
    box.showModal()
    ;(mine || parts ? kind : date).focus()
  }
}

export function render({model, el}) {
  const days = new MarketDays(model, el)
  model.on("lifecycle:remove", () => days.stop())
}

export default {render}

// Past runs of one strategy: what ran, how long, how it ended; and restarts by day.

class Runs {
  constructor(model, el) {
    this.store = storeOf(model.bus)
    this.id = model.strategy
    this.days = h("div", {class: "days", role: "img"})
    this.body = h("tbody")
    this.note = h("p", {class: "muted note"})
    this.root = h("div", {class: "sp runs"}, h("div", {class: "bar"}, h("b", {}, "Ends by day"), this.days), h("div", {class: "scroll"}, h("table", {},
      h("thead", {}, h("tr", {}, ["Started", "Ended", "Duration", "Version", "Mode", "Exit", "Reason", "Started by", ""].map((t) => h("th", {scope: "col"}, t)))), this.body), this.note))
    el.append(this.root)
    this.offs = [followScheme(el.getRootNode().host || el, this.root), this.store.on("rows", (ids) => { if (ids?.has(this.id)) { const state = this.store.rows.get(this.id)?.state; if (state !== this.state) { this.state = state; this.load() } } })]
    this.state = this.store.rows.get(this.id)?.state
    this.load()
  }

  stop() { for (const off of this.offs) { off() } }

  async load() {
    try {
      const {runs} = await this.store.ask("get", {path: `/api/strategies/${encodeURIComponent(this.id)}/runs`, query: {limit: 300}})
      this.draw(runs || [])
    } catch (error) { setText(this.note, `runs could not be read: ${error.message}`) }
  }

  draw(runs) {
    const zone = this.store.rows.get(this.id)?.timezone
    setText(this.note, runs.length ? runs.length >= 300 ? "The newest 300 runs." : "" : "It has not run yet.")
    this.body.replaceChildren(...runs.map((run) => {
      const start = epochOf(run.started), end = epochOf(run.ended)
      const exit = run.signal ? run.signal : run.exit_code != null ? "code " + run.exit_code : run.ended ? "unknown" : "running"
      const bad = run.ended && !run.stopped_by_us && (run.signal || run.exit_code !== 0)
      return h("tr", {}, h("td", {}, start ? dateClock(start, zone) : ""), h("td", {}, end ? dateClock(end, zone) : ""), h("td", {class: "num"}, span(run.duration_s ?? (end && start ? end - start : start ? this.store.now() - start : null))),
        h("td", {}, run.version == null ? "" : "v" + run.version), h("td", {}, run.mode || ""), h("td", {class: bad ? "bad" : ""}, exit), h("td", {class: "reason", title: run.reason || ""}, run.reason || ""), h("td", {}, run.started_by || ""),
        h("td", {}, run.run_id ? button("Log", "list", () => this.store.ask("open", {page: "strategy", id: this.id, tab: "logs", run: run.run_id})) : ""))
    }))
    this.drawDays(runs, zone)
  }

  drawDays(runs, zone) {
    const key = (epoch) => zoned(zone, {year: "numeric", month: "2-digit", day: "2-digit"}).format(new Date(epoch * 1000))
    const now = this.store.now(), days = [...Array(21)].map((_, n) => ({at: now - (20 - n) * 86400, good: 0, bad: 0}))
    const byKey = new Map(days.map((day) => [key(day.at), day]))
    for (const run of runs) {
      const end = epochOf(run.ended), day = end && byKey.get(key(end))
      if (day) { run.stopped_by_us || run.exit_code === 0 ? day.good++ : day.bad++ }
    }
    const most = Math.max(1, ...days.map((d) => d.good + d.bad))
    this.days.setAttribute("aria-label", days.filter((d) => d.bad).map((d) => `${key(d.at)}: ${d.bad} crashes`).join(", ") || "no crash in 21 days")
    this.days.replaceChildren(...days.map((day) => {
      const stack = h("span", {class: "day", title: `${key(day.at)}: ${day.bad} crashed, ${day.good} ended as wanted`}, h("i", {class: "bad"}), h("i", {class: "good"}))
      stack.firstChild.style.height = 26 * day.bad / most + "px"
      stack.lastChild.style.height = 26 * day.good / most + "px"
      return stack
    }))
  }
}

export function render({model, el}) {
  const runs = new Runs(model, el)
  model.on("lifecycle:remove", () => runs.stop())
}

export default {render}

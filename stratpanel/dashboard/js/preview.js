// What a schedule would do: its next boundaries and what is wrong with it; and a calendar of the days that differ.

class Preview {
  constructor(model, el) {
    this.model = model
    this.title = h("div", {class: "title"}, "Next ten boundaries")
    this.said = h("p", {class: "said", role: "status"})
    this.list = h("ol", {class: "list"})
    this.calendar = h("div", {class: "months"})
    this.root = h("div", {class: "sp preview"}, this.title, this.said, this.list, this.calendar)
    el.append(this.root)
    this.off = followScheme(el.getRootNode().host || el, this.root)
    model.on(["plan", "zone"], () => this.draw())
    model.on(["sessions", "market"], () => this.drawCalendar())
    this.draw()
    this.drawCalendar()
  }

  draw() {
    const {plan, zone} = this.model
    const problems = Object.entries(plan.errors || {})
    this.said.className = "said" + (problems.length || plan.problem ? " bad" : "")
    setText(this.said, problems.length ? `${problems[0][0].replace(/^schedule\.?/, "")}: ${problems[0][1]}` : plan.problem || (plan.why ? `Now: ${plan.why}` : ""))
    this.list.replaceChildren(...(plan.boundaries || []).map((b) => h("li", {class: b.action}, icon(b.action === "start" ? "play" : "stop", 12), h("b", {}, b.action), h("span", {class: "at"}, dateClock(epochOf(b.at), zone) + " " + zoneWord(zone)), h("span", {class: "muted rule"}, b.rule || ""))))
    if (!problems.length && !plan.problem && !(plan.boundaries || []).length) { this.list.replaceChildren(h("li", {class: "muted"}, plan.waiting ? "…" : "Nothing is scheduled.")) }
    for (const text of plan.warnings || []) { this.list.append(h("li", {class: "warn"}, icon("warn", 12), text)) }
  }

  // Three months; a day is regular, short, special or closed, said by shape and title as well as by colour.
  drawCalendar() {
    const {sessions, market, zone} = this.model
    if (!market || !sessions.length) { this.calendar.replaceChildren(); return }
    const kinds = new Map(sessions.map((s) => [s.date, s]))
    const last = sessions.at(-1).date
    const now = new Date(), months = []
    for (let m = 0; m < 3; m++) {
      const first = new Date(Date.UTC(now.getFullYear(), now.getMonth() + m, 1)), days = new Date(Date.UTC(now.getFullYear(), now.getMonth() + m + 1, 0)).getUTCDate()
      const cells = [...Array((first.getUTCDay() + 6) % 7)].map(() => h("span"))
      for (let d = 1; d <= days; d++) {
        const date = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth(), d)), key = date.toISOString().slice(0, 10), session = kinds.get(key), weekend = [0, 6].includes(date.getUTCDay())
        const kind = session ? (session.kind === "regular" ? "regular" : session.kind === "early_close" ? "short" : "special") : key > last ? "unknown" : weekend ? "weekend" : "holiday"
        const words = session ? `${session.kind.replace("_", " ")} ${clockOf(epochOf(session.open), zone)}–${clockOf(epochOf(session.close), zone)}${session.why ? ": " + session.why : ""}` : kind === "unknown" ? "past the calendar's data" : kind === "weekend" ? "weekend" : "closed"
        cells.push(h("span", {class: "day " + kind + (key === now.toISOString().slice(0, 10) ? " today" : ""), title: `${key}: ${words}`, "aria-label": `${key} ${words}`}, String(d)))
      }
      months.push(h("div", {class: "month"}, h("b", {}, new Intl.DateTimeFormat("en-GB", {month: "long", year: "numeric", timeZone: "UTC"}).format(first)), h("div", {class: "grid"}, ["M", "T", "W", "T", "F", "S", "S"].map((d) => h("i", {}, d)), cells)))
    }
    const differing = sessions.filter((s) => s.kind !== "regular" && s.date >= now.toISOString().slice(0, 10)).slice(0, 6)
    this.calendar.replaceChildren(h("div", {class: "title"}, "Calendar " + market), h("div", {class: "row"}, months), h("p", {class: "legend muted"}, "Struck: closed on a weekday. Underlined: shortened. Boxed: special session."),
      ...differing.map((s) => h("p", {class: "muted"}, `${s.date}: ${s.kind.replace("_", " ")}${s.why ? ", " + s.why : ""}`)))
  }
}

export function render({model, el}) {
  const preview = new Preview(model, el)
  model.on("lifecycle:remove", () => preview.off())
}

export default {render}

// The page's header: totals, host, heartbeat, markets, what comes next, pause and PANIC. Redrawn in place, once a second at most.

class Head {
  constructor(model, el) {
    this.store = storeOf(model.bus)
    this.model = model
    this.brand = h("button", {type: "button", class: "brand", title: "all strategies", onclick: () => this.store.ask("open", {page: "board"}).catch(() => {})}, h("b", {}, model.title), this.where = h("span", {class: "where"}))
    this.totals = h("div", {class: "totals", role: "status", "aria-label": "totals"})
    this.machine = h("div", {class: "fact machine", title: "the machine's processor and memory"})
    this.heart = h("div", {class: "fact pulse", title: "seconds since the supervisor was last heard"}, icon("heart", 13), this.beat = h("span"))
    this.clocks = h("div", {class: "clocks"})
    this.pause = button("Pause", "pause", () => this.togglePause(), {class: "pause"})
    this.panic = button("PANIC", "halt", () => this.askPanic(), {class: "danger panic", title: "stop every strategy now"})
    this.activity = iconButton("activity: who did what", "list", () => this.store.emit("activity"))
    this.scheme = iconButton("switch between light and dark", "moon", () => this.switchScheme())
    this.root = h("div", {class: "sp head"}, this.brand, this.totals, h("span", {class: "grow"}), this.clocks, this.machine, this.heart, this.pause, this.panic, this.activity, this.scheme)
    el.append(this.root)
    const draw = () => this.draw()
    this.offs = ["all", "link", "tick", "supervisor", "rows", "markets"].map((kind) => this.store.on(kind, draw))
    this.timer = setInterval(draw, 1000)
    this.offs.push(followScheme(el.getRootNode().host || el, this.root, (scheme) => this.schemed(scheme)))
    this.draw()
  }

  stop() { clearInterval(this.timer); for (const off of this.offs) { off() } }

  schemed(scheme) {
    this.scheme.replaceChildren(icon(scheme === "dark" ? "sun" : "moon"))
    document.cookie = `stratpanel_scheme=${scheme}; path=/; max-age=31536000; samesite=lax`
  }

  switchScheme() { this.store.ask("scheme", {dark: this.root.dataset.scheme !== "dark"}).catch(() => {}) }

  draw() {
    if (this.drawing) { return }
    this.drawing = requestAnimationFrame(() => { this.drawing = null; this.redraw() })
  }

  redraw() {
    const {store} = this, sup = store.supervisor, known = store.seq !== null
    setText(this.where, sup.workspace ? " · " + sup.workspace.split("/").filter(Boolean).pop() : "")
    const counts = {}
    for (const row of store.rows.values()) { counts[row.state] = (counts[row.state] || 0) + 1; if (row.quiet) { counts.quiet = (counts.quiet || 0) + 1 } }
    const show = [["running", "good", "dot"], ["starting", "busy", "half"], ["stopping", "busy", "half"], ["backoff", "warn", "again"], ["quiet", "warn", "warn"], ["fatal", "bad", "cross"], ["lost", "bad", "ask"], ["exited", "idle", "diamond"], ["stopped", "idle", "stop"]]
    const always = new Set(["running", "stopped"])
    const key = known ? show.map(([s]) => counts[s] || 0).join() : "waiting"
    if (this.totals.key !== key) {
      this.totals.key = key
      this.totals.replaceChildren(...(known ? show.filter(([s]) => counts[s] || always.has(s)).map(([s, tone, shape]) => h("span", {class: "total " + (counts[s] ? tone : "idle")}, icon(shape, 11), h("b", {}, String(counts[s] || 0)), " " + s)) : [h("span", {class: "muted"}, "connecting…")]))
    }
    const host = store.host
    setText(this.machine, host?.memory_total_mb ? `CPU ${fixed(host.cpu_percent, 0)} % · ${(host.memory_mb / 1024).toFixed(1)}/${(host.memory_total_mb / 1024).toFixed(0)} GB` : "")
    const age = store.staleness(), bad = store.link !== "live" || age > 5
    setText(this.beat, !known ? "" : bad ? `no answer for ${span(age)}` : age < 1.5 ? "live" : `${age.toFixed(0)} s`)
    this.heart.classList.toggle("bad", known && bad)
    this.drawClocks()
    const paused = sup.state === "paused", panic = sup.panic || /panic/i.test(sup.why || "")
    const may = store.user.role !== "viewer"
    this.pause.disabled = !may
    this.panic.disabled = !may || Boolean(this.panicking)
    this.panic.title = may ? "stop every strategy now" : LOOK_ONLY
    const word = paused || panic ? "Resume" : "Pause"
    if (this.pause.word !== word) { this.pause.word = word; this.pause.replaceChildren(icon(paused || panic ? "play" : "pause"), h("span", {}, word)) }
    this.pause.title = !may ? LOOK_ONLY : paused || panic ? sup.why || "let schedules act again" : "nothing starts by itself until resume; what runs goes on and stops as scheduled"
  }

  // A clock for each zone of the calendars in use, and what their markets do next.
  drawClocks() {
    const now = this.store.now(), zones = new Map()
    let soonest = Infinity, next = []
    for (const market of this.store.markets) {
      const at = market.sessions.find((s) => s.close > now), open = Boolean(at && at.open <= now), when = at ? open ? at.close : at.open : Infinity
      const words = market.warning ? "calendar: " + market.warning : !at ? "no session known" : `${open ? "open, closes" : "closed, opens"} ${dateClock(when, market.timezone)}`
      if (when < soonest) { soonest = when; next = [] }
      if (when === soonest && at) { next.push({name: market.name, open}) }
      const zone = zones.get(market.timezone) || {clock: `${clockOf(now, market.timezone)} ${zoneWord(market.timezone)}`, lines: [], open: false, bad: false}
      zone.lines.push(`${market.name}: ${words}`)
      zone.open ||= open
      zone.bad ||= Boolean(market.warning)
      zones.set(market.timezone, zone)
    }
    const shown = [...zones.values()].slice(0, 3), left = soonest - now
    const event = next.length ? `${next[0].name}${next.length > 1 ? ` +${next.length - 1}` : ""} ${next[0].open ? "closes" : "opens"} ${left < 86400 ? "in " + span(left) : dayClock(soonest, this.store.markets.find((m) => m.name === next[0].name).timezone)}` : ""
    const key = JSON.stringify([shown, event])
    if (this.clocks.key === key) { return }
    this.clocks.key = key
    this.clocks.replaceChildren(event ? h("span", {class: "event", title: next.map((n) => n.name).join(", ")}, event) : "",
      ...shown.map((z) => h("span", {class: "clock" + (z.open ? " open" : "") + (z.bad ? " bad" : ""), title: z.lines.join("\n")}, h("b", {}, z.clock), z.bad ? " calendar!" : "")))
  }

  async togglePause() {
    const {store} = this, resuming = this.pause.word === "Resume"
    try {
      if (!resuming) {
        if (!(await confirmBox(this.root, {title: "Pause the workspace?", lines: ["Nothing starts by itself until you resume. What runs goes on, and still stops when its window ends.", "A person can still start a strategy by hand."], yes: "Pause", focusYes: true}))) { return }
        await store.ask("workspace", {verb: "pause"})
        return
      }
      const plan = await store.ask("workspace", {verb: "resume", args: {dry_run: true}})
      const list = plan.would_start || []
      const lines = list.length ? [`${list.length} would start at once:`, ...list.slice(0, 12).map((s) => `${s.id}: ${s.why || ""}`), ...(list.length > 12 ? [`and ${list.length - 12} more`] : [])] : ["Nothing would start at once; schedules act again from now on."]
      if (await confirmBox(this.root, {title: "Resume the workspace?", lines, yes: list.length ? `Resume and start ${list.length}` : "Resume", danger: list.length > 0})) { await store.ask("workspace", {verb: "resume", args: {confirm: true}}) }
    } catch (error) { store.toast("bad", error.message) }
  }

  async askPanic() {
    const {store} = this
    const alive = [...store.rows.values()].filter((row) => ALIVE.has(row.state))
    const live = alive.filter((row) => row.mode === "live")
    const sure = await confirmBox(this.root, {title: `Stop all ${alive.length} running strategies now?`, danger: true, focusYes: true, yes: "Stop everything",
      lines: [...(live.length ? [{text: `${live.length} of them trade with real money: ${names(live.map((r) => r.id))}`, strong: true}] : []), "All process trees end in parallel. Nothing starts again, by schedule or by hand, until somebody resumes.", {text: POSITIONS, strong: true}]})
    if (!sure) { return }
    this.panic.disabled = this.panicking = true
    store.toast("info", "panic: stopping everything…")
    try {
      const done = await store.ask("workspace", {verb: "panic", args: {why: `from the dashboard by ${store.user.name || "a person"}`}})
      const left = done.left || []
      left.length ? store.toast("bad", `still alive after panic: ${left.join(", ")}`) : store.toast("good", `panic done: ${(done.stopped || []).length} stopped. Positions are not closed.`)
    } catch (error) { store.toast("bad", `panic failed: ${error.message}. From a terminal: stratpanel panic`) }
    finally { this.panic.disabled = this.panicking = false }
  }
}

export function render({model, el}) {
  const head = new Head(model, el)
  model.on("lifecycle:remove", () => head.stop())
}

export default {render}

// The head of a strategy's page: where one is, its state and figures, its actions, and the tabs.

const TABS = [["logs", "Logs"], ["live", "Live"], ["resources", "Resources"], ["schedule", "Schedule"], ["runs", "Runs"], ["source", "Source"], ["settings", "Settings"]]

class StrategyHead {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.id = model.strategy
    const act = (verb) => () => this.act(verb)
    this.back = button("All strategies", "left", () => this.store.ask("open", {page: "board"}), {class: "back"})
    this.chip = h("div", {class: "state"})
    this.name = h("h1", {}, this.id)
    this.sub = h("span", {class: "muted sub"})
    this.why = h("div", {class: "why"})
    this.facts = h("dl", {class: "facts"})
    this.buttons = {start: button("Start", "play", act("start")), stop: button("Stop", "stop", act("stop")), restart: button("Restart", "again", act("restart")), kill: button("Kill", "bolt", act("kill")), reset: button("Reset", "check", act("reset"))}
    this.more = iconButton("more actions", "more", (event) => this.openMenu(event.currentTarget))
    this.notice = h("div", {class: "notice", hidden: true}, icon("warn", 14), this.noticeText = h("span"), this.noticeAct = button("Source", null, () => this.go("source")))
    this.tabs = h("div", {class: "tabs", role: "tablist", "aria-label": "parts of " + this.id}, TABS.map(([key, title]) => h("button", {type: "button", role: "tab", "data-tab": key, id: "tab-" + key, onclick: () => this.go(key)}, title)))
    this.tabs.addEventListener("keydown", (event) => {
      const at = TABS.findIndex(([key]) => key === this.model.tab), by = {ArrowRight: 1, ArrowLeft: -1}[event.key]
      if (by) { event.preventDefault(); const to = TABS[(at + by + TABS.length) % TABS.length][0]; this.go(to); this.tabs.querySelector(`[data-tab=${to}]`).focus() }
    })
    this.root = h("div", {class: "sp strategy"}, h("div", {class: "top"}, this.back, this.chip, this.name, this.sub, h("span", {class: "grow"}), Object.values(this.buttons), this.more), h("div", {class: "second"}, this.why, this.facts), this.notice, this.tabs)
    el.append(this.root)
    const draw = () => this.draw()
    this.offs = [this.store.on("all", draw), this.store.on("tick", draw), this.store.on("rows", (ids) => { if (ids === null || ids.has(this.id)) { this.draw() } }), followScheme(el.getRootNode().host || el, this.root)]
    model.on("tab", () => { this.mark(); this.draw() })
    this.keys = (event) => this.key(event)
    document.addEventListener("keydown", this.keys)
    this.mark()
    this.draw()
  }

  stop() { document.removeEventListener("keydown", this.keys); for (const off of this.offs) { off() } }

  key(event) {
    const path = event.composedPath()
    if (!this.root.isConnected || event.ctrlKey || event.metaKey || event.altKey || path.some((node) => ["INPUT", "TEXTAREA", "SELECT", "DIALOG"].includes(node.tagName) || node.isContentEditable)) { return }
    if (event.key === "Escape") { this.store.ask("open", {page: "board"}) }
    else if (event.key === "s") { this.act("start") } else if (event.key === "x") { this.act("stop") } else if (event.key === "r") { this.act("restart") }
    else if (/^[1-7]$/.test(event.key)) { this.go(TABS[Number(event.key) - 1][0]) }
  }

  go(tab) {
    for (const node of this.tabs.children) { node.classList.toggle("going", node.dataset.tab === tab && tab !== this.model.tab) }
    this.store.ask("open", {page: "strategy", id: this.id, tab}).catch((error) => this.store.toast("bad", error.message))
  }

  mark() {
    for (const node of this.tabs.children) {
      const on = node.dataset.tab === this.model.tab
      node.setAttribute("aria-selected", String(on))
      node.tabIndex = on ? 0 : -1
      node.classList.remove("going")
    }
  }

  draw() {
    const row = this.store.rows.get(this.id)
    if (!row) { setText(this.why, this.store.seq === null ? "" : "There is no such strategy (any more)."); for (const node of Object.values(this.buttons)) { node.disabled = true } return }
    paintChip(this.chip, chipOf(row, this.store.pending.get(this.id)))
    setText(this.sub, row.name && row.name !== row.id ? row.name : "")
    setText(this.why, row.why || "")
    const now = this.store.now(), may = this.store.user.role !== "viewer", busy = this.store.pending.has(this.id), alive = ALIVE.has(row.state)
    const facts = [["Mode", row.mode === "live" ? "LIVE" : row.mode], ["Version", row.version == null ? "" : "v" + row.version], ["PID", row.pid], ["Up", row.up == null ? "" : span(now - row.up)], ["CPU", row.cpu_percent == null ? "" : fixed(row.cpu_percent) + " %"],
      ["Memory", row.memory_mb == null ? "" : `${megabytes(row.memory_mb)} of ${megabytes(row.memory_limit_mb)}`], ["Restarts", row.restarts || ""], ["Last exit", lastExit(row).text], ["Next", nextText(row, now)], ["Calendar", row.calendar], ["Owner", row.user_id]].filter(([, value]) => value !== "" && value != null)
    const key = facts.map(([k]) => k).join()
    if (this.facts.key !== key) { this.facts.key = key; this.facts.replaceChildren(...facts.map(([k]) => h("div", {}, h("dt", {}, k), h("dd", {class: k === "Mode" && row.mode === "live" ? "live" : ""})))) }
    facts.forEach(([, value], at) => setText(this.facts.children[at].lastChild, String(value)))
    const {buttons} = this
    buttons.start.disabled = !may || busy || (alive && row.state !== "backoff")
    buttons.stop.disabled = !may || busy || !(alive || row.state === "lost")
    buttons.restart.disabled = !may || busy || !alive
    buttons.kill.hidden = !(row.state === "stopping" || row.state === "lost")
    buttons.reset.hidden = !["fatal", "lost"].includes(row.state)
    buttons.kill.disabled = buttons.reset.disabled = !may
    for (const node of Object.values(buttons)) { node.title = may ? "" : LOOK_ONLY }
    const hold = row.hold_detail
    const differs = this.model.tab !== "source" && standingOf(row)?.short
    const held = row.hold && row.hold !== "none" && row.hold !== "started" ? `On hold (${row.hold}${hold?.by ? " by " + hold.by : ""}${hold?.why ? ": " + hold.why : ""}): the schedule does not start it.` : ""
    setText(this.noticeText, [held, differs].filter(Boolean).join(" "))
    this.notice.hidden = !(held || differs)
    this.noticeAct.hidden = !differs
  }

  async act(verb) {
    if (this.store.user.role === "viewer") { this.store.toast("bad", LOOK_ONLY); return }
    const row = this.store.rows.get(this.id)
    if (!row || this.store.pending.has(this.id)) { return }
    const alive = ALIVE.has(row.state)
    if ((verb === "start" && alive && row.state !== "backoff") || (["stop", "restart"].includes(verb) && !alive && row.state !== "lost")) { this.store.toast("info", `${this.id} is ${row.state}; nothing to ${verb}`); return }
    const ask = () => mayAct(this.root, this.store, verb, [this.id])
    if (verb === "start") { await startAsking(this.root, this.store, this.id, ask) } else if (await ask()) { await this.store.act(verb, [this.id]) }
  }

  async ask(what, verb, options) {
    try {
      const answer = await confirmBox(this.root, options)
      if (answer === false) { return }
      const done = await this.store.ask(verb, {id: this.id, to: typeof answer === "string" ? answer.trim() : undefined})
      this.store.toast("good", done.said || what)
    } catch (error) { this.store.toast("bad", error.message, this.id) }
  }

  openMenu(anchor) {
    const row = this.store.rows.get(this.id), admin = this.store.user.role === "admin", may = this.store.user.role !== "viewer"
    if (!row) { return }
    const quiet = !ALIVE.has(row.state)
    popupMenu(this.root, anchor, [
      row.hold === "paused" ? ["Resume its schedule", "play", () => this.store.act("resume", [this.id]), may] : ["Pause its schedule", "pause", () => this.store.act("pause", [this.id]), may],
      ["Kill (SIGKILL)", "bolt", () => this.act("kill"), may && !quiet], null,
      ["Duplicate…", "copy", () => this.ask("duplicated", "duplicate", {title: `Duplicate ${this.id}`, lines: ["The script and its settings are copied under a new id, without schedule and in paper mode."], input: {label: "New id", value: this.id + "-2"}, yes: "Duplicate"}), admin],
      ["Rename…", "list", () => this.ask("renamed", "rename", {title: `Rename ${this.id}`, lines: ["Its settings move to the new id. The history and log of the old id stay under the old name."], input: {label: "New id", value: this.id}, yes: "Rename"}), admin && quiet],
      ["Remove…", "cross", () => this.ask("removed", "remove", {title: `Remove ${this.id}?`, lines: ["It is taken out of the registry and out of every schedule. Its files, log and history stay on disk.", POSITIONS], type: this.id, yes: "Remove", danger: true}), admin && quiet],
    ])
  }
}

export function render({model, el}) {
  const head = new StrategyHead(model, el)
  model.on("lifecycle:remove", () => head.stop())
}

export default {render}

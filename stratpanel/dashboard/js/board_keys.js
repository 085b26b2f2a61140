// The board's hands: choosing, picking, keyboard, menu and actions.

Object.assign(Board.prototype, {
  choose(id, quiet = false) {
    if (this.current === id) { return }
    this.current = id
    this.paint()
    clearTimeout(this.choosing)
    if (!quiet) { this.choosing = setTimeout(() => { this.store.emit("chosen", id); this.store.ask("select", {id}).catch(() => {}) }, 120) }
  },

  pick(id, range) {
    if (range && this.lastPick && this.listed.includes(this.lastPick)) {
      const [a, b] = [this.listed.indexOf(this.lastPick), this.listed.indexOf(id)].sort((x, y) => x - y)
      for (const between of this.listed.slice(a, b + 1)) { this.picked.add(between) }
    } else { this.picked.has(id) ? this.picked.delete(id) : this.picked.add(id) }
    this.lastPick = id
    this.changed()
  },

  pickAll(on) { this.picked = new Set(on ? this.listed : []); this.changed() },

  step(by) {
    const rows = this.items.filter((item) => item.id != null)
    if (!rows.length) { return }
    const at = rows.findIndex((item) => item.id === this.current)
    const item = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))]
    this.choose(item.id)
    if (item.top < this.scroll.scrollTop) { this.scroll.scrollTop = item.top }
    else if (item.top + item.height > this.scroll.scrollTop + this.scroll.clientHeight) { this.scroll.scrollTop = item.top + item.height - this.scroll.clientHeight }
    this.paint()
  },

  open(id) { if (id) { this.store.ask("open", {page: "strategy", id}).catch((error) => this.store.toast("bad", error.message)) } },

  async act(verb, ids) {
    const able = ids.filter((id) => {
      const row = this.store.rows.get(id)
      if (!row || this.store.pending.has(id)) { return false }
      return verb === "start" ? !ALIVE.has(row.state) || row.state === "backoff" : verb === "stop" || verb === "kill" ? ALIVE.has(row.state) || row.state === "lost" : verb === "restart" ? ALIVE.has(row.state) : true
    })
    if (!able.length) { this.store.toast("info", ids.length ? `nothing to ${verb}: ${ids.length === 1 ? ids[0] + " is " + this.store.rows.get(ids[0])?.state : "none of them is in the state for it"}` : "pick a strategy first"); return }
    if (this.store.user.role === "viewer") { this.store.toast("bad", LOOK_ONLY); return }
    if (!(await mayAct(this.root, this.store, verb, able))) { this.table.focus(); return }
    this.table.focus({preventScroll: true})
    await this.store.act(verb, able)
  },

  key(event) {
    if (event.target !== this.table && event.target.closest?.("input, button, dialog, .menu") && event.key !== "Escape") { return }
    if (event.ctrlKey || event.metaKey || event.altKey) { return }
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / 32) - 1)
    const moves = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9, j: 1, k: -1}
    const targets = this.picked.size ? [...this.picked] : this.current ? [this.current] : []
    if (event.key in moves) { event.preventDefault(); const before = this.current; this.step(moves[event.key]); if (event.shiftKey && before) { this.picked.add(before); this.picked.add(this.current); this.changed() } }
    else if (event.key === "Enter") { event.preventDefault(); this.open(this.current) }
    else if (event.key === " ") { event.preventDefault(); if (this.current) { this.pick(this.current, event.shiftKey) } }
    else if (event.key === "s") { event.preventDefault(); this.act("start", targets) }
    else if (event.key === "x") { event.preventDefault(); this.act("stop", targets) }
    else if (event.key === "r") { event.preventDefault(); this.act("restart", targets) }
    else if (event.key === "Escape") { this.picked.clear(); this.changed() }
  },

  // Keys of the whole page while nothing is being typed and no dialog is open.
  pageKey(event) {
    const path = event.composedPath()
    if (!this.root.isConnected || !this.root.clientWidth || event.ctrlKey || event.metaKey || event.altKey) { return }
    if (path.some((node) => node.tagName === "INPUT" || node.tagName === "TEXTAREA" || node.tagName === "SELECT" || node.isContentEditable || node.tagName === "DIALOG")) { return }
    if (event.key === "/") { event.preventDefault(); this.filter.focus(); this.filter.select() }
    else if (event.key === "?") { event.preventDefault(); this.showHelp() }
    else if (!path.includes(this.root) && (event.key === "ArrowDown" || event.key === "ArrowUp") && path[0] === document.body) { event.preventDefault(); this.table.focus(); this.step(event.key === "ArrowDown" ? 1 : -1) }
  },

  showHelp() {
    const rows = [["/", "filter"], ["↑ ↓ · Page · Home End", "move"], ["Enter", "open the strategy"], ["Space · Shift", "pick one · a range"], ["s", "start"], ["x", "stop, after a question"], ["r", "restart, after a question"], ["Esc", "clear filter or selection"]]
    const box = h("dialog", {class: "ask", "aria-label": "keyboard"}, h("h2", {}, "Keyboard"), h("table", {}, rows.map(([keys, what]) => h("tr", {}, h("td", {}, keys.split(" · ").map((k, at) => [at ? " " : "", h("kbd", {}, k)])), h("td", {}, what)))),
                  h("div", {class: "buttons"}, button("Close", null, () => box.close(), {class: "solid"})))
    box.addEventListener("close", () => { box.remove(); this.table.focus() })
    this.root.append(box)
    box.showModal()
  },

  openMenu(id, anchor) {
    const row = this.store.rows.get(id)
    if (!row) { return }
    const may = this.store.user.role !== "viewer", alive = ALIVE.has(row.state), tab = (name) => () => this.store.ask("open", {page: "strategy", id, tab: name})
    popupMenu(this.root, anchor, [
      ["Open", "open", () => this.open(id)], ["Logs", "list", tab("logs")], ["Schedule", "week", tab("schedule")], ["Source", "copy", tab("source")], null,
      ["Start", "play", () => this.act("start", [id]), may && !alive], ["Start with parameters…", "play", () => startAsking(this.root, this.store, id, () => mayAct(this.root, this.store, "start", [id])), may && !alive], ["Stop", "stop", () => this.act("stop", [id]), may && (alive || row.state === "lost")], ["Restart", "again", () => this.act("restart", [id]), may && alive],
      ["Kill (SIGKILL)", "bolt", () => this.act("kill", [id]), may && (alive || row.state === "lost")], ["Reset", "check", () => this.act("reset", [id]), may && ["fatal", "lost", "exited", "backoff"].includes(row.state)], null,
      row.hold === "paused" ? ["Resume its schedule", "play", () => this.act("resume", [id]), may] : ["Pause its schedule", "pause", () => this.act("pause", [id]), may],
    ], this.table)
  },
})

export function render({model, el}) {
  const board = new Board(model, el)
  model.on("lifecycle:remove", () => board.stop())
  requestAnimationFrame(() => { board.start(); board.changed() })
}

export default {render}

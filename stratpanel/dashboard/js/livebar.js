// The bar of the Live tab: the run that is shown, the runs it is compared with, and how to report when nothing was.

const EXAMPLE = `from stratpanel import live

live.metric(pnl=120.5, position=3)               # a chart each
live.signal("BUY", symbol="SBIN", price=812.5)   # a mark on the charts
live.note("spread too wide, waiting")            # a line in the list
live.heartbeat()                                 # "I am alive", see watchdog_s in Settings`

class LiveBar {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.id = model.strategy
    this.run = h("select", {"aria-label": "run", onchange: () => this.model.send_msg({do: "choose", run: this.run.value})})
    this.others = button("Compare…", "plus", () => this.openChoice(), {title: "draw other runs over this one"})
    this.basis = h("select", {"aria-label": "time axis", onchange: () => this.model.send_msg({do: "basis", basis: this.basis.value})}, [["clock", "by the clock"], ["start", "since each start"]].map(([v, t]) => h("option", {value: v}, t)))
    this.chips = h("div", {class: "chips", role: "list", "aria-label": "runs shown"})
    this.beat = h("span", {class: "muted beat"})
    this.note = h("span", {class: "muted note", role: "status"})
    this.bar = h("div", {class: "bar"}, h("label", {}, h("span", {class: "muted"}, "Run "), this.run), this.others, this.basis, this.chips, h("span", {class: "grow"}), this.beat, this.note)
    this.empty = h("div", {class: "empty", hidden: true}, h("h2", {}, "This strategy has reported nothing yet"),
      h("p", {}, "A strategy reports numbers, signals and remarks with stratpanel.live (standard library only, harmless when run by hand). They appear here while it runs, and are kept with each run:"),
      h("pre", {class: "mono"}, EXAMPLE), h("p", {class: "muted"}, "In a notebook the same are DataFrames: ", h("code", {class: "mono"}, `ws["${this.id}"].metrics`)))
    this.root = h("div", {class: "sp live"}, this.bar, this.empty)
    el.append(this.root)
    model.on("msg:custom", (text) => this.receive(JSON.parse(text)))
    this.off = followScheme(el.getRootNode().host || el, this.root, () => this.drawChips())
    model.send_msg({do: "ready"})
  }

  receive(m) {
    if (m.k === "beat") { if (this.state) { this.state.heartbeat = m.heartbeat } } else { this.state = m }
    if (this.state) { this.draw() }
  }

  nameOf(run) { return `${run.started ? dateClock(run.started, this.state.zone) + ":" + secondsOf(run.started, this.state.zone).slice(-2) : run.run_id}${run.label ? " · " + run.label : ""}${run.on ? " · running" : ""}` }

  draw() {
    const {runs, chosen, note, read, heartbeat, zone, basis} = this.state
    this.bar.hidden = !runs.length && !note
    this.empty.hidden = !read || runs.length > 0 || Boolean(note)
    const options = [["", "newest"], ...runs.map((run) => [run.run_id, this.nameOf(run)])]
    const key = JSON.stringify(options)
    if (this.run.key !== key) { this.run.key = key; this.run.replaceChildren(...options.map(([value, text]) => h("option", {value}, text))) }
    this.run.value = chosen
    this.basis.value = basis
    this.others.disabled = runs.length < 2
    setText(this.note, note || "")
    setText(this.beat, heartbeat ? "heartbeat " + secondsOf(heartbeat.t, zone) : "")
    this.drawChips()
  }

  drawChips() {
    if (!this.state) { return }
    const {shown} = this.state, dark = this.root.dataset.scheme === "dark"
    this.chips.replaceChildren(...shown.map((run, at) => {
      const svg = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "line")
      svg.setAttribute("width", 30); svg.setAttribute("height", 10); svg.setAttribute("aria-hidden", "true")
      for (const [k, v] of [["x1", 0], ["x2", 30], ["y1", 5], ["y2", 5], ["stroke", dark ? run.dark : run.light], ["stroke-width", 2], ["stroke-dasharray", run.dash.join(" ")]]) { line.setAttribute(k, v) }
      svg.append(line)
      const known = this.state.runs.find((r) => r.run_id === run.run_id) || run
      return h("span", {class: "run", role: "listitem", title: run.run_id}, shown.length > 1 ? h("b", {}, run.letter) : null, svg, h("span", {}, this.nameOf(known)),
        at ? iconButton("compare no more with run " + run.letter, "cross", () => this.compare(this.others_().filter((id) => id !== run.run_id))) : null)
    }))
  }

  others_() { return this.state.shown.slice(1).map((run) => run.run_id) }

  compare(runs) { this.model.send_msg({do: "compare", runs}) }

  openChoice() {
    const {runs, shown, most} = this.state, first = shown[0]?.run_id, on = new Set(this.others_())
    const boxes = runs.filter((run) => run.run_id !== first).slice(0, 60).map((run) => {
      const box = h("input", {type: "checkbox", value: run.run_id, checked: on.has(run.run_id), onchange: () => check()})
      return h("label", {}, box, h("span", {}, this.nameOf(run)))
    })
    const inputs = () => boxes.map((label) => label.firstChild)
    const check = () => { const full = inputs().filter((box) => box.checked).length >= most - 1; for (const box of inputs()) { box.disabled = full && !box.checked } }
    const close = () => { box.close(); box.remove(); this.others.focus() }
    const box = h("dialog", {class: "ask", "aria-label": "compare runs"}, h("h2", {}, "Compare with other runs"), h("p", {class: "muted"}, `At most ${most - 1}; drawn by the time since each start, or by the clock.`), h("div", {class: "choice"}, boxes),
      h("div", {class: "buttons"}, button("Cancel", null, close), button("Compare", null, () => { const picked = inputs().filter((b) => b.checked).map((b) => b.value); close(); this.compare(picked) }, {class: "solid"})))
    box.addEventListener("cancel", (event) => { event.preventDefault(); close() })
    box.addEventListener("keydown", (event) => event.stopPropagation())
    check()
    this.root.append(box)
    box.showModal()
  }
}

export function render({model, el}) {
  const bar = new LiveBar(model, el)
  model.on("lifecycle:remove", () => bar.off())
}

export default {render}

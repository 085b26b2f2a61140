// Toasts, and one line across the page while the supervisor or the dashboard's own server does not answer.

class NoticeBoard {
  constructor(model, el) {
    this.store = storeOf(model.bus)
    this.remedy = model.cell ? "This view is stale: run the cell again, also after its kernel was restarted." : "It reconnects by itself; if not: stratpanel serve"
    this.line = h("div", {class: "line", role: "alert", hidden: true})
    this.toasts = h("div", {class: "toasts", role: "log", "aria-live": "polite", "aria-label": "notices"})
    this.drawer = h("aside", {class: "activity", hidden: true, "aria-label": "activity"}, h("div", {class: "title"}, h("b", {}, "Activity"), h("span", {class: "grow"}), iconButton("close the activity list", "cross", () => this.toggle(false))), this.list = h("ol", {class: "list"}))
    this.root = h("div", {class: "sp notices"}, model.warning ? h("div", {class: "line warn"}, model.warning) : null, this.line, this.toasts, this.drawer)
    el.append(this.root)
    this.offs = [this.store.on("toast", (t) => this.show(t)), followScheme(el.getRootNode().host || el, this.root)]
    this.offs.push(this.store.on("activity", () => this.toggle(this.drawer.hidden)), this.store.on("events", () => this.drawEvents()))
    for (const kind of ["link", "supervisor", "all", "tick"]) { this.offs.push(this.store.on(kind, () => this.check())) }
    this.timer = setInterval(() => this.check(), 1000)
  }

  stop() { clearInterval(this.timer); for (const off of this.offs) { off() } }

  toggle(on) {
    this.drawer.hidden = !on
    this.drawEvents()
    if (on) { this.drawer.querySelector("button").focus() }
  }

  drawEvents() {
    if (this.drawer.hidden) { return }
    const tones = {crash: "bad", fatal: "bad", lost: "bad", memory: "bad", missed_start: "bad", started: "good", stopped: "idle", panic: "bad", quiet: "warn", watchdog: "warn"}
    const zone = this.store.supervisor.timezone
    this.list.replaceChildren(...this.store.events.slice(-200).reverse().map((event) => h("li", {class: tones[event.type] || ""},
      h("time", {class: "muted", title: event.at ? dateClock(event.at, zone) : ""}, event.at ? secondsOf(event.at, zone) : ""), h("span", {class: "what"}, event.id ? h("button", {type: "button", class: "id", onclick: () => this.store.ask("open", {page: "strategy", id: event.id}).catch((error) => this.store.toast("bad", error.message))}, event.id) : null, event.message || event.type, h("span", {class: "muted by"}, event.by ? " · " + event.by : "")))))
    if (!this.store.events.length) { this.list.replaceChildren(h("li", {class: "muted"}, "Nothing has happened yet.")) }
  }

  check() {
    const {store} = this, silent = store.heard ? (performance.now() - store.heard) / 1000 : 0, sup = store.supervisor
    let tone = "bad", text = ""
    if (store.seq === null) { text = "" }
    else if (silent > 4) { text = `The dashboard has not been heard for ${span(silent)}; what is shown is from then. Strategies are not affected. ${this.remedy}` }
    else if (store.link === "down") { text = `The supervisor does not answer; what is shown is ${span(store.staleness())} old. Strategies go on under their runners. It comes back by itself; if not: stratpanel up` }
    else if (store.link === "stale" || store.staleness() > 5) { text = `The supervisor is late; what is shown is ${span(store.staleness())} old.` }
    else if (sup.state === "degraded") { text = `Degraded: ${sup.why || "the registry cannot be read"}. Stop and panic work; starts and edits are refused until it is repaired.` }
    else if (sup.state === "paused") { tone = "warn"; text = `Paused: ${sup.why || "nothing starts by itself"}.` }
    setText(this.line, text)
    this.line.hidden = !text
    this.line.className = "line " + tone
  }

  show({tone, text, id}) {
    const same = [...this.toasts.children].find((t) => t.dataset.text === text)
    same?.remove()
    const shape = {bad: "warn", warn: "warn", good: "check", info: "bolt"}[tone] || "bolt"
    const close = () => { clearTimeout(timer); toast.remove() }
    const toast = h("div", {class: "toast " + tone, "data-text": text}, icon(shape), h("span", {class: "said"}, id && !text.includes(id) ? h("b", {}, id + ": ") : null, text), iconButton("dismiss", "cross", close))
    const timer = setTimeout(close, tone === "bad" ? 20000 : 6000)
    this.toasts.append(toast)
    while (this.toasts.children.length > 5) { this.toasts.firstChild.remove() }
  }
}

export function render({model, el}) {
  const board = new NoticeBoard(model, el)
  model.on("lifecycle:remove", () => board.stop())
}

export default {render}

// Toasts, and one line across the page while the supervisor or the dashboard's own server does not answer.

class NoticeBoard {
  constructor(model, el) {
    this.store = storeOf(model.bus)
    this.line = h("div", {class: "line", role: "alert", hidden: true})
    this.toasts = h("div", {class: "toasts", role: "log", "aria-live": "polite", "aria-label": "notices"})
    this.root = h("div", {class: "sp notices"}, model.warning ? h("div", {class: "line warn"}, model.warning) : null, this.line, this.toasts)
    el.append(this.root)
    this.offs = [this.store.on("toast", (t) => this.show(t)), followScheme(el.getRootNode().host || el, this.root)]
    for (const kind of ["link", "supervisor", "all", "tick"]) { this.offs.push(this.store.on(kind, () => this.check())) }
    this.timer = setInterval(() => this.check(), 1000)
  }

  stop() { clearInterval(this.timer); for (const off of this.offs) { off() } }

  check() {
    const {store} = this, silent = store.heard ? (performance.now() - store.heard) / 1000 : 0, sup = store.supervisor
    let tone = "bad", text = ""
    if (store.seq === null) { text = "" }
    else if (silent > 4) { text = `The dashboard's server has not been heard for ${span(silent)}; what is shown is from then. Strategies are not affected. It reconnects by itself; if not: stratpanel serve` }
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

// Signals and notes of the Live tab, newest first. Whatever a strategy wrote reaches the page as text.

const SHAPES = {buy: "up", long: "up", enter: "up", entry: "up", cover: "up", sell: "down", short: "down", exit: "down", close: "down"}

class LiveList {
  constructor(model, el) {
    this.store = storeOf(model.bus)
    this.rows = []
    this.most = 400
    this.items = h("ol", {"aria-label": "signals and notes"})
    this.none = h("p", {class: "muted none"}, "No signals or notes in this run.")
    this.root = h("div", {class: "sp livelist"}, h("div", {class: "title"}, "Signals and notes"), this.none, this.items)
    el.append(this.root)
    model.on("msg:custom", (text) => this.receive(JSON.parse(text)))
    this.off = followScheme(el.getRootNode().host || el, this.root)
    model.send_msg({do: "ready"})
  }

  receive(m) {
    if (m.k === "all") { this.zone = m.zone; this.several = m.several; this.most = m.most; this.items.replaceChildren() }
    for (const row of m.rows) { this.items.prepend(this.item(row)) }
    while (this.items.children.length > this.most) { this.items.lastChild.remove() }
    this.none.hidden = this.items.children.length > 0
  }

  item(row) {
    const when = h("time", {title: dateClock(row.t, this.zone)}, secondsOf(row.t, this.zone)), run = this.several ? h("b", {class: "letter"}, row.run) : null
    if (row.side == null) { return h("li", {class: "said"}, when, run, h("span", {class: "text"}, row.text)) }
    const shape = SHAPES[row.side.trim().toLowerCase()] || "diamond"
    return h("li", {class: "signal " + shape}, when, run, h("span", {class: "text"}, icon(shape, 12), h("b", {}, row.side), row.fields.flatMap(([name, value]) => [" ", h("span", {class: "muted"}, name), " " + value])))
  }
}

export function render({model, el}) {
  const list = new LiveList(model, el)
  model.on("lifecycle:remove", () => list.off())
}

export default {render}

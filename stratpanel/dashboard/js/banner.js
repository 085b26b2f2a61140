// Above the editor: how the working copy stands to what is deployed and what runs, and what can be done about it.

class CopyBanner {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.said = h("span", {class: "words"}, this.short = h("b"), " ", this.next = h("span"))
    this.diff = button("Diff", null, () => model.send_msg({do: "diff", from: this.from}))
    this.deploy = button("Deploy", null, () => model.send_msg({do: "deploy"}))
    this.root = h("div", {class: "sp copy", role: "status", hidden: true}, icon("warn", 14), this.said, this.diff, this.deploy)
    el.append(this.root)
    const draw = () => this.draw()
    this.offs = [this.store.on("all", draw), this.store.on("rows", (ids) => { if (ids === null || ids.has(model.strategy)) { draw() } }), followScheme(el.getRootNode().host || el, this.root)]
    model.on("unsaved", draw)
    this.draw()
  }

  stop() { for (const off of this.offs) { off() } }

  draw() {
    const {store, model} = this, standing = standingOf(store.rows.get(model.strategy)), admin = store.user.role === "admin"
    this.root.hidden = !standing
    if (!standing) { return }
    setText(this.short, standing.short)
    setText(this.next, standing.next)
    this.from = standing.from
    this.deploy.hidden = !standing.deploy
    this.deploy.disabled = !admin || model.unsaved || store.pending.has(model.strategy)
    this.deploy.title = !admin ? "Deploying needs the role admin" : model.unsaved ? "Save or undo your changes first" : "Make a version of the working copy"
  }
}

export function render({model, el}) {
  const banner = new CopyBanner(model, el)
  model.on("lifecycle:remove", () => banner.stop())
}

export default {render}

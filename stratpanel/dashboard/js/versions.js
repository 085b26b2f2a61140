// The deployed versions of one strategy, newest first, with what may be done about each.

class Versions {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.list = h("ol", {class: "list"})
    this.note = h("p", {class: "muted note"})
    this.root = h("div", {class: "sp versions"}, h("div", {class: "title"}, "Versions"), this.note, this.list)
    el.append(this.root)
    this.offs = [followScheme(el.getRootNode().host || el, this.root), this.store.on("all", () => this.draw()), this.store.on("rows", (ids) => { if (ids === null || ids.has(model.strategy)) { this.follow() } })]
    model.on("versions", () => this.draw())
    this.draw()
    model.send_msg({do: "ready"})
  }

  stop() { for (const off of this.offs) { off() } }

  // Another person, or the command line, deployed, promoted or started it: the list is asked for again.
  follow() {
    const row = this.store.rows.get(this.model.strategy) || {}, key = [row.deployed_version, row.promoted_version].join(), shown = [row.version, row.pid].join()
    if (this.key != null && this.key !== key) { this.model.send_msg({do: "again"}) } else if (this.shown !== shown) { this.draw() }
    this.key = key
    this.shown = shown
  }

  draw() {
    const admin = this.store.user.role === "admin", row = this.store.rows.get(this.model.strategy) || {}
    setText(this.note, this.model.versions.length ? "" : "Nothing deployed yet: deploy the working copy, and starts run it.")
    this.list.replaceChildren(...this.model.versions.map((version) => {
      const n = version.n ?? version.version
      const marks = [version.current && "runs next", version.live && "promoted to live", row.version === n && row.pid && "running now"].filter(Boolean)
      return h("li", {}, h("div", {class: "what"}, h("b", {}, "v" + n), h("span", {class: "muted"}, ` ${version.created ? dateClock(epochOf(version.created), row.timezone) : ""} ${version.by ? "by " + version.by : ""} ${version.sha ? "· " + version.sha.slice(0, 8) : ""}`)),
        marks.length ? h("div", {class: "marks"}, marks.map((mark) => h("span", {class: "chip " + (mark.includes("live") ? "live" : mark.includes("running") ? "good" : "busy")}, mark))) : null,
        version.note ? h("div", {class: "remark"}, version.note) : null,
        h("div", {class: "acts"}, button("Diff", null, () => this.model.send_msg({do: "diff", n})), admin && !version.current ? button("Roll back to it", null, () => this.rollback(n)) : null, admin && !version.live ? button("Promote", null, () => this.promote(n, row)) : null))
    }))
  }

  async rollback(n) {
    if (await confirmBox(this.root, {title: `Roll ${this.model.strategy} back to v${n}?`, lines: ["The next start runs v" + n + ". What runs now keeps its own version, through restarts too, until it is stopped and started again."], yes: "Roll back", focusYes: true})) { this.model.send_msg({do: "rollback", n}) }
  }

  async promote(n, row) {
    if (await confirmBox(this.root, {title: `Promote v${n} to live?`, lines: [{text: `From the next start on ${this.model.strategy} runs v${n} with the live secrets: real money.`, strong: true}, `It has run on paper with ${row.restarts || 0} automatic restarts since its last start. Read the diff first.`], type: this.model.strategy, yes: "Promote to live", danger: true})) { this.model.send_msg({do: "promote", n}) }
  }
}

export function render({model, el}) {
  const versions = new Versions(model, el)
  model.on("lifecycle:remove", () => versions.stop())
}

export default {render}

// What a schedule would do: its next boundaries, and what is wrong with it.

class Preview {
  constructor(model, el) {
    this.model = model
    this.title = h("div", {class: "title"}, "Next ten boundaries")
    this.said = h("p", {class: "said", role: "status"})
    this.list = h("ol", {class: "list"})
    this.root = h("div", {class: "sp preview"}, this.title, this.said, this.list)
    el.append(this.root)
    this.off = followScheme(el.getRootNode().host || el, this.root)
    model.on(["plan", "zone"], () => this.draw())
    this.draw()
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
}

export function render({model, el}) {
  const preview = new Preview(model, el)
  model.on("lifecycle:remove", () => preview.off())
}

export default {render}

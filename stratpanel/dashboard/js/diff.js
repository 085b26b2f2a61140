// A unified diff, coloured by line and readable without colour: the signs stay.

export function render({model, el}) {
  const root = h("div", {class: "sp diff"})
  el.append(root)
  const off = followScheme(el.getRootNode().host || el, root)
  const draw = () => {
    const lines = model.text ? model.text.split("\n") : []
    root.replaceChildren(h("div", {class: "title"}, model.title), lines.length ? h("div", {class: "mono lines", tabIndex: 0, role: "region", "aria-label": model.title}, lines.slice(0, 5000).map((line) => h("div", {class: line.startsWith("+++") || line.startsWith("---") ? "file" : line.startsWith("@@") ? "place" : line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : ""}, line || " "))) : h("div", {class: "muted none"}, "No difference."))
  }
  model.on("text", draw)
  model.on("title", draw)
  model.on("lifecycle:remove", off)
  draw()
}

export default {render}

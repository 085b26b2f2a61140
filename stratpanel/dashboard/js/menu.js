// A small menu under a button: arrows move, Escape closes, focus returns.

function popupMenu(root, anchor, items, back = null) {
  const entry = ([label, name, run, on = true]) => h("button", {type: "button", role: "menuitem", disabled: !on, onclick: () => { close(); run() }}, icon(name, 14), label)
  const menu = h("div", {class: "menu", role: "menu"}, items.map((item) => item ? entry(item) : h("hr")))
  const outside = (event) => { if (!event.composedPath().includes(menu)) { close(false) } }
  const close = (refocus = true) => { menu.remove(); document.removeEventListener("pointerdown", outside, true); if (refocus) { (back || anchor).focus({preventScroll: true}) } }
  menu.addEventListener("keydown", (event) => {
    event.stopPropagation()
    const all = [...menu.querySelectorAll("button:not([disabled])")], at = all.indexOf(root.getRootNode().activeElement)
    if (event.key === "Escape" || event.key === "Tab") { event.preventDefault(); close() }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); all[(at + (event.key === "ArrowDown" ? 1 : all.length - 1)) % all.length]?.focus() }
  })
  root.append(menu)
  const box = anchor.getBoundingClientRect()
  menu.style.right = Math.max(4, innerWidth - box.right) + "px"
  menu.style.top = Math.max(8, Math.min(box.bottom + 2, innerHeight - menu.offsetHeight - 8)) + "px"
  document.addEventListener("pointerdown", outside, true)
  menu.querySelector("button:not([disabled])")?.focus()
  return close
}

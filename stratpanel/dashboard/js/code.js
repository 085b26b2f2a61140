// A Python editor: Ace from the files that Panel brings along, fetched from this server when it is first needed.

const ACE = aceFolder()

// Panel's files, beside the page it serves; in JupyterLab and Notebook where Panel's server extension has them.
function aceFolder() {
  const jupyter = document.getElementById("jupyter-config-data")
  const base = jupyter ? `${JSON.parse(jupyter.textContent).baseUrl}panel-preview/` : ""
  return base + "static/extensions/panel/bundled/aceplot/ace-builds@1.40.1/src-min-noconflict/"
}

function loadScript(url) {
  return new Promise((resolve, reject) => {
    const tag = document.createElement("script")
    tag.src = url
    tag.onload = resolve
    tag.onerror = () => { tag.remove(); reject(new Error("cannot load " + url)) }
    document.head.append(tag)
  })
}

class CodeBox {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.box = h("div", {class: "box", "aria-label": "source code"})
    this.root = h("div", {class: "sp code"}, this.box)
    el.append(this.root)
    this.offs = [followScheme(el.getRootNode().host || el, this.root, () => this.theme())]
    this.begin()
    model.on("code", () => this.take())
    model.on("readonly", () => this.editor?.setReadOnly(model.readonly))
    model.on("problem", () => this.mark())
    model.on("msg:custom", (message) => { if (message === "read") { this.give(true) } })
  }

  stop() { for (const off of this.offs) { off() } this.editor?.destroy(); this.resizer?.disconnect() }

  async begin() {
    try {
      if (!window.ace) {
        window.stratpanelAce ??= loadScript(ACE + "ace.js").then(() => Promise.all(["mode-python.js", "theme-tomorrow.js", "theme-tomorrow_night.js", "ext-searchbox.js"].map((f) => loadScript(ACE + f))))
        await window.stratpanelAce
      }
      this.useAce()
    } catch (error) { this.usePlain() }  // a notebook without our server: a plain field still edits
  }

  useAce() {
    const {ace} = window
    ace.config.set("basePath", ACE)
    this.editor = ace.edit(this.box)
    this.editor.renderer.attachToShadowRoot()
    this.editor.setOptions({mode: "ace/mode/python", useWorker: false, showPrintMargin: false, fontSize: 13, tabSize: 4, useSoftTabs: true, fontFamily: '"Roboto Mono", ui-monospace, "DejaVu Sans Mono", monospace'})
    this.editor.setReadOnly(this.model.readonly)
    this.theme()
    this.take()
    this.editor.on("change", () => this.later())
    this.editor.commands.addCommand({name: "save", bindKey: {win: "Ctrl-S", mac: "Command-S"}, exec: () => { this.give(true); this.model.send_msg({do: "save"}) }})
    this.resizer = new ResizeObserver(() => this.editor.resize())
    this.resizer.observe(this.root)
    this.mark()
    this.root.dataset.ready = "ace"
  }

  usePlain() {
    this.area = h("textarea", {class: "mono", spellcheck: "false", "aria-label": "source code", oninput: () => this.later()})
    this.area.readOnly = this.model.readonly
    this.box.replaceChildren(this.area)
    this.take()
    this.root.dataset.ready = "plain"
  }

  theme() { this.editor?.setTheme(this.root.dataset.scheme === "dark" ? "ace/theme/tomorrow_night" : "ace/theme/tomorrow") }
  text() { return this.editor ? this.editor.getValue() : this.area ? this.area.value : this.model.code }

  take() {
    if (this.text() === this.model.code && (this.editor || this.area) && this.taken) { return }
    this.taken = true
    this.setting = true
    if (this.editor) { this.editor.setValue(this.model.code, -1); this.editor.session.getUndoManager().reset() }
    if (this.area) { this.area.value = this.model.code }
    this.setting = false
  }

  later() { if (!this.setting) { clearTimeout(this.timer); this.timer = setTimeout(() => this.give(), 300) } }
  give(now = false) { clearTimeout(this.timer); this.model.send_msg({do: "text", text: this.text(), now}) }

  mark() {
    const {problem} = this.model
    if (!this.editor) { return }
    this.editor.session.setAnnotations(problem?.line ? [{row: problem.line - 1, column: Math.max(0, (problem.column || 1) - 1), text: problem.text, type: "error"}] : [])
  }
}

export function render({model, el}) {
  const box = new CodeBox(model, el)
  model.on("lifecycle:remove", () => box.stop())
}

export default {render}

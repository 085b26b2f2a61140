// Starting with parameters: a form made from the script's own Param class, checked as one types, in words.
// Nothing is passed on for a strategy that declares none, or when nothing was changed.

const SLOW_MS = 500  // reading the class runs the script's imports; after this the page says so

const isNumber = (p) => ["Integer", "Number", "Magnitude"].includes(p.type)
const plainText = (value) => value == null ? "" : typeof value === "string" ? value : JSON.stringify(value)
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)

function limits(p) {
  const [low, high] = p.bounds || [null, null], [inLow, inHigh] = p.inclusive_bounds || [true, true]
  if (low == null && high == null) { return "" }
  if (low != null && high != null && inLow && inHigh) { return `from ${low} to ${high}` }
  return [low == null ? "" : `${inLow ? "at least" : "more than"} ${low}`, high == null ? "" : `${inHigh ? "at most" : "less than"} ${high}`].filter(Boolean).join(" and ")
}

// The value that was typed, or an Error in words.
function typedValue(p, text) {
  if (text === "") { if (p.allow_None) { return null } if (p.type !== "String") { throw new Error("is missing") } }
  if (isNumber(p)) {
    const value = Number(text)
    if (!Number.isFinite(value)) { throw new Error(`"${text}" is not a number`) }
    if (p.type === "Integer" && !Number.isInteger(value)) { throw new Error(`"${text}" is not a whole number`) }
    const [low, high] = p.bounds || [null, null], [inLow, inHigh] = p.inclusive_bounds || [true, true]
    if ((low != null && (inLow ? value < low : value <= low)) || (high != null && (inHigh ? value > high : value >= high))) { throw new Error(`must be ${limits(p)}`) }
    return value
  }
  if (p.type === "String" || typeof p.default === "string") {
    let pattern = null
    try { pattern = p.regex ? new RegExp("^(?:" + p.regex + ")") : null } catch (error) { pattern = null }  // Python's own syntax: the script checks it at the start
    if (pattern && !pattern.test(text)) { throw new Error(`does not fit the pattern ${p.regex}`) }
    return text
  }
  try { return JSON.parse(text) } catch (error) { throw new Error(`is not JSON, like ${p.default == null ? '[1, 2]' : JSON.stringify(p.default)}`) }
}

class ParameterField {
  constructor(p, value, changed) {
    this.p = p
    this.name = p.name
    const id = "param-" + p.name, own = p.label && p.label.toLowerCase() !== p.name.replaceAll("_", " ").toLowerCase()
    const hint = [own ? p.label : "", p.doc, limits(p), p.allow_None && !p.objects ? "may be empty" : ""].filter(Boolean).join("; ")
    this.hint = hint
    if (p.type === "Boolean") { this.input = h("input", {type: "checkbox", id, checked: value === true, onchange: changed}) }
    else if (p.objects) {
      const options = p.allow_None && !p.objects.includes(null) ? [null, ...p.objects] : p.objects, many = p.type === "ListSelector"
      this.options = options
      this.input = h("select", {id, multiple: many, onchange: changed}, options.map((option, at) => h("option", {value: String(at), selected: many ? (value || []).some((v) => same(v, option)) : same(option, value)}, option == null ? "none" : plainText(option))))
    } else { this.input = h("input", {type: "text", class: "field", id, value: plainText(value), inputmode: isNumber(p) ? "decimal" : null, autocomplete: "off", spellcheck: "false", oninput: changed}) }
    this.said = h("small", {id: id + "-said", class: "muted"}, hint)
    this.input.setAttribute("aria-describedby", id + "-said")
    this.row = h("div", {class: "parameter" + (p.type === "Boolean" ? " tick" : "")}, h("label", {for: id}, p.name), this.input, this.said)
  }

  get value() {
    if (this.p.type === "Boolean") { return this.input.checked }
    if (this.options) { const picked = [...this.input.selectedOptions].map((o) => this.options[Number(o.value)]); return this.p.type === "ListSelector" ? picked : picked[0] }
    return typedValue(this.p, this.input.value.trim())
  }

  complain(problem) {
    setText(this.said, problem || this.hint)
    this.said.className = problem ? "bad" : "muted"
    problem ? this.input.setAttribute("aria-invalid", "true") : this.input.removeAttribute("aria-invalid")
  }
}

// A dialog that resolves once; `close(answer)` is handed to whoever fills it.
function dialogOf(root, title, fill) {
  return new Promise((done) => {
    const box = h("dialog", {class: "ask", "aria-label": title}, h("h2", {}, title))
    const close = (answer) => { if (box.isConnected) { box.close(); box.remove(); done(answer) } }
    box.addEventListener("cancel", (event) => { event.preventDefault(); close(false) })
    box.addEventListener("keydown", (event) => event.stopPropagation())
    const first = fill(box, close)
    root.append(box)
    box.showModal()
    first?.focus()
  })
}

function askForm(root, id, rows, given, complaints, typed) {
  return dialogOf(root, `Start ${id} with parameters`, (box, close) => {
    const begin = rows.map((p) => [p, p.name in given ? given[p.name] : p.default])
    const check = () => {
      let bad = 0
      for (const field of fields) { try { void field.value; field.complain("") } catch (error) { field.complain(error.message); bad++ } }
      go.disabled = bad > 0
    }
    const fields = begin.map(([p, value]) => new ParameterField(p, typed && p.name in typed ? typed[p.name] : value, () => check()))
    const finish = () => {
      const changed = {}
      fields.forEach((field, at) => { const value = field.value; if (!same(value, begin[at][1])) { changed[field.name] = value } })
      close(Object.keys(changed).length ? {params: changed} : {})
    }
    const go = button("Start with these", "play", finish, {class: "solid"})
    const reset = button("Script's defaults", null, () => { fields.forEach((field) => { const fresh = new ParameterField(field.p, field.p.default, () => check()); field.row.replaceWith(fresh.row); Object.assign(field, {row: fresh.row, input: fresh.input, said: fresh.said}) }); check() }, {title: "what the class in the script says"})
    box.append(h("div", {class: "parameters"}, fields.map((field) => field.row)), h("p", {class: "muted"}, "For this run and its restarts. What is not changed stays as configured; for every run: Settings."),
      h("div", {class: "buttons"}, reset, h("span", {class: "grow"}), button("Cancel", null, () => close(false)), go))
    box.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.tagName === "INPUT" && !go.disabled) { event.preventDefault(); finish() } })
    check()
    for (const field of fields) { const said = complaints["params." + field.name]; if (said) { field.complain(said) } }
    return go
  })
}

function askAnyway(root, id, problem) {
  return dialogOf(root, `The parameters of ${id} cannot be read`, (box, close) => {
    const cancel = button("Cancel", null, () => close(false))
    box.append(h("p", {}, problem), h("p", {}, "Mend the script under Source, then start it again. Started without parameters it uses what is configured and its own defaults, if it comes that far."),
      h("div", {class: "buttons"}, cancel, button("Start without parameters", "play", () => close({}))))
    return cancel
  })
}

// What to start it with: {} as it is configured, {params} as typed, false when the person changed their mind.
async function askParameters(root, store, id, complaints = {}, typed = null) {
  const path = "/api/strategies/" + encodeURIComponent(id)
  let waited = null
  const reading = Promise.all([store.ask("get", {path: path + "/parameters"}), store.ask("get", {path})])
  const slow = new Promise((done) => { waited = setTimeout(() => done("slow"), SLOW_MS) })
  let found
  try {
    found = await Promise.race([reading, slow])
    if (found === "slow") {
      let shut = null
      const choice = dialogOf(root, `Reading the parameters of ${id}…`, (box, close) => {
        shut = close
        const cancel = button("Cancel", null, () => close(false))
        box.append(h("p", {class: "muted"}, "Its imports are run once in a process of their own, for ten seconds at most."), h("div", {class: "buttons"}, cancel, button("Start without parameters", "play", () => close({}))))
        return cancel
      })
      reading.then(() => shut("read"), () => shut("read"))
      const chosen = await choice
      if (chosen !== "read") { reading.catch(() => {}); return chosen }
      found = await reading
    }
  } catch (error) { return askAnyway(root, id, error.message) } finally { clearTimeout(waited) }
  const [declared, strategy] = found
  if (declared.problem) { return askAnyway(root, id, declared.problem) }
  const rows = (declared.parameters || []).filter((p) => !p.constant && !p.name.startsWith("_"))
  return rows.length ? askForm(root, id, rows, strategy.config?.params || {}, complaints, typed) : {}
}

// Start one strategy: the form where its script has parameters, the usual questions, and the form again for what the script refuses.
async function startAsking(root, store, id, ask) {
  let complaints = {}, typed = null
  for (;;) {
    const asked = await askParameters(root, store, id, complaints, typed)
    if (asked === false || !(await ask())) { return }
    const [result] = await store.act("start", [id], asked)
    const refused = Object.entries(result?.fields || {}).filter(([path]) => path.startsWith("params."))
    if (!result || result.ok || !refused.length) { return }
    complaints = Object.fromEntries(refused)
    typed = asked.params || {}
  }
}

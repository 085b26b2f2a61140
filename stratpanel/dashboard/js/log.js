// A live log: windowed rows, follow and pause, search, levels, times, older pages on scroll. Kept lines are bounded.

const LINE = 18, KEEP = 60000, TRIM = 10000
const DOWNLOAD_PAGE = 2000, DOWNLOAD_CHARS = 100e6  // more than that a browser should not hold

class Log {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.lines = []            // {t, x, r, level}
    this.shown = null          // indexes into lines while a filter is on; null = all
    this.hits = []             // indexes into what is shown
    this.hit = -1
    this.before = null
    this.follow = true
    this.unseen = 0
    this.generation = -1
    this.needle = ""
    this.level = -1
    this.onlyHits = false
    this.times = localStorage.getItem("stratpanel.times") !== "off"
    this.build()
    el.append(this.root)
  }

  build() {
    this.search = h("input", {type: "search", class: "field", placeholder: "Search", "aria-label": "search the log", spellcheck: "false", oninput: () => this.searchFor(this.search.value)})
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.jump(event.shiftKey ? -1 : 1) }
      if (event.key === "Escape") { this.search.value = ""; this.searchFor("") }
      event.stopPropagation()
    })
    this.hitCount = h("span", {class: "count", role: "status"})
    this.only = h("input", {type: "checkbox", onchange: () => { this.onlyHits = this.only.checked; this.refilter() }})
    this.levels = h("select", {"aria-label": "level", onchange: () => { this.level = Number(this.levels.value); this.refilter() }}, [[-1, "All levels"], [1, "Info and up"], [2, "Warnings and up"], [3, "Errors"]].map(([v, t]) => h("option", {value: v}, t)))
    this.runs = h("select", {"aria-label": "run", hidden: true, onchange: () => { this.run = this.runs.value || null; if (this.wantedRun && !this.run) { this.wantedRun = null; this.model.send_msg({do: "all runs", g: this.generation}) } this.refilter() }})
    this.clock = button("Times", "clock", () => this.toggleTimes(), {class: "toggle", "aria-pressed": this.times, title: "show when each line was printed"})
    this.state = button("", null, () => this.setFollow(!this.follow), {class: "follow toggle"})
    this.save = iconButton("download the log", "save", () => this.download())
    this.progress = h("span", {class: "count", role: "status"})
    this.moreMenu = [iconButton("copy the lines shown", "copy", () => this.copy()), this.progress, this.save]
    this.clear = this.model.full ? button("Clear", null, () => this.askClear(), {title: "empty the log file of this strategy"}) : null
    this.bar = h("div", {class: "bar"}, this.title = h("b", {class: "title"}), h("span", {class: "find"}, icon("search", 14), this.search), this.hitCount,
                 iconButton("previous hit", "up", () => this.jump(-1), {class: "nav"}), iconButton("next hit", "down", () => this.jump(1), {class: "nav"}), h("label", {class: "only"}, this.only, "only hits"), this.levels, this.runs, h("span", {class: "grow"}), this.clock, this.state, this.moreMenu, this.clear)
    this.rows = h("div", {class: "rows"})
    this.pad = h("div", {class: "pad"}, this.rows)
    this.scroll = h("div", {class: "scroll mono", tabIndex: 0, role: "log", "aria-live": "off", "aria-label": "log", onscroll: () => this.scrolled()}, this.pad)
    this.note = h("div", {class: "note", hidden: true})
    this.jumpDown = button("", "down", () => this.setFollow(true), {class: "solid jump", hidden: true})
    this.body = h("div", {class: "body"}, this.scroll, this.note, this.jumpDown)
    this.scroll.addEventListener("keydown", (event) => { if (event.key === "End") { this.setFollow(true) } if (event.key === "/") { event.preventDefault(); event.stopPropagation(); this.search.focus() } })
    this.root = h("div", {class: "sp log" + (this.times ? " times" : "") + (this.model.full ? " full" : "")}, this.bar, this.body)
  }

  start() {
    this.model.on("msg:custom", (text) => this.receive(JSON.parse(text)))
    this.offScheme = followScheme(this.root.parentNode, this.root)
    this.resizer = new ResizeObserver(() => this.paint())
    this.resizer.observe(this.scroll)
    this.showFollow()
    this.model.send_msg({do: "ready"})
  }

  stop() { this.offScheme(); this.resizer.disconnect() }

  receive(m) {
    if (m.k === "log") {
      this.generation = m.g
      this.lines = []
      this.zone = m.zone
      this.before = m.before
      this.strategy = m.id
      setText(this.title, m.title || "")
      this.add(m.lines, false)
      this.setNote(m.note || (!m.lines.length ? m.id ? "Nothing printed yet." : "Choose a strategy to see its log." : ""))
      this.setFollow(true)
    } else if (m.g !== this.generation) { return }
    else if (m.k === "more") { if (m.skipped) { this.add([[null, `… ${m.skipped} lines came faster than a page can show; they are in the file`, null]], false) } this.add(m.lines, false); this.setNote("") }
    else if (m.k === "older") { this.loading = false; this.before = m.before; this.add(m.lines, true) }
    else if (m.k === "run") { this.wantedRun = m.run; this.run = m.run; this.runs.value = m.run; this.refilter() }
    else if (m.k === "note") { this.setNote(m.text) }
    else if (m.k === "failed") { this.loading = false; this.store.toast("bad", m.text) }
  }

  setNote(text) { setText(this.note, text); this.note.hidden = !text }

  add(raw, atFront) {
    if (!raw.length) { return }
    let level = atFront ? null : this.lines.at(-1)?.level ?? null
    const made = raw.map(([t, x, r]) => { level = levelOf(x) ?? (/^\s|^\S*(Error|Exception):/.test(x) ? level : null); return {t, x, r, level} })
    if (atFront) {
      this.lines = made.concat(this.lines)
      const top = this.scroll.scrollTop
      const before = this.length
      this.refilter(true)
      this.scroll.scrollTop = top + (this.length - before) * LINE
    } else {
      const first = this.lines.length
      for (const line of made) { this.lines.push(line) }
      if (!this.follow) { this.unseen += made.length }
      const limit = this.follow ? KEEP : KEEP * 3
      if (this.lines.length > limit) { this.trim() } else { this.extend(first) }
    }
    this.showRuns(made)
    this.showFollow()
    this.soon()
  }

  trim() { this.lines.splice(0, this.lines.length - KEEP + TRIM); this.before = "gone"; this.refilter(true) }

  get length() { return this.shown ? this.shown.length : this.lines.length }
  at(n) { return this.lines[this.shown ? this.shown[n] : n] }

  passes(line) {
    return (this.level < 0 || (line.level ?? 1) >= this.level) && (!this.run || line.r === this.run) && (!this.onlyHits || !this.needle || plain(line.x).toLowerCase().includes(this.needle))
  }

  extend(first) {
    for (let n = first; n < this.lines.length; n++) {
      const line = this.lines[n]
      if (this.shown) { if (!this.passes(line)) { continue } this.shown.push(n) }
      if (this.needle && plain(line.x).toLowerCase().includes(this.needle)) { this.hits.push(this.length - (this.shown ? 1 : this.lines.length - n)) }
    }
    if (this.needle) { this.showHits() }
  }

  refilter(quiet = false) {
    const filtering = this.level >= 0 || this.run || (this.onlyHits && this.needle)
    this.shown = filtering ? [] : null
    if (filtering) { this.lines.forEach((line, n) => { if (this.passes(line)) { this.shown.push(n) } }) }
    this.hits = []
    if (this.needle) { for (let n = 0; n < this.length; n++) { if (plain(this.at(n).x).toLowerCase().includes(this.needle)) { this.hits.push(n) } } }
    this.hit = Math.min(this.hit, this.hits.length - 1)
    this.showHits()
    this.drawn = null
    quiet ? this.soon() : this.paint()
  }

  searchFor(text) {
    this.needle = text.toLowerCase()
    this.hit = -1
    clearTimeout(this.typing)
    this.typing = setTimeout(() => { this.refilter(); if (this.hits.length && !this.follow) { this.jump(-1) } }, 80)
  }

  showHits() {
    setText(this.hitCount, this.needle ? this.hits.length ? `${this.hit >= 0 ? this.hit + 1 + " of " : ""}${this.hits.length}` : "no hit" : "")
    this.root.classList.toggle("searching", Boolean(this.needle))
  }

  jump(by) {
    if (!this.hits.length) { return }
    this.setFollow(false)
    this.hit = this.hit < 0 ? (by > 0 ? 0 : this.hits.length - 1) : (this.hit + by + this.hits.length) % this.hits.length
    this.scroll.scrollTop = this.hits[this.hit] * LINE - this.scroll.clientHeight / 2
    this.showHits()
    this.drawn = null
    this.paint()
  }

  soon() { if (!this.frame) { this.frame = requestAnimationFrame(() => { this.frame = null; this.paint() }) } }

  paint() {
    const height = this.length * LINE
    if (this.pad.dataset.height !== String(height)) { this.pad.dataset.height = height; this.pad.style.height = height + "px" }
    if (this.follow) { this.scroll.scrollTop = height; this.pinned = this.scroll.scrollTop }
    const top = this.follow ? Math.max(0, height - this.scroll.clientHeight) : this.scroll.scrollTop
    const first = Math.max(0, Math.floor(top / LINE) - 4), count = Math.ceil(this.scroll.clientHeight / LINE) + 8, last = Math.min(this.length, first + count)
    while (this.rows.children.length < last - first) { this.rows.append(h("div", {class: "line"}, h("span", {class: "time"}), h("span", {class: "text"}))) }
    while (this.rows.children.length > Math.max(0, last - first)) { this.rows.lastChild.remove() }
    this.rows.style.transform = `translateY(${first * LINE}px)`
    for (let n = first; n < last; n++) { this.fill(this.rows.children[n - first], n) }
  }

  fill(row, n) {
    const line = this.at(n), current = this.hit >= 0 && this.hits[this.hit] === n
    const key = this.needle + (current ? "*" : "")
    if (row.line === line && row.key === key) { return }
    row.line = line
    row.key = key
    const previous = n > 0 ? this.at(n - 1) : null
    row.className = "line" + (line.level === 3 ? " error" : line.level === 2 ? " warning" : line.level === 0 ? " debug" : "") + (previous && line.r && previous.r && previous.r !== line.r ? " newrun" : "") + (current ? " hit" : "")
    setText(row.firstChild, line.t == null ? "" : secondsOf(line.t, this.zone))
    row.firstChild.title = line.t == null ? "" : dateClock(line.t, this.zone) + (line.r ? "\nrun " + line.r : "")
    fillLine(row.lastChild, line.x, this.needle)
  }

  scrolled() {
    if (this.follow && Math.abs(this.scroll.scrollTop - this.pinned) < 2) { return }  // our own doing
    const bottom = this.scroll.scrollTop + this.scroll.clientHeight >= this.pad.offsetHeight - 4
    if (bottom !== this.follow) { this.setFollow(bottom) }
    if (this.scroll.scrollTop < 400) { this.older() }
    this.paint()
  }

  older() {
    if (this.loading || this.before === null || this.before === "gone" || !this.lines.length) { return }
    this.loading = true
    this.model.send_msg({do: "older", g: this.generation, before: this.before})
  }

  setFollow(on) { this.follow = on; if (on) { this.unseen = 0; this.hit = -1; if (this.lines.length > KEEP) { this.trim() } } this.showFollow(); this.paint() }

  showFollow() {
    const word = this.follow ? "Following" : "Paused"
    if (this.state.word !== word) { this.state.word = word; this.state.replaceChildren(icon(this.follow ? "play" : "pause"), h("span", {}, word)); this.state.setAttribute("aria-pressed", String(this.follow)); this.state.title = this.follow ? "new lines scroll in; press to pause" : "press to follow again (End)" }
    this.jumpDown.hidden = this.follow || !this.unseen
    if (!this.jumpDown.hidden) { const words = `${this.unseen} new`; if (this.jumpDown.words !== words) { this.jumpDown.words = words; this.jumpDown.replaceChildren(icon("down"), h("span", {}, words)) } }
  }

  showRuns(made) {
    if (!this.model.full) { return }
    this.known ??= new Set()
    let fresh = false
    for (const line of made) { if (line.r && !this.known.has(line.r)) { this.known.add(line.r); fresh = true } }
    if (!fresh) { return }
    const chosen = this.runs.value
    this.runs.replaceChildren(h("option", {value: ""}, "All runs"), ...[...this.known].sort().reverse().map((r) => h("option", {value: r}, (r.split("~")[1] || r).replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d).*/, "run $1-$2-$3 $4:$5:$6"))))
    if (this.wantedRun && !this.known.has(this.wantedRun)) { this.runs.append(h("option", {value: this.wantedRun}, "run " + this.wantedRun.split("~").slice(1, 2))) }
    this.runs.value = this.run || chosen
    this.runs.hidden = this.known.size < 2 && !this.run
  }

  toggleTimes() { this.times = !this.times; localStorage.setItem("stratpanel.times", this.times ? "on" : "off"); this.root.classList.toggle("times", this.times); this.clock.setAttribute("aria-pressed", String(this.times)) }

  textOf() {
    const out = []
    for (let n = 0; n < this.length; n++) { const line = this.at(n); out.push((this.times && line.t != null ? secondsOf(line.t, this.zone) + " " : "") + plain(line.x)) }
    return out.join("\n") + "\n"
  }

  async copy() {
    try { await navigator.clipboard.writeText(this.textOf()); this.store.toast("good", `${this.length} lines copied`) }
    catch (error) { this.store.toast("bad", `the browser did not allow copying: ${error.message}; download the log instead`) }
  }

  // Everything the files still have, newest page first and joined at the end; what is on the page stays as it is.
  async download() {
    if (this.saving) { this.saving = false; return }
    const id = this.strategy, zone = this.zone, path = `/api/strategies/${encodeURIComponent(id)}/logs`, pages = []
    let before = null, lines = 0, size = 0
    this.saving = true
    try {
      do {
        const page = await this.store.ask("get", {path, query: {lines: DOWNLOAD_PAGE, before, run: this.run || null}})
        const text = page.lines.map((line) => (this.times && line.time ? line.time + " " : "") + plain(line.text) + "\n").join("")
        pages.unshift(text)
        lines += page.lines.length
        size += text.length
        before = page.before
        this.showSaving(`${lines.toLocaleString("en")} lines…`)
      } while (this.saving && before && size < DOWNLOAD_CHARS)
    } catch (error) { this.store.toast("bad", `the log could not be read: ${error.message}`); this.saving = false }
    const stopped = !this.saving
    this.saving = false
    this.showSaving("")
    if (stopped) { return }
    if (before) { this.store.toast("warn", `only the newest ${lines.toLocaleString("en")} lines were saved; older ones are in log/strategies/${id}.log and its rotated files`) }
    const link = h("a", {href: URL.createObjectURL(new Blob(pages, {type: "text/plain"})), download: `${id || "log"}.log`})
    this.root.append(link)
    link.click()
    link.remove()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
  }

  showSaving(words) {
    const label = words ? "stop the download" : "download the log"
    this.save.title = label
    this.save.setAttribute("aria-label", label)
    this.save.replaceChildren(icon(words ? "cross" : "save"))
    setText(this.progress, words)
  }

  async askClear() {
    if (await confirmBox(this.root, {title: `Clear the log of ${this.strategy}?`, lines: ["The log file and its rotated files are emptied. The strategy is not touched. This cannot be undone."], yes: "Clear the log", danger: true})) { this.model.send_msg({do: "clear", g: this.generation}) }
  }
}

export function render({model, el}) {
  const log = new Log(model, el)
  model.on("lifecycle:remove", () => log.stop())
  requestAnimationFrame(() => log.start())
}

export default {render}

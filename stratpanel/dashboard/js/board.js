// The overview's table of strategies: filter, sort, groups, selection, keyboard and row actions over windowed rows.
// It keeps sort, place and selection over updates; only rows in view exist in the page.

const NARROW = 1100  // below this the meters lose their bars

class Board {
  constructor(model, el) {
    this.model = model
    this.store = storeOf(model.bus)
    this.items = []           // what is listed: {group} or {id}
    this.pool = []
    this.picked = new Set()
    this.current = null
    this.size = "wide"
    this.columns = COLUMNS
    this.sortKey = "name"
    this.descending = false
    this.grouping = ""
    this.needle = ""
    this.lastSort = 0
    this.build()
    el.append(this.root)
  }

  build() {
    this.filter = h("input", {type: "search", class: "field", placeholder: "Filter: name, state, tag…", "aria-label": "filter strategies", spellcheck: "false", oninput: () => { this.needle = this.filter.value.trim().toLowerCase(); this.list() }})
    this.filter.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { this.filter.value = ""; this.needle = ""; this.list(); this.table.focus() }
      if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); this.table.focus(); if (!this.current) { this.step(1) } }
    })
    this.groups = h("select", {"aria-label": "group by", onchange: () => { this.grouping = this.groups.value; this.list() }},
                    [["", "No groups"], ["state", "By state"], ["calendar", "By calendar"], ["tag", "By tag"], ["mode", "By mode"], ["user_id", "By owner"]].map(([v, t]) => h("option", {value: v}, t)))
    this.count = h("span", {class: "count", role: "status"})
    this.pickedCount = h("span", {})
    this.bulk = h("div", {class: "bulk", role: "group", "aria-label": "actions on the picked strategies"}, this.pickedCount,
                  button("Start", "play", () => this.act("start", [...this.picked])), button("Stop", "stop", () => this.act("stop", [...this.picked])),
                  button("Restart", "again", () => this.act("restart", [...this.picked])), iconButton("clear the selection", "cross", () => { this.picked.clear(); this.changed() }))
    this.all = h("input", {type: "checkbox", "aria-label": "pick all listed", onchange: () => this.pickAll(this.all.checked)})
    this.add = button("New strategy", "plus", () => this.store.ask("open", {page: "new"}), {class: "new"})
    this.help = iconButton("keyboard help", "ask", () => this.showHelp())
    this.week = button("Week", "week", () => this.store.ask("open", {page: "week"}), {title: "the week's windows and sessions"})
    this.bar = h("div", {class: "bar", role: "toolbar", "aria-label": "list"}, h("span", {class: "find"}, icon("search", 14), this.filter), this.groups, this.count, this.bulk, h("span", {class: "grow"}), this.help, this.week, this.add)
    this.head = h("div", {class: "head", role: "row"})
    this.pad = h("div", {class: "pad", role: "rowgroup"})
    this.scroll = h("div", {class: "scroll", role: "presentation", onscroll: () => this.paint()}, this.pad)
    this.empty = h("div", {class: "empty", hidden: true})
    this.table = h("div", {class: "table", role: "grid", tabIndex: 0, "aria-label": "strategies", "aria-multiselectable": "true"}, this.head, this.scroll, this.empty)
    this.table.addEventListener("keydown", (event) => this.key(event))
    this.root = h("div", {class: "sp board"}, this.bar, this.table)
  }

  start() {
    const redo = () => { this.followLink(); this.list() }
    this.offs = [
      this.store.on("all", redo), this.store.on("link", () => this.followLink()), this.store.on("tick", () => this.tick()),
      this.store.on("rows", (ids) => this.rowsChanged(ids)), followScheme(this.root.parentNode, this.root, () => this.recolour()),
    ]
    this.resizer = new ResizeObserver(() => this.resized())
    this.resizer.observe(this.root)
    this.age = setInterval(() => this.followLink(), 1000)
    this.keys = (event) => this.pageKey(event)
    document.addEventListener("keydown", this.keys)
    this.recolour()
    this.resized()
    redo()
  }

  stop() {
    for (const off of this.offs) { off() }
    this.resizer.disconnect()
    clearInterval(this.age)
    document.removeEventListener("keydown", this.keys)
  }

  recolour() { this.sparkColour = getComputedStyle(this.root).getPropertyValue("--spark").trim(); this.paint() }

  followLink() { this.root.classList.toggle("stale", this.store.link !== "live" || this.store.staleness() > 5) }

  resized() {
    const width = this.root.clientWidth
    if (!width) { return }
    this.sparkSize = null
    const size = width < 560 ? "phone" : "wide", shown = COLUMNS.filter((column) => width >= column.from || (size === "phone" && column.key === "why"))
    const narrow = width < NARROW
    if (narrow !== this.narrow || size !== this.size || shown.length !== this.columns.length || !this.head.firstChild) {
      this.size = size
      this.narrow = narrow
      this.root.classList.toggle("narrow", narrow)
      this.columns = shown
      this.root.classList.toggle("phone", size === "phone")
      this.root.style.setProperty("--cols", ["18px", ...shown.map((c) => width < NARROW && c.narrow || c.width)].join(" "))
      for (const row of this.pool) { row.remove() }
      this.pool = []
      this.drawHead()
    }
    this.root.style.setProperty("--scrollbar", this.scroll.offsetWidth - this.scroll.clientWidth + "px")
    this.place()
  }

  drawHead() {
    this.head.replaceChildren(h("div", {role: "columnheader"}, this.all), ...this.columns.map((column) => {
      const sorted = column.key === this.sortKey
      const head = h("div", {role: "columnheader", class: column.num ? "num" : "", "aria-sort": column.sort ? sorted ? this.descending ? "descending" : "ascending" : "none" : null})
      if (column.sort) {
        head.append(h("button", {tabindex: "-1", title: "sort by " + column.title.toLowerCase(), onclick: () => this.sortBy(column.key)}, column.title, sorted ? icon(this.descending ? "down" : "up", 12) : null))
      } else { head.append(column.title || h("span", {class: "muted"}, "")) }
      return head
    }))
  }

  sortBy(key) {
    if (this.sortKey === key) { this.descending = !this.descending } else { this.sortKey = key; this.descending = false }
    this.drawHead()
    this.list()
  }

  // Recompute what is listed and in which order.
  list() {
    const words = this.needle.split(/\s+/).filter(Boolean)
    const text = (r) => [r.id, r.name, r.state, r.quiet ? "quiet" : "", r.working_copy_differs ? "edited" : "", r.mode, r.why, r.calendar, r.user_id, ...(r.tags || [])].join(" ").toLowerCase()
    const rows = [...this.store.rows.values()].filter((r) => !words.length || words.every((w) => text(r).includes(w)))
    const column = COLUMNS.find((c) => c.key === this.sortKey), tie = byText((r) => r.id), sign = this.descending ? -1 : 1
    rows.sort((a, b) => sign * column.sort(a, b) || tie(a, b))
    this.listed = rows.map((r) => r.id)
    this.items = this.grouping ? this.grouped(rows) : rows.map((r) => ({id: r.id}))
    for (const id of this.picked) { if (!this.store.rows.has(id)) { this.picked.delete(id) } }
    if (this.current && !this.store.rows.has(this.current)) { this.current = null }
    this.lastSort = performance.now()
    this.table.setAttribute("aria-rowcount", this.listed.length + 1)
    const total = this.store.rows.size
    setText(this.count, this.store.seq === null ? "" : rows.length === total ? `${total} strateg${total === 1 ? "y" : "ies"}` : `${rows.length} of ${total}`)
    this.showEmpty(total, rows.length)
    this.add.hidden = this.store.user.role === "viewer"
    this.place()
    if (!this.current && this.listed.length && this.size !== "phone") { this.choose(this.wanted && this.store.rows.has(this.wanted) ? this.wanted : this.listed[0]) }
  }

  grouped(rows) {
    const groups = new Map()
    const of = (row) => this.grouping === "tag" ? (row.tags?.length ? row.tags : ["no tag"]) : [row[this.grouping] || "none"]
    for (const row of rows) { for (const name of of(row)) { groups.has(name) ? groups.get(name).push(row) : groups.set(name, [row]) } }
    const order = [...groups.keys()].sort((a, b) => this.grouping === "state" ? (STATES[a]?.rank ?? 9) - (STATES[b]?.rank ?? 9) : a.localeCompare(b))
    return order.flatMap((name) => [{group: name, rows: groups.get(name)}, ...groups.get(name).map((row) => ({id: row.id}))])
  }

  showEmpty(total, listed) {
    const waiting = this.store.seq === null
    this.empty.hidden = listed > 0
    if (listed) { return }
    if (waiting) { this.empty.replaceChildren(h("span", {}, "Loading strategies…")) }
    else if (total) { this.empty.replaceChildren(h("h2", {}, "Nothing matches the filter"), button("Clear the filter", "cross", () => { this.filter.value = this.needle = ""; this.list() })) }
    else {
      this.empty.replaceChildren(h("h2", {}, "No strategies yet"), h("span", {}, "A strategy is a Python script that runs all day. Add one here, or from a terminal:"), h("code", {class: "mono"}, "stratpanel add my_strategy.py"),
                                 this.store.user.role === "viewer" ? "" : button("New strategy", "plus", () => this.store.ask("open", {page: "new"}), {class: "solid"}))
    }
  }

  heightOf(item) { return item.group != null ? 28 : this.size === "phone" ? 64 : 32 }

  place() {
    let top = 0
    for (const item of this.items) { item.top = top; item.height = this.heightOf(item); top += item.height }
    this.pad.style.height = top + "px"
    this.paint()
  }

  // Put the rows in view into the page; each keeps its element as long as it stays in view.
  paint() {
    const from = this.scroll.scrollTop - 96, to = this.scroll.scrollTop + this.scroll.clientHeight + 96
    let first = 0, last = this.items.length
    while (first < last) { const middle = (first + last) >> 1; this.items[middle].top + this.items[middle].height < from ? first = middle + 1 : last = middle }
    const wanted = []
    for (let at = first; at < this.items.length && this.items[at].top < to; at++) { wanted.push(this.items[at]) }
    const free = new Map(this.pool.map((row) => [row.holds, row]))
    const spare = []
    const slot = (item) => item.group != null ? "group:" + item.group : item.id
    const needed = new Set(wanted.map(slot))
    for (const row of this.pool) { if (!needed.has(row.holds)) { spare.push(row) } }
    const pool = []
    for (const item of wanted) {
      let row = free.get(slot(item))
      free.delete(slot(item))
      if (!row) {
        const kind = item.group != null ? "group" : "row"
        const at = spare.findIndex((candidate) => candidate.kind === kind)
        row = at >= 0 ? spare.splice(at, 1)[0] : item.group != null ? this.makeGroup() : this.makeRow()
        row.holds = slot(item)
      }
      if (row.parentNode !== this.pad) { this.pad.append(row) }
      row.style.top = item.top + "px"
      item.group != null ? this.fillGroup(row, item) : this.fillRow(row, item.id)
      pool.push(row)
    }
    for (const row of spare) { row.remove() }
    this.pool = pool
  }

  makeGroup() { const row = h("div", {class: "group", role: "row"}, h("span", {role: "gridcell"}), h("span", {class: "muted"})); row.kind = "group"; return row }

  fillGroup(row, item) {
    setText(row.firstChild, item.group)
    const alive = item.rows.filter((r) => r.state === "running").length
    setText(row.lastChild, `${item.rows.length} · ${alive} running`)
  }

  makeRow() {
    const row = h("div", {class: "row", role: "row"})
    row.kind = "row"
    row.box = h("input", {type: "checkbox", tabindex: "-1", onclick: (event) => { event.stopPropagation(); this.pick(row.holds, event.shiftKey) }})
    row.append(h("div", {role: "gridcell"}, row.box))
    row.cells = this.columns.map((column) => { const cell = h("div", {role: "gridcell", class: "cell " + column.key + (column.num ? " num" : "")}); row.append(cell); return cell })
    row.addEventListener("click", () => { this.choose(row.holds); this.table.focus({preventScroll: true}) })
    row.addEventListener("dblclick", () => this.open(row.holds))
    return row
  }

  fillRow(row, id, liveOnly = false) {
    const data = this.store.rows.get(id)
    if (!data) { return }
    this.columns.forEach((column, at) => { if (!liveOnly || column.live) { column.paint(row.cells[at], data, this) } })
    if (liveOnly) { return }
    const domId = "row-" + data.i
    if (row.id !== domId) { row.id = domId; row.dataset.id = id; row.box.setAttribute("aria-label", "pick " + id) }
    row.setAttribute("aria-rowindex", this.listed.indexOf(id) + 2)
    row.setAttribute("aria-selected", this.picked.has(id) ? "true" : "false")
    row.classList.toggle("picked", this.picked.has(id))
    row.classList.toggle("current", this.current === id)
    if (this.current === id) { this.table.setAttribute("aria-activedescendant", domId) }
    row.box.checked = this.picked.has(id)
    row.box.tabIndex = this.current === id ? 0 : -1
  }

  tick() {
    const column = COLUMNS.find((c) => c.key === this.sortKey)
    if (column.moves && performance.now() - this.lastSort > 3000 && !this.pad.matches(":hover")) { return this.list() }
    if (document.hidden) { return undefined }
    for (const row of this.pool) { if (row.kind === "row") { this.fillRow(row, row.holds, true) } }
    return undefined
  }

  rowsChanged(ids) {
    if (ids === null) { return this.list() }
    const seen = this.pool.filter((row) => ids.has(row.holds) && this.store.rows.has(row.holds))
    for (const row of seen) { this.fillRow(row, row.holds) }
    if (!this.soon) { this.soon = setTimeout(() => { this.soon = null; this.list() }, 60) }
    return undefined
  }

  changed() {
    this.bulk.hidden = this.picked.size === 0 || this.store.user.role === "viewer"
    setText(this.pickedCount, this.picked.size + " picked")
    this.all.checked = this.picked.size > 0 && this.picked.size >= this.listed.length
    this.all.indeterminate = this.picked.size > 0 && this.picked.size < this.listed.length
    this.paint()
  }
}

// What this browser knows of the workspace: one store per feed, shared by every component on the page, fed by `Wire` alone.
// Messages are numbered; a gap asks for a new snapshot, so the page is never quietly wrong.

const SPARK = 60  // one point a second

class Store {
  constructor() {
    this.rows = new Map()
    this.index = new Map()     // feed number -> id
    this.supervisor = {}
    this.host = null
    this.link = "waiting"
    this.age = 0               // seconds since the supervisor last spoke, by the server's word
    this.heard = 0             // performance.now() of the last message
    this.seq = null
    this.offset = 0
    this.markets = []
    this.events = []
    this.people = []
    this.user = {name: "", role: "viewer"}
    this.pending = new Map()   // id -> verb that was asked for and not yet answered
    this.listeners = new Map()
    this.asked = new Map()
    this.n = 0
    this.send = null
  }

  on(kind, callback) {
    if (!this.listeners.has(kind)) { this.listeners.set(kind, new Set()) }
    this.listeners.get(kind).add(callback)
    return () => this.listeners.get(kind).delete(callback)
  }

  emit(kind, detail) { for (const callback of [...(this.listeners.get(kind) || [])]) { callback(detail) } }

  now() { return Date.now() / 1000 + this.offset }

  // Seconds since the supervisor was last heard, counting on while nothing arrives.
  staleness() { return this.age + (this.heard ? (performance.now() - this.heard) / 1000 : 0) }

  // Ask the server to do something; resolves with its answer, rejects with an Error in words.
  ask(verb, args = {}) {
    if (!this.send) { return Promise.reject(new Error("the page is not connected yet")) }
    const n = ++this.n
    return new Promise((resolve, reject) => {
      this.asked.set(n, {resolve, reject})
      this.send({do: verb, n, ...args})
    })
  }

  // An action on strategies: pending at once, then its true outcome; errors come back as words and as a toast.
  async act(verb, ids, args = {}) {
    const wanted = ids.filter((id) => !this.pending.has(id))
    for (const id of wanted) { this.pending.set(id, verb) }
    this.emit("rows", new Set(wanted))
    const settle = (id) => { if (this.pending.get(id) === verb) { this.pending.delete(id) } }
    const results = await Promise.all(wanted.map(async (id) => {
      try { return {id, ok: true, ...(await this.ask("act", {verb, id, args}))} }
      catch (error) { return {id, ok: false, message: error.message, fields: error.fields} }
      finally { settle(id); this.emit("rows", new Set([id])) }
    }))
    for (const result of results) {
      if (!result.ok) { this.toast("bad", result.message, result.id) }
      else if (result.note) { this.toast("info", result.note, result.id) }
    }
    return results
  }

  toast(tone, text, id = null) { this.emit("toast", {tone, text, id, at: this.now()}) }

  receive(text) {
    const m = JSON.parse(text)
    if (m.k === "re") { return this.answer(m) }
    if (m.q != null) {
      if (m.k !== "all" && this.seq !== null && m.q !== this.seq + 1) {
        if (this.seq !== -1) { this.seq = -1; this.send && this.send({do: "resync"}) }
        return undefined
      }
      if (m.k !== "all" && this.seq === null) { return undefined }
      this.seq = m.q
    }
    if (m.now) { this.offset = m.now - Date.now() / 1000 }
    if (m.age != null) { this.age = m.age; this.heard = performance.now() }
    if (m.link && m.link !== this.link) { this.link = m.link; this.emit("link", m.link) }
    const take = this["take_" + m.k]
    if (take) { take.call(this, m) }
    return undefined
  }

  answer(m) {
    const waiting = this.asked.get(m.n)
    if (!waiting) { return }
    this.asked.delete(m.n)
    if (m.ok) { waiting.resolve(m.value || {}) }
    else { const error = new Error(m.message); error.fields = m.fields; waiting.reject(error) }
  }

  take_all(m) {
    const before = this.rows
    this.rows = new Map()
    this.index = new Map()
    for (const row of m.rows) {
      row.cpus = m.hist?.[row.id] || before.get(row.id)?.cpus || []
      this.rows.set(row.id, row)
      this.index.set(row.i, row.id)
    }
    this.supervisor = m.sup
    this.host = m.host
    this.user = m.user || this.user
    if (m.markets) { this.markets = m.markets }
    if (m.events) { this.events = m.events }
    this.emit("all")
    this.emit("rows", null)
    this.emit("events")
  }

  take_chg(m) {
    const changed = new Set()
    for (const [id, fields] of Object.entries(m.rows || {})) {
      const row = this.rows.get(id)
      if (row) { Object.assign(row, fields) }
      else { this.rows.set(id, {cpus: [], ...fields}); this.index.set(fields.i, id) }
      changed.add(id)
    }
    for (const id of m.gone || []) { this.rows.delete(id); changed.add(id) }
    if (m.sup) { Object.assign(this.supervisor, m.sup); this.emit("supervisor") }
    if (changed.size) { this.emit("rows", changed) }
  }

  take_tick(m) {
    const u = m.u || []
    for (let at = 0; at < u.length; at += 3) {
      const row = this.rows.get(this.index.get(u[at]))
      if (row) { row.cpu_percent = u[at + 1]; row.memory_mb = u[at + 2] }
    }
    for (const row of this.rows.values()) {
      if (row.cpu_percent == null) { if (row.cpus.length) { row.cpus.length = 0 } continue }
      row.cpus.push(row.cpu_percent)
      if (row.cpus.length > SPARK) { row.cpus.shift() }
    }
    if (m.host) { this.host = m.host }
    this.emit("tick")
  }

  take_cal(m) { this.markets = m.markets; this.emit("markets") }
  take_who(m) { this.people = m.people; this.emit("people") }
  take_me(m) { this.user = m.user; this.emit("all") }

  take_ev(m) {
    this.events.push(...m.events)
    if (this.events.length > 500) { this.events.splice(0, this.events.length - 500) }
    this.emit("events", m.events)
    for (const event of m.events) { if (event.toast) { this.toast(event.toast, event.message, event.id) } }
  }

  take_past(m) { this.events = m.events; this.emit("events") }
  take_goto(m) { this.emit("goto", m) }
  take_toast(m) { this.toast(m.tone, m.text, m.id) }
}

function storeOf(key) {
  const all = window.stratpanelStores ??= new Map()
  if (!all.has(key)) { all.set(key, new Store()) }
  return all.get(key)
}

// The columns of the board: how each paints its cell, what it sorts by, and from which width on it is shown.

function chipOf(row, pending) {
  const state = stateOf(row)
  const words = {start: "starting", stop: "stopping", kill: "killing", restart: "restarting", reset: "resetting", deploy: "deploying"}
  if (pending) { return {tone: "busy pending", icon: "again", text: (words[pending] || pending) + "…"} }
  if (row.state === "running" && row.quiet) { return {tone: "warn", icon: "warn", text: "quiet"} }
  return {tone: state.tone, icon: state.icon, text: row.state || "unknown"}
}

function paintChip(cell, {tone, icon: name, text}) {
  const key = tone + name + text
  if (cell.key === key) { return }
  cell.key = key
  cell.replaceChildren(h("span", {class: "chip " + tone}, icon(name, 12), text))
}

function lastExit(row) {
  if (row.exit_code == null && !row.signal) { return row.ended || row.last_run ? {text: "unknown", bad: true} : {text: ""} }
  if (row.signal) { return {text: row.signal.replace(/^SIG/, ""), bad: row.state !== "stopped" && !ALIVE.has(row.state)} }
  return {text: "code " + row.exit_code, bad: row.exit_code !== 0 && row.state !== "stopped"}
}

// The next thing the schedule will do to this strategy, with its countdown.
function nextOf(row, now) {
  const start = epochOf(row.next_start), stop = epochOf(row.next_stop)
  const alive = ALIVE.has(row.state)
  const at = alive ? stop : start
  if (at == null) { return null }
  return {at, verb: alive ? "stop" : "start", left: at - now}
}

function nextText(row, now) {
  const next = nextOf(row, now)
  if (!next) { return "" }
  if (next.left < 0) { return next.verb + " due" }
  return next.left < 86400 ? `${next.verb} in ${span(next.left)}` : `${next.verb} ${dayClock(next.at, row.timezone)}`
}

function meterClass(row) {
  if (row.memory_mb == null || !row.memory_limit_mb) { return "" }
  const part = row.memory_mb / row.memory_limit_mb
  return part >= 1 ? " bad" : part >= .8 ? " warn" : ""
}

// All sparks of a board are of one size, asked for once: asked for row by row, each answer lays the whole page out again.
function drawSpark(canvas, points, board) {
  if (!board.sparkSize?.[0]) { board.sparkSize = [canvas.clientWidth, canvas.clientHeight] }
  const ratio = devicePixelRatio || 1, [width, height] = board.sparkSize
  if (!width) { return }
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio) }
  const pen = canvas.getContext("2d")
  pen.setTransform(ratio, 0, 0, ratio, 0, 0)
  pen.clearRect(0, 0, width, height)
  if (!points || points.length < 2) { return }
  const top = Math.max(10, ...points), step = width / (SPARK - 1), first = SPARK - points.length
  pen.beginPath()
  points.forEach((y, at) => {
    const px = (first + at) * step, py = height - 2 - y / top * (height - 4)
    at ? pen.lineTo(px, py) : pen.moveTo(px, py)
  })
  pen.strokeStyle = board.sparkColour
  pen.lineWidth = 1.25
  pen.stroke()
}

const LETTERS = new Intl.Collator("en", {numeric: true, sensitivity: "base"})
const byText = (pick) => (a, b) => LETTERS.compare(pick(a), pick(b))
const byNumber = (pick) => (a, b) => (pick(a) ?? -Infinity) - (pick(b) ?? -Infinity)
const byTime = (pick) => (a, b) => (pick(a) ?? Infinity) - (pick(b) ?? Infinity)

const COLUMNS = [
  {key: "state", title: "State", width: "104px", from: 0, sort: byNumber((r) => stateOf(r).rank + (r.quiet ? -2.5 : 0)), paint: (cell, row, board) => paintChip(cell, chipOf(row, board.store.pending.get(row.id)))},
  {key: "name", title: "Strategy", width: "minmax(120px, 1.3fr)", from: 0, sort: byText((r) => r.name || r.id), paint(cell, row) {
    const live = row.mode === "live", sub = row.name && row.name !== row.id ? row.name : "", edited = standingOf(row)
    const key = row.id + live + sub + (edited?.short || "")
    if (cell.key === key) { return }
    cell.key = key
    cell.title = (sub ? `${row.id}: ${sub}` : row.id) + (edited ? `. ${edited.short}` : "")
    cell.replaceChildren(h("span", {}, row.id), sub ? h("span", {class: "sub"}, sub) : "", live ? h("span", {class: "chip live"}, "LIVE") : "", edited ? h("span", {class: "edited"}, edited.deploy ? "edited" : "newer version") : "")
  }},
  {key: "why", title: "Why", width: "minmax(120px, 2fr)", from: 560, paint(cell, row) {
    setText(cell, row.why || "")
    cell.title = row.why || ""
    cell.classList.toggle("bad", row.state === "fatal" || row.state === "lost" || Boolean(row.alert))
  }},
  {key: "mode", title: "Mode", width: "52px", from: 1380, sort: byText((r) => r.mode || ""), paint: (cell, row) => setText(cell, row.mode || "")},
  {key: "pid", title: "PID", width: "66px", num: true, from: 1150, sort: byNumber((r) => r.pid), paint: (cell, row) => setText(cell, row.pid == null ? "" : String(row.pid))},
  {key: "uptime", title: "Uptime", width: "78px", num: true, from: 830, sort: byNumber((r) => r.up == null ? null : -r.up), live: true, paint: (cell, row, board) => setText(cell, row.up == null ? "" : span(board.store.now() - row.up))},
  {key: "cpu", title: "CPU", width: "132px", narrow: "92px", num: true, from: 600, moves: true, live: true, sort: byNumber((r) => r.cpu_percent), paint(cell, row, board) {
    if (!cell.canvas) {
      cell.classList.add("meter")
      cell.canvas = h("canvas", {"aria-hidden": "true"})
      cell.val = h("span", {class: "val"})
      cell.append(cell.canvas, cell.val)
    }
    setText(cell.val, row.cpu_percent == null ? "" : fixed(row.cpu_percent) + " %")
    drawSpark(cell.canvas, row.cpus, board)
  }},
  {key: "memory", title: "Memory", width: "132px", narrow: "74px", num: true, from: 700, moves: true, live: true, sort: byNumber((r) => r.memory_mb), paint(cell, row) {
    if (!cell.val) {
      cell.fill = h("i")
      cell.bar = h("span", {class: "bar-of", "aria-hidden": "true"}, cell.fill)
      cell.val = h("span", {class: "val"})
      cell.append(cell.bar, cell.val)
    }
    cell.className = "cell num memory meter" + meterClass(row)
    setText(cell.val, megabytes(row.memory_mb))
    const part = row.memory_mb && row.memory_limit_mb ? Math.min(1, row.memory_mb / row.memory_limit_mb) : 0
    cell.fill.style.width = (part * 100).toFixed(1) + "%"
    cell.bar.style.visibility = row.memory_mb == null ? "hidden" : "visible"
    cell.title = row.memory_mb == null ? "" : `${megabytes(row.memory_mb)} of ${megabytes(row.memory_limit_mb)}`
  }},
  {key: "restarts", title: "Restarts", width: "62px", num: true, from: 1380, sort: byNumber((r) => r.restarts), paint: (cell, row) => setText(cell, row.restarts ? String(row.restarts) : "")},
  {key: "exit", title: "Last exit", width: "72px", from: 1240, sort: byText((r) => lastExit(r).text), paint(cell, row) {
    const exit = lastExit(row)
    setText(cell, exit.text)
    cell.classList.toggle("bad", Boolean(exit.bad))
  }},
  {key: "next", title: "Next", width: "128px", from: 980, live: true, sort: byTime((r) => nextOf(r, 0)?.at), paint(cell, row, board) {
    setText(cell, nextText(row, board.store.now()))
    const next = nextOf(row, 0)
    cell.title = next ? `${next.verb} ${dateClock(next.at, row.timezone)} ${zoneWord(row.timezone)}` : ""
  }},
  {key: "acts", title: "", width: "108px", from: 0, paint(cell, row, board) {
    if (!cell.acts) {
      const act = (verb) => (event) => { event.stopPropagation(); board.act(verb, [cell.rowId], event.currentTarget) }
      cell.acts = {
        start: iconButton("start", "play", act("start"), {class: "play", tabindex: "-1"}), stop: iconButton("stop", "stop", act("stop"), {class: "stop", tabindex: "-1"}),
        restart: iconButton("restart", "again", act("restart"), {tabindex: "-1"}),
        more: iconButton("more actions", "more", (event) => { event.stopPropagation(); board.openMenu(cell.rowId, event.currentTarget) }, {tabindex: "-1"}),
      }
      cell.append(cell.acts.start, cell.acts.stop, cell.acts.restart, cell.acts.more)
    }
    if (cell.rowId !== row.id) {
      cell.rowId = row.id
      for (const [verb, node] of Object.entries(cell.acts)) { node.setAttribute("aria-label", `${verb === "more" ? "more actions for" : verb} ${row.id}`) }
    }
    const busy = board.store.pending.has(row.id), alive = ALIVE.has(row.state), may = board.store.user.role !== "viewer"
    cell.acts.start.disabled = !may || busy || (alive && row.state !== "backoff")
    cell.acts.stop.disabled = !may || busy || !(alive || row.state === "lost")
    cell.acts.restart.disabled = !may || busy || !alive
    for (const verb of ["start", "stop", "restart"]) { const words = may ? verb : LOOK_ONLY; if (cell.acts[verb].title !== words) { cell.acts[verb].title = words } }
    if (board.size === "phone") { cell.acts.start.hidden = alive; cell.acts.stop.hidden = !alive; cell.acts.restart.hidden = cell.acts.more.hidden = true }
    else { for (const node of Object.values(cell.acts)) { node.hidden = false } }
  }},
]

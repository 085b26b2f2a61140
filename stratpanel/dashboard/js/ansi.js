// Lines of a log as text: colour codes become classes, levels are read, searched words are marked. Nothing is ever markup.

const CODES = /\x1b\[([0-9;]*)m/g
const OTHER_CODES = /\x1b(?:\[[0-9;?]*[A-Za-ln-zA-Z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>NOM78])/g
const CONTROLS = /[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\u202a-\u202e\u2066-\u2069]/g
const LEVELS = {debug: 0, info: 1, warning: 2, error: 3}
const LEVEL_WORD = /\b(?:(CRITICAL|FATAL|ERROR|ERR)|(WARNING|WARN)|(INFO|NOTICE)|(DEBUG|TRACE))\b/
const LOOKS_BAD = /^(?:Traceback \(most recent call last\)|[A-Z]\w*(?:Error|Exception|Interrupt)\b|Fatal Python error|Segmentation fault)/

// 3 error, 2 warning, 1 info, 0 debug, null when the line does not say.
function levelOf(text) {
  const start = text.length > 160 ? text.slice(0, 160) : text
  if (LOOKS_BAD.test(start)) { return 3 }
  const found = LEVEL_WORD.exec(start)
  return found ? found[1] ? 3 : found[2] ? 2 : found[3] ? 1 : 0 : null
}

const plain = (text) => text.indexOf("\x1b") < 0 ? text : text.replace(CODES, "").replace(OTHER_CODES, "")
const visibleControls = (text) => text.replace(CONTROLS, (c) => c === "\t" ? c : c.charCodeAt(0) < 32 ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\ufffd")

// [[classes, text]] of one line.
function ansiParts(text) {
  if (text.indexOf("\x1b") < 0) { return [["", visibleControls(text)]] }
  const clean = text.replace(OTHER_CODES, "")
  const parts = [], on = {bold: false, dim: false, underline: false, italic: false, fg: null, bg: null}
  let at = 0
  const push = (end) => {
    if (end > at) {
      const classes = [on.bold && "b", on.dim && "d", on.underline && "u", on.italic && "i", on.fg != null && "f" + on.fg, on.bg != null && "g" + on.bg].filter(Boolean).join(" ")
      parts.push([classes, visibleControls(clean.slice(at, end).replaceAll("\x1b", "\u241b"))])
    }
  }
  CODES.lastIndex = 0
  for (let m = CODES.exec(clean); m; m = CODES.exec(clean)) {
    push(m.index)
    at = m.index + m[0].length
    const codes = m[1] === "" ? [0] : m[1].split(";").map(Number)
    for (let n = 0; n < codes.length; n++) {
      const c = codes[n]
      if (c === 0) { Object.assign(on, {bold: false, dim: false, underline: false, italic: false, fg: null, bg: null}) }
      else if (c === 1) { on.bold = true } else if (c === 2) { on.dim = true } else if (c === 3) { on.italic = true } else if (c === 4) { on.underline = true }
      else if (c === 22) { on.bold = on.dim = false } else if (c === 23) { on.italic = false } else if (c === 24) { on.underline = false }
      else if (c >= 30 && c <= 37) { on.fg = c - 30 } else if (c >= 90 && c <= 97) { on.fg = c - 82 } else if (c === 39) { on.fg = null }
      else if (c >= 40 && c <= 47) { on.bg = c - 40 } else if (c >= 100 && c <= 107) { on.bg = c - 92 } else if (c === 49) { on.bg = null }
      else if (c === 38 || c === 48) { const skip = codes[n + 1] === 5 ? 2 : 4; if (skip === 2 && codes[n + 2] < 16) { on[c === 38 ? "fg" : "bg"] = codes[n + 2] } n += skip }
    }
  }
  push(clean.length)
  return parts.length ? parts : [["", ""]]
}

// Fill `node` with the line, marking what was searched for.
function fillLine(node, text, needle, cut = 4000) {
  const shown = text.length > cut ? text.slice(0, cut) + " …" + (text.length - cut) + " more characters (copy takes all)" : text
  const nodes = []
  for (const [classes, part] of ansiParts(shown)) {
    const pieces = needle ? marked(part, needle) : [part]
    if (!classes) { nodes.push(...pieces) } else { nodes.push(h("span", {class: classes}, pieces)) }
  }
  node.replaceChildren(...nodes)
}

function marked(text, needle) {
  const low = text.toLowerCase(), out = []
  let at = 0
  for (let hit = low.indexOf(needle); hit >= 0; hit = low.indexOf(needle, hit + needle.length)) {
    if (hit > at) { out.push(text.slice(at, hit)) }
    out.push(h("mark", {}, text.slice(hit, hit + needle.length)))
    at = hit + needle.length
  }
  if (at < text.length) { out.push(text.slice(at)) }
  return out.length ? out : [""]
}

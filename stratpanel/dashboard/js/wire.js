// The one component that talks to the server: hands its messages to the store and the store's questions to the server.
// It draws nothing.

const PATIENCE_MS = 3000

// Panel's line to a kernel sends back whatever has just come from it, with all that a new tab is made of: 15 MB, where
// Jupyter closes a websocket at 10 and what is said meanwhile is lost. Bokeh marks such changes as not to be sent.
function hush(document) {
  for (const line of document?._all_models?.values() ?? []) {
    if (!line.type?.endsWith("CommManager") || line.hushed) { continue }
    const tell = line._document_changed.bind(line)
    line._document_changed = (event) => { if (event.sync !== false) { tell(event) } }
    line.hushed = true
  }
}

export function render({model, el, view}) {
  hush(view?.model?.document)
  const store = storeOf(model.bus)
  model.on("msg:custom", (text) => store.receive(text))
  store.seq = null
  store.send = (message) => model.send_msg(JSON.parse(JSON.stringify(message)))  // Bokeh refuses undefined
  store.send({do: "ready"})
  for (const waiting of [...store.asked.values()]) { waiting.reject(new Error("the connection was renewed before the answer came")) }
  store.asked.clear()
  if (model.address) {
    store.on("goto", (m) => {
      if (m.open) { store.ask("open", m.open).catch((error) => store.toast("bad", error.message)); return }
      const query = new URLSearchParams(m.search).toString()
      if ((query ? "?" + query : "") !== location.search) { history.pushState(null, "", location.pathname + (query ? "?" + query : "")) }
    })
    addEventListener("popstate", () => store.ask("open", {search: location.search}).catch(() => {}))
  }
  // A snapshot that was asked for and lost on the way would leave the page waiting for ever: it is asked for again.
  const patience = setInterval(() => { if (store.seq === null || store.seq === -1) { store.send({do: "resync"}) } }, PATIENCE_MS)
  model.on("lifecycle:remove", () => clearInterval(patience))
  const root = h("div", {class: "wire", hidden: true})
  return root
}

export default {render}

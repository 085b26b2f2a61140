// The one component that talks to the server: hands its messages to the store and the store's questions to the server.
// It draws nothing.

const PATIENCE_MS = 3000

export function render({model, el}) {
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

// The one component that talks to the server: hands its messages to the store and the store's questions to the server.
// It draws nothing.

export function render({model, el}) {
  const store = storeOf(model.bus)
  model.on("msg:custom", (text) => store.receive(text))
  store.seq = null
  store.send = (message) => model.send_msg(message)
  store.send({do: "ready"})
  for (const waiting of [...store.asked.values()]) { waiting.reject(new Error("the connection was renewed before the answer came")) }
  store.asked.clear()
  const root = h("div", {class: "wire", hidden: true})
  return root
}

export default {render}

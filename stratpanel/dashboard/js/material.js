// Loads Material's code into a notebook's page, once however many views bring it, for the widgets that wait for it.
// As soon as the model is there: nothing is drawn before all of a view's components have their code.

export function initialize({model}) {
  const shared = window.stratpanelMaterial ||= (() => { const made = {}; made.code = new Promise((done, fail) => Object.assign(made, {done, fail})); return made })()
  if (!model.code || shared.begun) { return }
  shared.begun = true
  const address = URL.createObjectURL(new Blob([model.code], {type: "text/javascript"}))
  import(address).then((module) => shared.done(module.default), shared.fail)
}

export function render() {}

export default {initialize, render}

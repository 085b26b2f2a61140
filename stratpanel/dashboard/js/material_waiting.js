// Stands for Material's code in a notebook: waits until a view has brought it (material.js).
const shared = window.stratpanelMaterial ||= (() => { const made = {}; made.code = new Promise((done, fail) => Object.assign(made, {done, fail})); return made })()
export default await shared.code

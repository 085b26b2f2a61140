// What the page asks before it acts, and the words it uses: every stop says that positions stay open.

const LOOK_ONLY = "Your role is viewer: it may look, not act"
const POSITIONS = "Stopping a process does not close positions: open orders and positions stay at the broker."

function names(ids) { return ids.length <= 4 ? ids.join(", ") : ids.slice(0, 3).join(", ") + ` and ${ids.length - 3} more` }

// Ask where a mistake would cost something; resolves false when the person changed their mind.
async function mayAct(root, store, verb, ids) {
  const rows = ids.map((id) => store.rows.get(id)).filter(Boolean)
  const many = rows.length > 1 ? `${rows.length} strategies` : rows[0]?.id
  const live = rows.filter((row) => row.mode === "live")
  const liveLine = live.length ? [{text: `With real money: ${names(live.map((r) => r.id))}`, strong: true}] : []
  if (verb === "stop" || verb === "kill" || verb === "restart") {
    const how = {stop: "Each gets SIGTERM, and after its grace period SIGKILL, with its whole process tree.",
                 kill: "SIGKILL at once: no clean-up code runs in the strategy.", restart: "It is stopped, then started again with the same version, mode and parameters."}[verb]
    const held = verb === "stop" && rows.some((r) => r.scheduled) ? ["It stays stopped until a person starts it; the schedule will not."] : []
    return confirmBox(root, {title: `${verb[0].toUpperCase() + verb.slice(1)} ${many}?`, lines: [...liveLine, ...(rows.length > 1 ? [names(ids)] : []), how, ...held, POSITIONS],
                             yes: `${verb[0].toUpperCase() + verb.slice(1)} ${rows.length > 1 ? rows.length : ""}`.trim(), danger: verb !== "restart", focusYes: true})
  }
  if (verb === "start") {
    const outside = rows.filter((row) => {
      const start = epochOf(row.next_start), stop = epochOf(row.next_stop)
      return row.scheduled && start != null && stop != null && start < stop
    })
    const lines = [...liveLine]
    for (const row of outside.slice(0, 4)) {
      lines.push(`${row.id} is outside its window: it would run until ${dateClock(epochOf(row.next_stop), row.timezone)} ${zoneWord(row.timezone)}, the end of the next one.`)
    }
    if (!lines.length && rows.length < 2) { return true }
    return confirmBox(root, {title: `Start ${many}?`, lines: lines.length ? lines : [names(ids)], yes: "Start", focusYes: true})
  }
  return true
}

// How a working copy stands to what is deployed and what runs, and what comes next; null where there is nothing to say.
function standingOf(row) {
  if (!row) { return null }
  const live = row.mode === "live", runs = ALIVE.has(row.state) && row.version != null ? row.version : null
  const deployed = row.deployed_version ?? null, promoted = row.promoted_version ?? null, equals = row.working_copy_version ?? null
  const next = live ? promoted : deployed
  const again = runs == null ? "" : ` What runs keeps version ${runs}, through restarts too, until it is stopped and started again.`
  if (row.working_copy_differs && equals !== deployed) {
    const from = runs ?? next
    const is = runs != null ? "which runs" : live ? "which a live start runs" : "which the schedule runs"
    const then = live ? "Deploy makes a version of it, Promote lets live starts run that one." : "Deploy makes it the version that the next start runs."
    return {short: `The working copy differs from version ${from}, ${is}.`, next: then + again, from, deploy: true}
  }
  if (runs != null && next != null && runs !== next) {
    return {short: `Version ${next} is ${live ? "promoted" : "deployed"}, version ${runs} runs.`, next: `To run version ${next}, stop it and start it again: a restart keeps version ${runs}.`, from: runs, deploy: false}
  }
  if (live && deployed != null && deployed !== promoted) {
    const now = promoted == null ? "no version is promoted, so a live start is refused" : `live starts run version ${promoted}`
    return {short: `Version ${deployed} is deployed but not promoted.`, next: `Until it is, ${now}.${again}`, from: promoted ?? deployed, deploy: false}
  }
  if (row.working_copy_differs) { return {short: `The working copy equals version ${equals}, not version ${runs ?? next}, which ${runs != null ? "runs" : "starts run"}.`, next: again.trim(), from: runs ?? next, deploy: false} }
  return null
}

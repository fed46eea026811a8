// The page: reads the API each two seconds, draws what it says, and sends what a person asks. Whatever came from outside
// (names, links, errors) is set as text, never as markup.

const POLL_MS = 2000
const POLL_MOST_MS = 30000
const REQUEST_LIMIT_MS = 20000
/** ms. A claim is answered within its delivery time, 600 s at most. */
const CLAIM_LIMIT_MS = 620000
const GOOD = {
  Ready: 'True',
  Available: 'True',
  Progressing: 'True',
  ProviderReachable: 'True',
  DatabaseListening: 'True',
  LeaderElected: 'True',
  AnthropicKeySet: 'True',
}
const STATES = {
  creating: 'getting its instructions',
  waitingForAcceptance: 'waits to be let in: approve the newest request in the conversation',
  live: 'live',
  degraded: 'live, but its gateway is being repaired',
  releasing: 'is being released',
}

const at = (id) => document.getElementById(id)
const storage = window.sessionStorage

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

// ── the key: from the address (`#key=…`), which forgets it at once, or typed; kept in this tab ──────────────────────

function takeKeyFromAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get('key')
  if (!key) return
  storage.setItem('key', key)
  history.replaceState(null, '', location.pathname + location.search)
}

async function ask(method, path, body, limitMs = REQUEST_LIMIT_MS) {
  const key = storage.getItem('key')
  let answer
  try {
    answer = await fetch(path, {
      method,
      headers: {
        ...(key && { authorization: `Bearer ${key}` }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(limitMs),
    })
  } catch {
    throw new Error('The pool does not answer. Is it running?')
  }
  const content = await answer.json().catch(() => null)
  if (answer.status === 401 && key) signOut('This key is not (or no longer) valid.')
  if (!answer.ok) throw new Error(content?.error ?? `The pool answered ${answer.status}.`)
  return content
}

function signOut(why = '') {
  storage.removeItem('key')
  at('sign-in-fault').textContent = why
  look()
}

// ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const drawn = new Map()

/** Only what changed: a button keeps its focus, a selection stays. */
function draw(name, value, run) {
  const text = JSON.stringify(value)
  if (drawn.get(name) === text) return
  drawn.set(name, text)
  run(value)
}

function drawCounts(counts) {
  at('counts').replaceChildren(
    ...Object.entries(counts).map(([status, count]) =>
      element('div', {}, element('dt', { textContent: status }), element('dd', { textContent: count })),
    ),
  )
}

function drawConditions(conditions) {
  const off = conditions.filter(({ type, status }) => status !== (GOOD[type] ?? 'False'))
  const lines = off.map(({ type, message }) => element('li', { textContent: `${type}: ${message}` }))
  if (lines.length === 0)
    lines.push(element('li', { className: 'good', textContent: 'All is as it should be.' }))
  at('conditions').replaceChildren(...lines)
}

function drawAgents(agents) {
  const box = at('agents')
  if (agents.length === 0) {
    const words = 'Nobody is live. Launch an agent: it takes an idle instance, which the pool then replaces.'
    box.replaceChildren(element('p', { className: 'quiet', textContent: words }))
    return
  }
  box.replaceChildren(...agents.map(drawAgent))
}

function drawAgent(agent) {
  const head = element(
    'div',
    { className: 'row' },
    element('strong', { textContent: agent.name }),
    element('span', { className: `state ${agent.state}`, textContent: STATES[agent.state] ?? agent.state }),
    element('span', { className: 'quiet', textContent: `since ${new Date(agent.since).toLocaleString()}` }),
  )
  const box = element('div', { className: 'agent' }, head)
  if (!agent.claimId) return box
  const path = `/api/pool/instances/${encodeURIComponent(agent.id)}`
  const claim = `?wait=0&claim=${encodeURIComponent(agent.claimId)}`
  const buttons = element('div', { className: 'row' })
  if (agent.inviteUrl) buttons.append(...linkButtons(agent.inviteUrl))
  buttons.append(
    button('Recycle', () =>
      sure(`End ${agent.name} and clean its instance for the next one?`, () => ask('DELETE', path + claim)),
    ),
    button(
      'Destroy',
      () =>
        sure(`End ${agent.name} and delete its instance?`, () => ask('DELETE', `${path}/destroy${claim}`)),
      'danger',
    ),
  )
  box.append(buttons)
  return box
}

function linkButtons(url) {
  const copy = button('Copy invite link', async () => {
    await navigator.clipboard.writeText(url)
    copy.textContent = 'Copied'
  })
  const isLink = /^https:\/\//.test(url) // whatever else a gateway might answer is not opened
  const open = element('a', {
    href: isLink ? url : '#',
    target: '_blank',
    rel: 'noopener',
    textContent: 'Open',
  })
  return isLink ? [copy, open] : [copy]
}

function drawInstances(instances) {
  const box = at('instances')
  if (instances.length === 0) {
    const words = 'There are none. The controller builds them as soon as "Keep idle" is above zero.'
    box.replaceChildren(element('p', { className: 'quiet', textContent: words }))
    return
  }
  const cells = (tag, values) => element('tr', {}, ...values.map((value) => element(tag, {}, value)))
  const rows = instances.map((instance) =>
    cells('td', [
      element('code', { textContent: instance.id }),
      instance.status,
      drawPhase(instance),
      instance.agentName ?? '',
      (instance.commit ?? '').slice(0, 8),
      new Date(instance.createdAt).toLocaleString(),
      instance.error ?? '',
    ]),
  )
  const head = cells('th', ['Id', 'Status', 'Phase', 'Agent', 'Commit', 'Created', 'Error'])
  box.replaceChildren(element('table', {}, element('thead', {}, head), element('tbody', {}, ...rows)))
}

function drawPhase({ phase, progress }) {
  if (!progress) return phase
  const bar = element('progress', { max: 100, title: progress.log.slice(-3).join('\n') })
  if (progress.percent !== null) bar.value = progress.percent
  bar.setAttribute('aria-label', `${phase}, ${progress.phase}`)
  return element('span', {}, `${phase}, ${progress.phase} `, bar)
}

// ── what a person does ──────────────────────────────────────────────────────────────────────────────────────────────

function button(label, run, className = '') {
  const made = element('button', { type: 'button', textContent: label, className })
  made.addEventListener('click', () => busy(made, run, at('pool-result')))
  return made
}

/** Runs it once at a time; a fault is said in words, beside what was pressed. */
async function busy(control, run, words) {
  control.disabled = true
  try {
    await run()
  } catch (error) {
    words.className = 'fault'
    words.textContent = error.message
  } finally {
    control.disabled = false
    look()
  }
}

async function sure(question, run) {
  if (window.confirm(question)) await run()
}

function onSubmit(id, words, run) {
  const form = at(id)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    busy(form.querySelector('button'), run, words)
  })
}

function say(words) {
  at('pool-result').className = 'quiet'
  at('pool-result').textContent = words
}

onSubmit('sign-in', at('sign-in-fault'), async () => {
  at('sign-in-fault').textContent = ''
  storage.setItem('key', at('key').value)
  at('key').value = ''
})
at('sign-out').addEventListener('click', () => signOut())

onSubmit('min-idle-form', at('pool-result'), async () => {
  const { spec } = await ask('PATCH', '/api/pool/spec', { minIdle: at('min-idle').valueAsNumber })
  say(`Saved: ${spec.minIdle} idle are kept.`)
})
onSubmit('replenish-form', at('pool-result'), async () => {
  const { created } = await ask('POST', '/api/pool/replenish', { count: at('replenish-count').valueAsNumber })
  say(created === 0 ? 'No room: maxTotal is reached.' : `${created} more are being built.`)
})
onSubmit('drain-form', at('pool-result'), async () => {
  const count = at('drain-count').valueAsNumber
  await sure(`Delete ${count} idle and build them anew?`, async () => {
    await ask('POST', '/api/pool/drain?wait=0', { count })
    say(`Up to ${count} idle are being replaced.`)
  })
})

onSubmit('launch', at('launch-result'), async () => {
  const result = at('launch-result')
  result.className = 'quiet'
  result.textContent = 'Launching …'
  const joinUrl = at('join-url').value.trim()
  const body = {
    agentName: at('name').value,
    instructions: at('instructions').value,
    ...(joinUrl && { joinUrl }),
  }
  const claim = await ask('POST', '/api/pool/claim', body, CLAIM_LIMIT_MS)
  const words = claim.waitingForAcceptance
    ? 'Asked to join: approve the newest request in the conversation.'
    : claim.joined
      ? 'It has joined the conversation.'
      : 'It is live. Whoever opens this link talks to it:'
  result.replaceChildren(element('p', { textContent: words }))
  if (claim.inviteUrl) {
    result.append(element('p', { className: 'link', textContent: claim.inviteUrl }))
    result.append(element('div', { className: 'row' }, ...linkButtons(claim.inviteUrl)))
  }
  at('launch').reset()
})

// ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────────

let timer = 0
let failures = 0
let latest = 0

async function look() {
  clearTimeout(timer)
  const mine = ++latest // an older answer never overwrites a newer one
  const signedIn = storage.getItem('key') !== null
  try {
    const [counts, agents, status, spec] = await Promise.all([
      ask('GET', '/api/pool/counts'),
      ask('GET', '/api/pool/agents'),
      signedIn ? ask('GET', '/api/pool/status') : null,
      signedIn ? ask('GET', '/api/pool/spec') : null,
    ])
    if (mine !== latest) return
    failures = 0
    drawSignedIn(signedIn)
    draw('counts', counts, drawCounts)
    draw('agents', agents, drawAgents)
    if (status) draw('conditions', status.conditions, drawConditions)
    if (status) draw('instances', status.instances, drawInstances)
    if (spec) drawSpec(spec)
    at('connection').textContent = signedIn ? 'signed in' : 'not signed in'
  } catch (error) {
    if (mine !== latest) return
    failures += 1
    at('connection').textContent = error.message
  }
  const ms = Math.min(POLL_MOST_MS, POLL_MS * 2 ** Math.min(failures, 5))
  timer = setTimeout(look, document.hidden ? POLL_MOST_MS : ms)
}

function drawSignedIn(signedIn) {
  at('sign-in').hidden = signedIn
  at('sign-out').hidden = !signedIn
  for (const part of document.querySelectorAll('.signed-in')) part.hidden = !signedIn
  if (signedIn) return
  drawn.clear()
  at('conditions').replaceChildren()
  at('plan').textContent = 'Sign in to see how the pool is, and to launch agents.'
}

function drawSpec({ spec, plan }) {
  at('plan').textContent = plan.length > 0 ? `Next: ${plan.join('; ')}.` : ''
  if (document.activeElement !== at('min-idle')) at('min-idle').value = spec.minIdle ?? ''
}

async function drawVersion() {
  const { version, environment, badge } = await ask('GET', '/version')
  at('version').textContent = version
  at('environment').textContent = environment
  at('environment').classList.add(badge)
  at('environment').hidden = false
}

takeKeyFromAddress()
document.addEventListener('visibilitychange', () => document.hidden || look())
window.addEventListener('hashchange', () => {
  takeKeyFromAddress()
  look()
})
drawVersion().catch(() => {})
look()

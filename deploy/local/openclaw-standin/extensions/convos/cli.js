// `convos conversations process-join-requests`: lets in who asked, once. The build puts it where an install would.
import { readFileSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { conversation: { type: 'string' }, env: { type: 'string' }, json: { type: 'boolean' } },
})
if (positionals.join(' ') !== 'conversations process-join-requests') {
  console.error(`Error: command ${positionals.join(':')} not found`)
  process.exit(2)
}

const home = process.env.HOME || homedir()
const config = JSON.parse(readFileSync(join(home, '.openclaw/openclaw.json'), 'utf8'))
const { ownerConversationId, env } = config.channels.convos
if (values.conversation !== ownerConversationId || values.env !== env) {
  console.error(`Error: no conversation ${values.conversation} in ${values.env}`)
  process.exit(1)
}

function takeRequests() {
  const path = join(home, '.convos/join-requests')
  try {
    const requests = readFileSync(path, 'utf8').split('\n').filter(Boolean)
    rmSync(path)
    return requests
  } catch {
    return [] // nobody asked
  }
}

const requests = takeRequests()
console.log('Syncing conversations...')
console.log(JSON.stringify({ level: 'info', message: 'stream opened' })) // libraries log to stdout there too
console.log(
  JSON.stringify({ conversationId: values.conversation, processed: requests.length, requests }, null, 2),
)

import { sleep } from '../../../../specs/clock.ts'
import { type JoinsStatus, joinsStatusSchema, SPRITE_PATHS } from '../../../sprite/templates.ts'
import { inHome } from './disk.ts'
import { boundConversation } from './gateway-config.ts'
import { type Machine, type Program, silentIo } from './machine.ts'

const LOOP = '/usr/bin/bash joins.sh run'
/** One line for each request that nobody has answered yet: the file that the stand-in's tool reads. */
const REQUESTS = inHome('.convos/join-requests')

/** `bash joins.sh <conversation> <env> <seconds> <interval>`: starts the loop and returns, as the script does. */
export const joinsLauncher =
  (machine: Machine, args: string[]): Program =>
  async ({ write }) => {
    const [conversation = '', env = '', seconds = '', interval = ''] = args
    const isUsable =
      /^[A-Za-z0-9][A-Za-z0-9-]*$/.test(conversation) &&
      /^(dev|production)$/.test(env) &&
      [seconds, interval].every((text) => /^\d{1,5}$/.test(text))
    if (!isUsable) {
      await write(2, 'joins.sh: usage: joins.sh <conversation> <dev|production> <seconds> <interval>\n')
      return 2
    }
    if (machine.processes.list().some(({ command }) => command === LOOP)) return 0
    const before = readStatus(machine)
    if (before?.conversation === conversation && before.approved) return 0
    const status: JoinsStatus = { conversation, processed: 0, approved: false, beat: 1, done: false }
    writeStatus(machine, status)
    machine.processes.start(LOOP, silentIo(), loop(machine, status, Number(seconds), Number(interval)))
    return 0
  }

function loop(machine: Machine, first: JoinsStatus, seconds: number, interval: number): Program {
  return async (_io, { signal }) => {
    const status = { ...first }
    const endsAt = machine.clock.monotonic() + seconds * 1_000
    for (;;) {
      status.beat++
      status.processed += takeRequests(machine, status.conversation)
      status.approved = status.processed > 0
      status.done = status.approved || machine.clock.monotonic() + interval * 1_000 > endsAt
      writeStatus(machine, status)
      if (status.done) return 0
      await sleep(machine.clock, interval * 1_000, signal)
    }
  }
}

/** How many asked and were let in; none where the conversation is another one, as the tool then fails. */
function takeRequests({ disk }: Machine, conversation: string): number {
  if (boundConversation(disk)?.conversationId !== conversation) return 0
  const asked = (disk.text(REQUESTS) ?? '').split('\n').filter((line) => line !== '')
  disk.remove(REQUESTS)
  return asked.length
}

function readStatus({ disk }: Machine): JoinsStatus | null {
  const text = disk.text(SPRITE_PATHS.joinsStatus)
  return text === null ? null : joinsStatusSchema.parse(JSON.parse(text))
}

function writeStatus({ disk }: Machine, status: JoinsStatus): void {
  disk.write(SPRITE_PATHS.joinsStatus, `${JSON.stringify(status)}\n`)
}

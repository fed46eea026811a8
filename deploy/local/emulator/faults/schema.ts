import { z } from 'zod'
import { OPERATIONS } from '../operations.ts'

const ms = z.int().nonnegative()
const status = z.int().min(100).max(599)
/** An object is sent as JSON, a string as it is: a page, or a proxy's plain text. */
const body = z.union([z.record(z.string(), z.unknown()), z.string()]).optional()

/** What can go wrong with any request. */
const requests = [
  /** Waits so long before it is carried out, and is, even when its sender has long gone. */
  z.object({ kind: z.literal('hold'), ms }),
  /** Nothing happens and nothing is answered. */
  z.object({ kind: z.literal('hang') }),
  /** The connection breaks before anything happens. */
  z.object({ kind: z.literal('cut') }),
  /** Nothing happens, and this is the answer. */
  z.object({ kind: z.literal('refuse'), status, body, headers: z.record(z.string(), z.string()).optional() }),
  /** It happens, and then the connection breaks instead of the answer. */
  z.object({ kind: z.literal('lose') }),
  /** It happens, and then the answer is this failure. */
  z.object({ kind: z.literal('lie'), status, body }),
] as const

/** What can go wrong with one kind of request only. */
const special = [
  /** list: leaves the Sprite out that it is for, or all of them. */
  z.object({ kind: z.literal('omit') }),
  /** exec: the command runs to its end, and the socket closes without the exit frame. */
  z.object({ kind: z.literal('no-exit-frame') }),
  /** exec: nothing is sent for so long, however much the command says meanwhile. */
  z.object({ kind: z.literal('mute'), ms }),
  /** checkpoint.create, checkpoint.restore: nothing happens, and a line of the 200 stream says so. */
  z.object({ kind: z.literal('error-line'), error: z.string().optional() }),
  /** checkpoint.create, checkpoint.restore: it happens, and the stream ends with neither `complete` nor an error. */
  z.object({ kind: z.literal('end-early') }),
  /** checkpoint.create, checkpoint.restore: it happens, and the stream stays open without a last word. */
  z.object({ kind: z.literal('stay-open') }),
  /** checkpoint.list: one that the platform made by itself is listed too. */
  z.object({ kind: z.literal('auto-entries') }),
  /** checkpoint.restore: for so long afterwards files are listed but cannot be read. */
  z.object({ kind: z.literal('unsettled'), ms }),
  /** checkpoint.restore: the Sprite is lost; it is `running`, and whatever is asked of its inside hangs. */
  z.object({ kind: z.literal('ruin') }),
  /** checkpoint.restore: services from before it are shown as running afterwards, though they are gone. */
  z.object({ kind: z.literal('stale-services') }),
  /** service.put: another service's HTTP port is no reason to refuse. */
  z.object({ kind: z.literal('second-port') }),
  /** gateway.join: the inviter never lets it in, whatever the invite says. */
  z.object({ kind: z.literal('never-accepted') }),
  /** gateway.status: bound, but its stream is dead. */
  z.object({ kind: z.literal('not-streaming') }),
] as const

const aim = z.object({
  on: z.union([z.enum(OPERATIONS), z.array(z.enum(OPERATIONS)).min(1), z.literal('any')]),
  /** null: any Sprite. */
  sprite: z.string().nullable().default(null),
  /** How many requests meet it; null: all until it is taken back. */
  times: z.int().positive().nullable().default(1),
  /** Of those that it could meet, by the emulator's seeded chance. */
  probability: z.number().min(0).max(1).default(1),
})

export const faultSchema = z.intersection(z.discriminatedUnion('kind', [...requests, ...special]), aim)
export type Fault = z.infer<typeof faultSchema>
export type FaultWish = z.input<typeof faultSchema>
export type FaultKind = Fault['kind']
export type FaultOf<K extends FaultKind> = Extract<Fault, { kind: K }>

export const FAULT_KINDS = [...requests, ...special].map(({ shape }) => shape.kind.value)

import { z } from 'zod'

export const CLAIM_PHASES = [
  'Waiting',
  'Bound',
  'Delivering',
  'AwaitingAcceptance',
  'Ready',
  'Releasing',
  'Released',
  'Failed',
  'Cancelled',
  'Expired',
] as const
export type ClaimPhase = (typeof CLAIM_PHASES)[number]

/** Phases that nothing follows. */
export const ENDED: readonly ClaimPhase[] = ['Released', 'Failed', 'Cancelled', 'Expired']

export const MAX_INSTRUCTIONS_BYTES = 256 * 1024
const MAX_EXTRA_BYTES = 16 * 1024
const MAX_MESSAGE_BYTES = 64 * 1024
/** Fields of the gateway's request that are ours or the gateway's own: `extra` may not carry them. */
const RESERVED = ['name', 'profileName', 'env', 'instructions', 'inviteUrl', 'accountId']

/** Deeper than any field of the gateway; a body that is nested without end would break the stack of whoever walks it. */
const MAX_EXTRA_DEPTH = 32
/** A slug and what stands around it. */
const MAX_LINK_CHARACTERS = 8192

const bytes = (text: string) => new TextEncoder().encode(text).length

/** null: Postgres stores it, and JSON carries it, as it came. */
function textFault(text: string): string | null {
  if (text.includes('\0')) return 'no NUL character'
  return text.isWellFormed() ? null : 'not valid Unicode: a lone surrogate'
}

function jsonFault(value: unknown, depth = 0): string | null {
  if (typeof value === 'string') return textFault(value)
  if (typeof value === 'number' && !Number.isFinite(value)) return 'a number that is too large'
  if (typeof value !== 'object' || value === null) return null
  if (depth === MAX_EXTRA_DEPTH) return `nested deeper than ${MAX_EXTRA_DEPTH}`
  for (const [key, item] of Object.entries(value)) {
    const fault = textFault(key) ?? jsonFault(item, depth + 1)
    if (fault) return fault
  }
  return null
}

const isText = (text: string, context: z.RefinementCtx) => {
  const fault = textFault(text)
  if (fault) context.addIssue({ code: 'custom', message: fault })
}

export type XmtpEnv = 'dev' | 'production'
/** Where each environment's invite links live. */
export const INVITE_DOMAINS: Record<XmtpEnv, string> = {
  dev: 'dev.convos.org',
  production: 'popup.convos.org',
}

/** base64url, in pieces joined by `*`. No dot: a bare host is not a slug. */
const SLUG = /^[A-Za-z0-9_*-]{1,4096}$/

/** null: fine. Else one sentence that says what is wrong and what would be right. */
export function joinUrlFault(link: string, env: XmtpEnv): string | null {
  if (SLUG.test(link)) return null
  if (link.length > MAX_LINK_CHARACTERS) return `a link of at most ${MAX_LINK_CHARACTERS} characters`
  // The parser drops or encodes these in silence, but the link is stored and sent as it came.
  if (/[\s\p{Cc}]/u.test(link) || !link.isWellFormed())
    return 'a link has no spaces, no control characters and no lone surrogates'
  let url: URL
  try {
    url = new URL(link)
  } catch {
    return `not a link: expected https://${INVITE_DOMAINS[env]}/v2?i=…, https://convos.app/join/…, convos://join/… or a bare invite slug`
  }
  if (url.username || url.password) return 'a link with a user name in it is not an invite'
  if (url.protocol === 'convos:' && url.host === 'join' && url.pathname.length > 1) return null
  if (url.protocol !== 'https:') return 'an invite link begins with https:// or convos://join/'
  if (url.host === 'convos.app' && /^\/join\/.+/.test(url.pathname)) return null
  const other = env === 'dev' ? 'production' : 'dev'
  if (url.host === INVITE_DOMAINS[env]) return null
  if (url.host === INVITE_DOMAINS[other])
    return `this pool is on XMTP ${env} (${INVITE_DOMAINS[env]}), the link is of ${other} (${INVITE_DOMAINS[other]}): use the pool of that environment`
  return `${url.host} is no domain of invites here: expected ${INVITE_DOMAINS[env]}`
}

/** s, from ten of them to a year. */
export const TtlSeconds = z.int().min(10).max(31_536_000)

export const AgentName = z
  .string()
  .min(1, 'a name of 1–100 characters')
  .refine((name) => [...name].length <= 100, 'a name of 1–100 characters')
  .refine((name) => !/\p{Cc}/u.test(name), 'no control characters')
  .superRefine(isText)
  .refine((name) => name.trim().length > 0, 'a name that can be seen')

export const Instructions = z
  .string()
  .min(1, 'at least 1 character')
  .refine((text) => bytes(text) <= MAX_INSTRUCTIONS_BYTES, 'at most 256 KB')
  .superRefine(isText)

/** What is said in a conversation by its agent. */
export const Message = z
  .string()
  .refine((text) => text.trim().length > 0, 'at least 1 character that can be seen')
  .refine((text) => bytes(text) <= MAX_MESSAGE_BYTES, 'at most 64 KB')
  .superRefine(isText)

/** Body of a claim. Unknown fields are dropped here and named in the answer's warnings by the API. */
export const claimRequest = (env: XmtpEnv) =>
  z.object({
    agentName: AgentName,
    instructions: Instructions,
    joinUrl: z
      .string()
      .superRefine((link, context) => {
        const fault = joinUrlFault(link, env)
        if (fault) context.addIssue({ code: 'custom', message: fault })
      })
      .nullish(),
    ttlSeconds: TtlSeconds.nullish(),
    priority: z.int().min(0).max(9).nullish(),
    extra: z
      .record(z.string(), z.unknown())
      .superRefine((extra, context) => {
        const fault = jsonFault(extra)
        if (fault) return context.addIssue({ code: 'custom', message: fault })
        for (const key of Object.keys(extra).filter((key) => RESERVED.includes(key)))
          context.addIssue({
            code: 'custom',
            path: [key],
            message: 'is set by the pool or the gateway itself: leave it out of extra',
          })
        if (bytes(JSON.stringify(extra)) > MAX_EXTRA_BYTES)
          context.addIssue({ code: 'custom', message: 'at most 16 KB' })
      })
      .nullish(),
  })
export type ClaimRequest = z.infer<ReturnType<typeof claimRequest>>

export interface Claim {
  id: string
  pool: string
  number: number
  priority: number
  actor: string
  agentName: string
  instructions: string
  joinUrl: string | null
  extra: Record<string, unknown>
  ttlSeconds: number | null
  deadlineAt: Date
  releasedAt: Date | null
  cancelledAt: Date | null
  instanceId: string | null
  phase: ClaimPhase
  attempts: number
  conversationId: string | null
  inviteUrl: string | null
  inviteSlug: string | null
  joined: boolean
  reason: string | null
  message: string | null
  createdAt: Date
  boundAt: Date | null
  readyAt: Date | null
  endedAt: Date | null
  expiresAt: Date | null
}

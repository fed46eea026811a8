/**
 * What is written into a Sprite, as pure functions, and what its scripts write back, as schemas. The controller gets
 * these handed in: it imports the types only.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { z } from 'zod'

const HOME = '/home/sprite'
const DIR = `${HOME}/.clawpool`
const OPENCLAW_DIR = `${HOME}/.openclaw`

/** Absolute paths inside a Sprite, as the file API and an exec's argv name them. */
export const SPRITE_PATHS = {
  home: HOME,
  /** Ours alone; OpenClaw never looks here. */
  dir: DIR,
  setupScript: `${DIR}/setup.sh`,
  gatewayScript: `${DIR}/gateway.sh`,
  joinsScript: `${DIR}/joins.sh`,
  setupEnv: `${DIR}/setup.env`,
  setupStatus: `${DIR}/setup.json`,
  setupLog: `${DIR}/setup.log`,
  joinsStatus: `${DIR}/joins.json`,
  /** A random word of this instance, in its checkpoint for ever: there again after a restore, the disk is ours. */
  stamp: `${DIR}/stamp`,
  /** A random word that no checkpoint holds: gone again, the disk was replaced. */
  canary: `${DIR}/canary`,
  openclawDir: OPENCLAW_DIR,
  openclawJson: `${OPENCLAW_DIR}/openclaw.json`,
  dotEnv: `${OPENCLAW_DIR}/.env`,
  workspace: `${OPENCLAW_DIR}/workspace`,
  instructions: `${OPENCLAW_DIR}/workspace/INSTRUCTIONS.md`,
  /** XMTP identities: there as soon as somebody asked for a conversation, whatever came of it. */
  convos: `${HOME}/.convos`,
} as const

/** The port that a Sprite's public URL leads to. */
export const GATEWAY_PORT = 8080

/** Mode of files with a key or token in them: the file API takes octal digits. */
export const SECRET_MODE = '0600'
export const SCRIPT_MODE = '0755'

export type SpriteScript = 'setup.sh' | 'gateway.sh' | 'joins.sh'
const SCRIPTS = ['setup.sh', 'gateway.sh', 'joins.sh'] as const satisfies readonly SpriteScript[]

export type XmtpEnv = 'dev' | 'production'

const scripts = new Map<SpriteScript, string>()

/** A script as it stands beside this file; read once for each process. */
export function readSpriteFile(name: SpriteScript): string {
  const known = scripts.get(name)
  if (known !== undefined) return known
  const text = readFileSync(new URL(`./${name}`, import.meta.url), 'utf8')
  scripts.set(name, text)
  return text
}

/**
 * `openclaw.json`. `gatewayKey` opens the /convos routes, `gatewayToken` everything else of the gateway. Without
 * `reload.mode: off` the gateway restarts itself when it writes this file after a conversation, and dies of it.
 */
export function openclawJson(options: {
  xmtpEnv: XmtpEnv
  gatewayKey: string
  gatewayToken: string
}): string {
  const config = {
    auth: { profiles: { 'anthropic:default': { provider: 'anthropic', mode: 'token' } } },
    channels: { convos: { enabled: true, env: options.xmtpEnv, poolApiKey: options.gatewayKey } },
    plugins: { entries: { convos: { enabled: true } } },
    gateway: {
      mode: 'local',
      port: GATEWAY_PORT,
      bind: 'lan',
      auth: { token: options.gatewayToken },
      reload: { mode: 'off' },
    },
  }
  return `${JSON.stringify(config, null, 2)}\n`
}

/** What a line of `.env` carries without quotes: no blank, control character, quote, comment or reference. */
const DOT_ENV_VALUE = /^[\x21-\x7e]+$/
const DOT_ENV_SPECIAL = /["'`#$\\]/

/** `.env`: read by the gateway when it starts. Empty where there is no key. Throws without showing the key. */
export function dotEnv(options: { anthropicApiKey: string | null }): string {
  const key = options.anthropicApiKey
  if (key === null) return ''
  if (!DOT_ENV_VALUE.test(key) || DOT_ENV_SPECIAL.test(key)) {
    throw new Error(
      'ANTHROPIC_API_KEY has a character that a .env file cannot carry (a blank or a line end?)',
    )
  }
  return `ANTHROPIC_API_KEY=${key}\n`
}

/** The alphabet that setup.sh accepts; a value that begins with a dash would be an option to git. */
const SETUP_VALUE = /^[A-Za-z0-9._/:@][A-Za-z0-9._/:@-]*$/

export interface SetupRequest {
  /** The try that this build belongs to. Each try has its own: an attempt is built once. */
  attempt: string
  repo: string
  /** Branch or tag; built where no commit is pinned. */
  ref: string
  /** 40 hex digits, or null for whatever the ref is when the build gets there. */
  commit: string | null
}

/** `setup.env`. Throws with the name of the field that setup.sh would refuse. */
export function setupEnv(request: SetupRequest): string {
  for (const field of ['attempt', 'repo', 'ref'] as const) {
    if (!SETUP_VALUE.test(request[field])) {
      throw new Error(
        `${field} must be of A-Z a-z 0-9 . _ / : @ - and not begin with a dash: ${quote(request[field])}`,
      )
    }
  }
  if (request.commit !== null && !/^[0-9a-f]{40}$/.test(request.commit)) {
    throw new Error(`commit must be 40 hexadecimal digits: ${quote(request.commit)}`)
  }
  const { attempt, repo, ref, commit } = request
  return `ATTEMPT=${attempt}\nREPO=${repo}\nREF=${ref}\nCOMMIT=${commit ?? ''}\n`
}

/** User text in a message: escaped, and short. */
const quote = (text: string) => JSON.stringify(text.slice(0, 100))

/** argv of the exec that starts a build; it returns as soon as `setup.json` says that the build has begun. */
export const SETUP_ARGV: readonly string[] = ['bash', SPRITE_PATHS.setupScript]

export interface JoinsRequest {
  conversationId: string
  xmtpEnv: XmtpEnv
  forSeconds: number
  intervalSeconds: number
}

/** argv of the exec that starts the loop over join requests. Throws where joins.sh would refuse. */
export function joinsArgv(request: JoinsRequest): string[] {
  if (!/^[A-Za-z0-9][A-Za-z0-9-]*$/.test(request.conversationId)) {
    throw new Error(`conversationId must be of A-Z a-z 0-9 -: ${quote(request.conversationId)}`)
  }
  const seconds = [request.forSeconds, request.intervalSeconds].map((value) => String(Math.round(value)))
  return ['bash', SPRITE_PATHS.joinsScript, request.conversationId, request.xmtpEnv, ...seconds]
}

export const SETUP_PHASES = [
  'tools',
  'bun',
  'pnpm',
  'clone',
  'patch',
  'install',
  'build',
  'wrapper',
  'workspace',
] as const

/** `setup.json`. It counts only while its `attempt` is the one that was asked for. */
export const setupStatusSchema = z.object({
  attempt: z.string(),
  /** Grows while the build lives, each 10 s at least. */
  beat: z.int().nonnegative(),
  phase: z.enum(SETUP_PHASES),
  percent: z.number().min(0).max(100),
  /** What was checked out; null before that. */
  commit: z
    .string()
    .regex(/^[0-9a-f]{40}$/)
    .nullable(),
  /** The home as the script saw it. */
  home: z.string(),
  /** null while it runs, 0 when all is well, else the code of the phase that failed. */
  exit: z.int().nullable(),
  /** The failed phase and its last lines, printable, at most 300 characters. */
  error: z.string().nullable(),
  /** Fields of a claim's request that this OpenClaw reads, of the six that are looked for; empty until `exit` is 0. */
  takes: z.array(z.string()),
  updatedAt: z.string(),
})
export type SetupStatus = z.infer<typeof setupStatusSchema>

/** What setup.sh ends its clone with where the repository has no such ref, or is not for us. */
export const SETUP_REFUSED = 78
/** Of another phase that number is a program's own. */
const isRefused = ({ phase, exit }: { phase: string; exit: number | null }) =>
  phase === 'clone' && exit === SETUP_REFUSED

/** `joins.json`: the loop ended when `done`, and somebody was let in when `approved`. */
export const joinsStatusSchema = z.object({
  conversation: z.string(),
  processed: z.int().nonnegative(),
  approved: z.boolean(),
  beat: z.int().nonnegative(),
  done: z.boolean(),
})
export type JoinsStatus = z.infer<typeof joinsStatusSchema>

/** 12 hex digits that change when anything that ends up in a checkpoint does: an instance built otherwise is outdated. */
export function setupDigest(): string {
  const hash = createHash('sha256')
  for (const name of SCRIPTS) hash.update(`${name}\0${readSpriteFile(name)}\0`)
  hash.update(openclawJson({ xmtpEnv: 'dev', gatewayKey: '', gatewayToken: '' }))
  hash.update(setupEnv({ attempt: 'a', repo: 'r', ref: 'r', commit: null }))
  return hash.digest('hex').slice(0, 12)
}

/** What the controller is handed of this file. */
export interface SpriteFiles {
  paths: typeof SPRITE_PATHS
  readSpriteFile: typeof readSpriteFile
  openclawJson: typeof openclawJson
  dotEnv: typeof dotEnv
  setupEnv: typeof setupEnv
  joinsArgv: typeof joinsArgv
  setupArgv: readonly string[]
  setupStatusSchema: typeof setupStatusSchema
  isRefused: typeof isRefused
  joinsStatusSchema: typeof joinsStatusSchema
  setupDigest: typeof setupDigest
}

export const spriteFiles: SpriteFiles = {
  paths: SPRITE_PATHS,
  readSpriteFile,
  openclawJson,
  dotEnv,
  setupEnv,
  joinsArgv,
  setupArgv: SETUP_ARGV,
  setupStatusSchema,
  isRefused,
  joinsStatusSchema,
  setupDigest,
}

import { z } from 'zod'
import { Condition } from './condition.ts'
import { Invalid, toFieldFaults } from './errors.ts'

/** `[a-z]`, then `[a-z0-9-]`, at most 31 characters. */
export const PoolName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,30}$/, 'a pool name is 1–31 of a–z, 0–9 and -, the first a letter')

const whole = (min: number, max: number) => z.int().min(min).max(max)

/** A ref or an address goes into a file of the Sprite as it is: only characters that no shell or parser minds. */
const plain = (what: string) =>
  z
    .string()
    .min(1)
    .max(300)
    .regex(/^[A-Za-z0-9._/:@-]+$/, `${what} may have only letters, digits and . _ / : @ -`)
    .regex(/^(?!-)/, `${what} may not begin with -: git would take it for an option`)

/** What is built. Another template is another revision. */
export const Template = z.strictObject({
  /** Branch, tag or commit of OpenClaw. Each build resolves it and records the commit. */
  openclawRef: plain('openclawRef'),
  openclawRepo: plain('openclawRepo').regex(
    /^(?![a-z+]+:\/\/[^/]*@)/i,
    'openclawRepo may not carry a user or a token: the spec is shown to every viewer',
  ),
  xmtpEnv: z.enum(['dev', 'production']),
})
export type Template = z.infer<typeof Template>

/** The desired state of a pool, complete. Numbers in seconds where the name says so, else counts. */
export const PoolSpec = z.strictObject({
  /** Ready and unclaimed ones to keep: a floor, not a size. */
  minIdle: whole(0, 10_000),
  /** Everything alive, in whatever state, counts against it. */
  maxTotal: whole(1, 20_000),
  /** Idle ones above this are removed, oldest first; null: nothing idle is ever removed for being too many. */
  maxIdle: whole(0, 20_000).nullable(),
  template: Template,
  claim: z.strictObject({
    /** What a claim finds when nothing is idle: a refusal, or a place in the line. */
    onEmpty: z.enum(['reject', 'wait']),
    waitSecondsMax: whole(1, 3600),
    /** From acceptance to delivery; a claim that is undelivered by then is `Expired`. */
    deliverySeconds: whole(5, 600),
    /** Instances that are tried for one claim. */
    attempts: whole(1, 10),
    /** From `Ready` to `Expired`; null: until released. */
    ttlSeconds: whole(10, 31_536_000).nullable(),
    /** From when the API saw a caller without an Idempotency-Key go away unanswered until its claim is released. */
    unseenSeconds: whole(1, 86_400),
    joinAttempts: whole(1, 10),
    /** One link, name and instructions within it are one claim: a double tap. 0: each is a claim of its own. */
    joinDedupeSeconds: whole(0, 3600),
    joinRequests: z.strictObject({
      enabled: z.boolean(),
      intervalSeconds: whole(1, 60),
      forSeconds: whole(1, 3600),
    }),
  }),
  recycle: z.strictObject({
    enabled: z.boolean(),
    /** Lives of one Sprite after which it is replaced. */
    maxReuses: whole(0, 1000),
    maxAgeSeconds: whole(60, 31_536_000),
    /** A restore counts only when its stream said `complete`. Off: a clean end goes on to the disk's proof. */
    requireComplete: z.boolean(),
    /** Keep what could not be proven clean for a look, instead of deleting it. */
    quarantine: z.boolean(),
    quarantineMax: whole(0, 100),
    quarantineSeconds: whole(60, 31_536_000),
  }),
  heal: z.strictObject({
    /** Between two probes of one idle or claimed instance. */
    intervalSeconds: whole(1, 3600),
    /** Failed probes in a row before the ladder begins. */
    strikes: whole(1, 20),
  }),
  limits: z.strictObject({
    /** Builds between pending and idle at one time. */
    createConcurrency: whole(1, 1000),
    /** Calls of create a minute, over the whole Sprites account. */
    createsPerMinute: whole(1, 1_000_000),
  }),
  failure: z.strictObject({
    /** Builds of one revision that fail in a row before creation stops. */
    threshold: whole(1, 100),
    /** From then until one build is tried; doubles each time, up to an hour. */
    openSeconds: whole(1, 86_400),
  }),
  paused: z.strictObject({ create: z.boolean(), delete: z.boolean(), heal: z.boolean() }),
})
export type PoolSpec = z.infer<typeof PoolSpec>

/** What differs by deployment; the rest of the defaults is the same everywhere. */
export interface SpecDefaults {
  minIdle: number
  maxTotal: number
  template: Template
  healIntervalSeconds: number
  createsPerMinute: number
}

export function defaultSpec(defaults: SpecDefaults): PoolSpec {
  return {
    minIdle: defaults.minIdle,
    maxTotal: defaults.maxTotal,
    maxIdle: null,
    template: defaults.template,
    claim: {
      onEmpty: 'reject',
      waitSecondsMax: 300,
      deliverySeconds: 90,
      attempts: 3,
      ttlSeconds: null,
      unseenSeconds: 60,
      joinAttempts: 3,
      joinDedupeSeconds: 60,
      joinRequests: { enabled: true, intervalSeconds: 5, forSeconds: 300 },
    },
    recycle: {
      enabled: true,
      maxReuses: 10,
      maxAgeSeconds: 604_800,
      requireComplete: true,
      quarantine: false,
      quarantineMax: 3,
      quarantineSeconds: 86_400,
    },
    heal: { intervalSeconds: defaults.healIntervalSeconds, strikes: 3 },
    limits: { createConcurrency: 50, createsPerMinute: defaults.createsPerMinute },
    failure: { threshold: 3, openSeconds: 300 },
    paused: { create: false, delete: false, heal: false },
  }
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
const isObject = (value: unknown): value is { [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** RFC 7396. `null` removes, so that the default comes back when the result is laid over the defaults again. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged: Record<string, unknown> = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key]
    else merged[key] = mergePatch(merged[key], value)
  }
  return merged
}

/** @throws Invalid with every fault and its path. */
export function parseSpec(value: unknown): PoolSpec {
  const parsed = PoolSpec.safeParse(value)
  if (parsed.success) return parsed.data
  throw new Invalid('the spec is not valid', toFieldFaults(parsed.error.issues))
}

/**
 * A spec as a row holds it: null when it does not parse. A field that an older release did not know takes its default, so
 * that an upgrade finds every pool in force; an unknown one, or a wrong value, does not pass.
 */
export function storedSpec(raw: unknown): PoolSpec | null {
  const template = isObject(raw) ? Template.safeParse(raw.template).data : undefined
  if (!isObject(raw) || !template || raw.minIdle === undefined || raw.maxTotal === undefined) return null
  const defaults = defaultSpec({ ...FIRST_RELEASE, template })
  return PoolSpec.safeParse(withNullables(mergePatch(defaults, raw), defaults)).data ?? null
}

/** For fields that a stored spec lacks; the counts are always there. */
const FIRST_RELEASE = { minIdle: 0, maxTotal: 1, healIntervalSeconds: 20, createsPerMinute: 10 }

/** PUT: what is left out takes its default. @throws Invalid */
export function specFromPut(body: unknown, defaults: PoolSpec): PoolSpec {
  if (!isObject(body))
    throw new Invalid('the spec is not valid', [{ path: '', message: 'must be a JSON object' }])
  return parseSpec(withNullables(mergePatch(defaults, body), defaults))
}

/** PATCH: what is left out stays; null puts the default back. @throws Invalid */
export function specFromPatch(current: PoolSpec, body: unknown, defaults: PoolSpec): PoolSpec {
  if (!isObject(body))
    throw new Invalid('the patch is not valid', [{ path: '', message: 'must be a JSON object' }])
  return parseSpec(withNullables(mergePatch(defaults, mergePatch(current, body)), defaults))
}

/** A merge patch can only remove: fields whose default is null need that null back. */
function withNullables(merged: unknown, defaults: unknown): unknown {
  if (!isObject(merged) || !isObject(defaults)) return merged
  const whole: Record<string, unknown> = { ...merged }
  for (const [key, value] of Object.entries(defaults)) {
    if (value === null && !(key in whole)) whole[key] = null
    else if (isObject(value) && key in whole) whole[key] = withNullables(whole[key], value)
    else if (!(key in whole)) whole[key] = value
  }
  return whole
}

/** Dotted paths of the fields whose values differ, leaves only. */
export function differingFields(a: unknown, b: unknown, path = ''): string[] {
  if (isObject(a) && isObject(b))
    return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
      differingFields(a[key], b[key], path ? `${path}.${key}` : key),
    )
  return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
}

/** Fields that a PUT of `body` would reset though it does not name them: the caller probably did not mean to. */
export function fieldsResetByPut(current: PoolSpec, body: unknown, next: PoolSpec): string[] {
  return differingFields(current, next).filter((path) => !isNamed(body, path.split('.')))
}

function isNamed(body: unknown, path: readonly string[]): boolean {
  const [key, ...rest] = path
  if (key === undefined) return true
  if (!isObject(body) || !(key in body)) return false
  return rest.length === 0 || body[key] === null || isNamed(body[key], rest)
}

/** Kept in `pools.status`; counts are not here, they are read. */
export const PoolStatus = z.object({
  observedGeneration: z.number().default(0),
  conditions: z.array(Condition).default([]),
  /** The last spec that parsed: in force while the row does not. */
  lastGoodSpec: z.unknown().transform(storedSpec).default(null),
  /** Sentences: what the last plan does and what it leaves, for a person. */
  plan: z.array(z.string()).default([]),
  /** Sprites of ours that no row knows; they count against `maxTotal`. */
  orphans: z.number().default(0),
})
export type PoolStatus = z.infer<typeof PoolStatus>

export interface Pool {
  name: string
  uid: string
  generation: number
  revision: number
  planVersion: number
  /** As stored: may not parse when somebody wrote it past the API. */
  rawSpec: unknown
  spec: PoolSpec | null
  status: PoolStatus
  appliedEnvironment: Record<string, string>
}

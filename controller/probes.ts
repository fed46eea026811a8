/**
 * The heartbeat: asks every idle and claimed gateway for its status, in parallel, each with its own deadline, so that one
 * that hangs delays nobody. Reads and writes in batches; never locks or versions a row that a claim may want.
 */
import PQueue from 'p-queue'
import { type Clock, sleep } from '../specs/clock.ts'
import type { Sql } from '../specs/db/connect.ts'
import { type ProbeResult, type ProbeTarget, probeTargets, writeProbes } from '../specs/db/probes.ts'
import type { Random } from '../specs/random.ts'
import type { GatewayClient } from './gateway/client.ts'

export interface HeartbeatDeps {
  sql: Sql
  clock: Clock
  random: Random
  gateway: GatewayClient
  pool: string
  /** The spec's, read again for each sweep. */
  every(): { intervalMs: number; strikes: number; paused: boolean }
  look(instanceId: string): void
  /** How many were asked, and how many of them did not answer as they should. */
  swept?(asked: number, ill: number): void
  onError(error: unknown): void
}

/** Probes at one time. */
const SLOTS = 200
/** ms. A wake of 15 s costs no strike. */
const PROBE_MS = 20_000
const BATCH = 1_000

/** Sweeps until `signal` aborts; the next one begins only after the last one's end. */
export async function heartbeat(deps: HeartbeatDeps, signal: AbortSignal): Promise<void> {
  const { clock } = deps
  while (!signal.aborted) {
    const startedAt = clock.monotonic()
    const { intervalMs, paused } = deps.every()
    if (!paused) await sweep(deps, signal).catch(deps.onError)
    const rest = Math.max(intervalMs / 10, intervalMs - (clock.monotonic() - startedAt))
    await sleep(clock, rest, signal).catch(() => {})
  }
}

export async function sweep(deps: HeartbeatDeps, signal: AbortSignal): Promise<void> {
  const targets = await probeTargets(deps.sql, deps.pool)
  const slots = new PQueue({ concurrency: SLOTS })
  const results = await Promise.all(targets.map((target) => slots.add(() => probe(deps, target, signal))))
  if (signal.aborted) return
  const seen = results.filter((result): result is ProbeResult => result !== undefined)
  deps.swept?.(seen.length, seen.filter(({ ok }) => !ok).length)
  for (let from = 0; from < seen.length; from += BATCH) {
    const batch = seen.slice(from, from + BATCH)
    for (const id of await writeProbes(deps.sql, batch, deps.every().strikes)) deps.look(id)
    // A conversation on an idle gateway is somebody's, whoever made it: not a matter of strikes.
    for (const { id, verdict } of batch) if (verdict === 'bound') deps.look(id)
  }
}

async function probe(
  { gateway, clock, random }: HeartbeatDeps,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeResult> {
  await sleep(clock, random.fraction() * 250, signal).catch(() => {})
  const startedAt = clock.monotonic()
  const state = await gateway.status(target.spriteUrl, target.gatewayKey, { timeoutMs: PROBE_MS }, signal)
  const { ok, verdict } = judge(state, target)
  return {
    id: target.id,
    ok,
    verdict,
    latencyMs: Math.round(clock.monotonic() - startedAt),
    resourceVersion: target.resourceVersion,
  }
}

/** Healthy is the route's own JSON; for a claimed one with its conversation, and streaming. */
function judge(
  state: Awaited<ReturnType<GatewayClient['status']>>,
  target: Pick<ProbeTarget, 'bound' | 'conversationId'>,
): { ok: boolean; verdict: string } {
  if (state.kind === 'unauthorized') return { ok: false, verdict: 'unauthorized' }
  if (state.kind === 'down') return { ok: false, verdict: `down: ${state.why}`.slice(0, 200).toWellFormed() }
  if (!target.bound)
    return state.conversationId === null ? { ok: true, verdict: 'ready' } : { ok: false, verdict: 'bound' }
  if (state.conversationId !== target.conversationId) return { ok: false, verdict: 'another conversation' }
  return state.streaming === false
    ? { ok: false, verdict: 'not streaming' }
    : { ok: true, verdict: 'streaming' }
}

import { z } from 'zod'
import type { FaultWish } from './faults/schema.ts'
import type { Behaviour } from './memory-engine/repository.ts'

const ANSWER_LIMIT_MS = 10_000
const injected = z.object({ id: z.string(), met: z.number() })

export interface InjectedFault {
  id: string
  /** How many requests met it so far. */
  met(): Promise<number>
  /** No request meets it any more. */
  remove(): Promise<void>
}

/** What an emulator is told beside the Sprites API, from another process or this one. */
export interface EmulatorControl {
  inject(fault: FaultWish): Promise<InjectedFault>
  /** What was seen for hours in January 2026, until the returned function is called: all Sprites seem to be gone. */
  incident(as: 'unauthorized' | 'not-found' | 'empty-list'): Promise<() => Promise<void>>
  /** Throws with the names of those faults that no request has met. */
  expectMet(): Promise<void>
  clearFaults(): Promise<void>
  putToSleep(sprite: string, to: 'warm' | 'cold'): Promise<void>
  /** A new version in the memory engine's repository; resolves to its commit. */
  push(branch: string, behaviour: Partial<Behaviour>): Promise<string>
}

/** @param emulator its base URL and token. */
export function controlEmulator({ url, token }: { url: string; token: string }): EmulatorControl {
  async function call(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${url}/__emulator${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      ...(body ? { body: JSON.stringify(body) } : {}),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`emulator: ${method} ${path}: ${response.status} ${text.slice(0, 500)}`)
    return text === '' ? null : JSON.parse(text)
  }

  const control: EmulatorControl = {
    async inject(fault) {
      const { id } = injected.parse(await call('POST', '/faults', fault))
      return {
        id,
        async met() {
          const { faults } = z.object({ faults: z.array(injected) }).parse(await call('GET', '/faults'))
          return faults.find((found) => found.id === id)?.met ?? 0
        },
        remove: async () => void (await call('DELETE', `/faults/${id}`)),
      }
    },
    async incident(as) {
      const refused = {
        unauthorized: { status: 401, body: { error: 'authentication failed' } },
        'not-found': { status: 404, body: { error: 'sprite not found' } },
      }
      const fault =
        as === 'empty-list'
          ? await control.inject({ kind: 'omit', on: 'list', times: null })
          : await control.inject({ kind: 'refuse', ...refused[as], on: 'any', times: null })
      return () => fault.remove()
    },
    expectMet: async () => void (await call('POST', '/faults/expect-met')),
    clearFaults: async () => void (await call('DELETE', '/faults')),
    putToSleep: async (sprite, to) => void (await call('POST', `/sprites/${sprite}/sleep`, { to })),
    async push(branch, behaviour) {
      const answer = await call('POST', '/commits', { branch, behaviour })
      return z.object({ commit: z.string() }).parse(answer).commit
    },
  }
  return control
}

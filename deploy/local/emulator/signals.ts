import { constants } from 'node:os'

export function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name)
}

/** `TERM` and `SIGTERM` are the same; null for what is no signal. */
export function toSignal(name: string): NodeJS.Signals | null {
  const full = name.startsWith('SIG') ? name : `SIG${name}`
  return isSignal(full) ? full : null
}

/** How a shell tells a death by a signal. */
export const codeOfSignal = (signal: NodeJS.Signals): number => 128 + constants.signals[signal]

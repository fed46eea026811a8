import { InsecureUrl } from './errors.ts'

const LOOPBACK = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/

/** A key travels with every request: over plain http only where the request never leaves the machine. */
export function requireSecureUrl(url: string): void {
  const parsed = URL.parse(url)
  if (!parsed) throw new InsecureUrl('not a URL')
  if (parsed.username || parsed.password) throw new InsecureUrl('a URL must not hold a password')
  if (parsed.protocol === 'https:') return
  if (parsed.protocol === 'http:' && LOOPBACK.test(parsed.hostname)) return
  throw new InsecureUrl(`${parsed.protocol}//${parsed.host} is neither https nor plain http on loopback`)
}

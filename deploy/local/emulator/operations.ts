/** What can be asked of the emulator, by names that faults and latencies use. `url` is any other request to a Sprite's URL. */
export const OPERATIONS = [
  'list',
  'create',
  'get',
  'update',
  'delete',
  'check',
  'restart',
  'upgrade',
  'exec',
  'session.list',
  'session.attach',
  'session.kill',
  'fs.read',
  'fs.write',
  'fs.list',
  'fs.delete',
  'fs.rename',
  'fs.copy',
  'fs.chmod',
  'fs.chown',
  'checkpoint.list',
  'checkpoint.get',
  'checkpoint.create',
  'checkpoint.restore',
  'service.list',
  'service.get',
  'service.put',
  'service.delete',
  'service.start',
  'service.stop',
  'service.restart',
  'service.signal',
  'service.logs',
  'gateway.status',
  'gateway.conversation',
  'gateway.join',
  'url',
] as const
export type Operation = (typeof OPERATIONS)[number]

/** The operation that a request to a Sprite's public URL is. */
export function urlOperation(path: string): Operation {
  const [pathname] = path.split('?')
  if (pathname === '/convos/status') return 'gateway.status'
  if (pathname === '/convos/conversation') return 'gateway.conversation'
  if (pathname === '/convos/join') return 'gateway.join'
  return 'url'
}

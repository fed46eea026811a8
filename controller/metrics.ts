import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { LANES, type WorkQueue } from './workqueue.ts'

/** Labels are small closed sets; an id is a log field, never a label. */
export interface ControllerMetrics {
  reconciled(controller: string, lane: string, result: 'success' | 'error', seconds: number): void
  called(outside: 'sprites' | 'gateway', operation: string, result: string, seconds: number): void
  leading(pool: string, epoch: number | null): void
  watch(pool: string, queue: WorkQueue): () => void
}

export function controllerMetrics(registry: Registry): ControllerMetrics {
  const registers = [registry]
  const total = new Counter({
    name: 'reconcile_total',
    help: 'Passes, by controller and result.',
    labelNames: ['controller', 'result'],
    registers,
  })
  const seconds = new Histogram({
    name: 'workqueue_work_duration_seconds',
    help: 'How long one pass takes.',
    labelNames: ['lane'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60, 180],
    registers,
  })
  const outside = new Histogram({
    name: 'clawpool_outside_request_duration_seconds',
    help: 'Calls of the Sprites API and of gateways, by operation and class of result.',
    labelNames: ['outside', 'operation', 'result'],
    buckets: [0.02, 0.1, 0.5, 2, 10, 60],
    registers,
  })
  const leader = new Gauge({
    name: 'clawpool_leader',
    help: '1 while this process leads the pool.',
    labelNames: ['pool'],
    registers,
  })
  const queues = new Map<string, WorkQueue>()
  const depth = new Gauge({
    name: 'workqueue_depth',
    help: 'Keys that wait for a slot.',
    labelNames: ['lane'],
    registers,
    collect() {
      for (const lane of LANES)
        depth.set(
          { lane },
          [...queues.values()].reduce((sum, queue) => sum + queue.depth()[lane].waiting, 0),
        )
    },
  })
  return {
    reconciled(controller, lane, result, took) {
      total.inc({ controller, result })
      seconds.observe({ lane }, took)
    },
    called: (name, operation, result, took) => outside.observe({ outside: name, operation, result }, took),
    leading: (pool, epoch) => leader.set({ pool }, epoch === null ? 0 : 1),
    watch(pool, queue) {
      queues.set(pool, queue)
      return () => queues.delete(pool)
    },
  }
}

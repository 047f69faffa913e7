/**
 * @file How fast this machine multiplies matrices, measured through the engine that a run would use.
 */
import type { EngineName } from '../../shared/backend/backend.js'
import { memoryWeights } from '../../shared/backend/weights.js'
import { openBackend } from '../../shared/backend/open.node.js'
import { newGraph } from '../../shared/graph/ops/index.js'
import { derive } from '../../shared/random.js'
import { f32 } from '../../shared/tensor.js'

/** [rows, width] times [width, width]: long enough to keep all threads busy, short enough to wait for. The reference engine is far slower. */
const SIZES: Readonly<Record<EngineName, { readonly rows: number; readonly width: number }>> = {
  onnx: { rows: 256, width: 1024 },
  tfjs: { rows: 256, width: 1024 },
  reference: { rows: 64, width: 128 },
}
const PATIENCE_MS = 500
const MOST_RUNS = 20

export interface Calibration {
  readonly engine: string
  readonly threads: number
  /** The best of several runs of one product, its copying to and from the engine included. */
  readonly flops_per_second: number
}

export async function calibrate(engine: EngineName, threads: number): Promise<Calibration> {
  const { rows, width } = SIZES[engine]
  const builder = newGraph()
  builder.output('y', builder.input('x', 'f32', ['rows', width]).gemm(builder.weight('w', [width, width])))
  const random = (count: number): Float32Array => {
    const values = new Float32Array(count)
    derive(1, 'calibration').fillUniform(values, -1, 1)
    return values
  }
  const weights = memoryWeights(new Map([['w', { shape: [width, width], data: random(width * width) }]]), 'calibration')
  const backend = openBackend(engine, { threads, lanes: 1 })
  try {
    const program = await backend.compile(builder.finish(), weights, { name: 'calibration' })
    const x = f32([rows, width], random(rows * width))
    await program.run({ x }) // the first run is slower
    const start = performance.now()
    let bestMs = Infinity
    for (let run = 0; run < MOST_RUNS && (run === 0 || performance.now() - start < PATIENCE_MS); run++) {
      const before = performance.now()
      await program.run({ x })
      bestMs = Math.min(bestMs, performance.now() - before)
    }
    return { engine, threads, flops_per_second: (2 * rows * width * width * 1000) / bestMs }
  } finally {
    await backend.dispose()
  }
}

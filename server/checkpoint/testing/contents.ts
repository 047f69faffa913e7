/**
 * @file A checkpoint that has something of everything, for tests.
 */
import { f32, type F32Tensor } from '../../../shared/tensor.js'
import type { OptimizerState } from '../../../shared/train/optimizer.js'
import type { CheckpointContents } from '../contents.js'

const A = 'transformer.h.0.attn.c_attn.lora_A.weight'
const TOP = 'transformer.h.1.attn.c_attn.lora_A.weight'

function tensors(name: string, ...values: readonly number[]): Map<string, F32Tensor> {
  return new Map([[name, f32([1, values.length], values)]])
}

function moments(name: string, updates: number): OptimizerState {
  return { updates, mean: tensors(name, updates, -0, 1e-38), square: tensors(name, 0.5, updates, 2) }
}

/** @param round what it is the end of */
export function sampleContents(round: number): CheckpointContents {
  const bytes = { payload_bytes: 10 * round, wire_bytes: 12 * round, fp32_bytes: 40 * round, fp32_ratio: 0.25 }
  return {
    cutlayer: '0.1.0',
    modelDigest: 'ab'.repeat(32),
    strategy: 'fedavg',
    state: {
      round,
      attempt: 1,
      localSteps: 3,
      members: [
        { id: 'ada', part: { index: 1, count: 2 }, counts: { examples: 3, tokens: 40, evalExamples: 1 }, isReady: true },
        { id: 'bob', part: null, counts: null, isReady: false },
      ],
      clients: {
        adapter: tensors(A, round, 2, 3),
        moments: moments(A, 3 * round),
        keptRounds: new Map([['ada', round]]),
        strategy: new Map([['a name / with __metadata__', f32([], [7])]]),
        own: new Map([['ada', { round, adapter: tensors(A, 4, 5, 6), moments: moments(A, 2) }]]),
      },
      top: { adapter: tensors(TOP, 7, 8, 9), moments: moments(TOP, 3 * round), kept: new Map([['ada', moments(TOP, 1)]]) },
      traffic: [
        { round, attempt: 1, client: 'ada', direction: 'up', kind: 'control', messages: 1, payload_bytes: 0, wire_bytes: 9, fp32_bytes: 0 },
      ],
    },
    record: { best: [{ client: null, round: 1, eval_loss: 2.25 }], bytes: { up: 100, down: 200 }, cut: { up: bytes, down: bytes } },
    bestAdapters: new Map([[null, new Map([...tensors(A, 1, 1, 1), ...tensors(TOP, 2, 2, 2)])]]),
  }
}

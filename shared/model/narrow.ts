/**
 * @file Which models have small products.
 */
import type { Architecture } from './families/family.js'

/**
 * Products of narrower models are so small that two threads spend more on waiting for each other than two lanes on two micro-batches, and that
 * asking the system for memory anew in each step is a sixth of it. Wider ones lose little by either, and what they would hold twice is large.
 */
const NARROWER_THAN = 512

export function isNarrow({ hiddenSize }: Pick<Architecture, 'hiddenSize'>): boolean {
  return hiddenSize < NARROWER_THAN
}

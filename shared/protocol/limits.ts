/**
 * @file What a link promises to its two ends: sizes and times. The server's hold for both.
 */
import { z } from 'zod'

/** A chunk smaller than this, except a message's last, would cost more in envelopes than it carries. */
export const MIN_CHUNK_BYTES = 1024

export const LinkLimits = z.object({
  maxChunkBytes: z
    .int()
    .min(MIN_CHUNK_BYTES)
    .max(0x7fffffff)
    .describe('packed bytes of a message that travel in one chunk; a longer message travels in several'),
  /** Also what one direction of one link holds of a transfer under way. */
  maxMessageBytes: z.int().min(MIN_CHUNK_BYTES).max(0xffffffff).describe('packed bytes of the longest message'),
  heartbeatSeconds: z.number().positive().max(3600).describe('a sign of life goes out so often, whatever else does'),
  reconnectSeconds: z
    .number()
    .positive()
    .max(86400)
    .describe('how long a link outlives its connection, and how long the other end may be silent'),
})
export type LinkLimits = z.infer<typeof LinkLimits>

export const DEFAULT_LIMITS: LinkLimits = { maxChunkBytes: 2 ** 20, maxMessageBytes: 2 ** 28, heartbeatSeconds: 5, reconnectSeconds: 30 }

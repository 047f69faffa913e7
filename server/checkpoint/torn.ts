/**
 * @file What is wrong with a checkpoint that is not whole.
 */

/** A clause, as `moments.safetensors is missing`. The checkpoint before is taken in its place, so this is no error yet. */
export class Torn extends Error {}

/**
 * @file The model of a run, from the cache and the server: for a client that was given none.
 *
 * What the server says it has is checked against the digests of the welcome, and these against the model's digest, before anything is
 * fetched; what was fetched is checked before it gets its name in the cache. So the cache holds under a digest what belongs there, whoever
 * the server was.
 */
import { join } from 'node:path'
import { UserError } from '../shared/errors.js'
import { cacheFolder } from '../shared/model/cache.node.js'
import { digestOfTensors, tensorDigest, type DigestedTensor, type ModelDigest } from '../shared/model/digest.js'
import type { Family } from '../shared/model/families/family.js'
import { familyOf } from '../shared/model/families/index.js'
import { requiredJson } from '../shared/model/json-file.node.js'
import { MAX_PIECE_BYTES, TEXT_FILES } from '../shared/model/model-files.js'
import type { ModelFolder } from '../shared/model/model.node.js'
import { preparationOf, preparedNumbers, prepareWeights } from '../shared/model/prepared.node.js'
import { loadTokenizer } from '../shared/model/tokenizer.node.js'
import type { MessageOf, ModelCard, ModelFiles } from '../shared/protocol/messages.js'
import { fetchTexts, fetchWeights, textFolder, type Fetcher, type FetchProgress } from './fetch-files.node.js'
import type { FileSource } from './file-requests.js'

/** A message around a piece has some bytes of its own. */
const ENVELOPE_BYTES = 512
const LEAST_PIECE_BYTES = 512
const MAX_CONFIG_BYTES = 16 * 2 ** 20

export interface FetchOptions {
  readonly onProgress?: (progress: FetchProgress) => void
  readonly cache?: string
}

/**
 * The model that the welcome tells of. Its weights and its tokenizer are fetched when they are asked for, as far as the cache lacks them.
 *
 * @throws UserError MODEL_DIGEST_DIFFERS if the server's list does not belong to the model's digest, MODEL_UNSUPPORTED and MODEL_CORRUPT as
 *   for a folder, CACHE_UNWRITABLE, TRANSFER_CORRUPT, and what the source throws.
 */
export async function fetchModel(
  { model: card, limits }: Pick<MessageOf<'welcome'>, 'model' | 'limits'>,
  source: FileSource,
  { onProgress = () => {}, cache = cacheFolder() }: FetchOptions = {},
): Promise<ModelFolder> {
  const digest = await digestOfCard(card)
  const listed = await source.list()
  const sources = await sourcesOf(listed, card)
  const pieceBytes = Math.max(LEAST_PIECE_BYTES, Math.min(MAX_PIECE_BYTES, limits.max_message_bytes - ENVELOPE_BYTES))
  const fetcher: Fetcher = { source, pieceBytes, onProgress }
  const texts = await textFolder(listed, cache)
  await fetchTexts(texts, ['config.json'], fetcher)
  const raw = await requiredJson(join(texts.folder, 'config.json'), MAX_CONFIG_BYTES, 'MODEL_NOT_FOUND', 'MODEL_CORRUPT')
  const family = familyOf(raw)
  const config = family.parse(raw)
  const shapes = shapesOf(family, config, card, sources)
  return {
    definition: { family, config },
    architecture: family.architecture(config),
    name: card.name,
    revision: null,
    digest,
    sources: [...sources.values()],
    parameters: [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
    folder: texts.folder,
    async weights(names, { precision = 'fp32', signal } = {}) {
      const definition = { family, config }
      const wanted = [...names]
      const plain = preparationOf(definition, digest.model, 'fp32')
      const fetched = await fetchWeights({ names: wanted, preparation: plain, shapes, sources, listed, cache }, fetcher)
      if (precision === 'fp32') return fetched
      // What is fetched can be checked in float32 only; blocks are made of it here.
      const preparation = preparationOf(definition, digest.model, precision)
      return await prepareWeights({ ...preparation, source: preparedNumbers(fetched), names: wanted, cache, signal })
    },
    async tokenizer() {
      await fetchTexts(texts, TEXT_FILES, fetcher)
      return loadTokenizer(texts.folder)
    },
  }
}

// ---- what the server says, checked

/**
 * The model's digest, and its tensors'. A card whose parts do not fit could have other weights put under that digest in the cache.
 * @throws UserError MODEL_DIGEST_DIFFERS if the tensors' digests do not make the model's.
 */
export async function digestOfCard(card: ModelCard): Promise<ModelDigest> {
  const digest = await digestOfTensors(Object.entries(card.tensors))
  if (digest.model !== card.digest) throw notThatModel(card, "its tensors' digests do not make that digest")
  return digest
}

async function sourcesOf({ tensors }: ModelFiles, card: ModelCard): Promise<Map<string, DigestedTensor>> {
  const sources = new Map<string, DigestedTensor>()
  for (const [name, { dtype, shape, sha256: bytesSha256 }] of Object.entries(tensors)) {
    const tensor = { name, dtype, shape, bytesSha256 }
    if ((await tensorDigest(tensor)) !== card.tensors[name]) throw notThatModel(card, `${name} in its list has another digest`)
    sources.set(name, tensor)
  }
  const missing = Object.keys(card.tensors).find((name) => !sources.has(name))
  if (missing !== undefined) throw notThatModel(card, `${missing} is missing in its list`)
  return sources
}

/** The tensors that config.json asks for: those of the digest, in their shapes. */
function shapesOf(
  family: Family,
  config: unknown,
  card: ModelCard,
  sources: ReadonlyMap<string, DigestedTensor>,
): ReadonlyMap<string, readonly number[]> {
  const { layers } = family.architecture(config)
  // Before all its tensors are listed: a config.json can ask for any number of blocks.
  if (layers !== card.layers || layers > sources.size) throw notThatModel(card, `its config.json has ${layers} blocks`)
  const shapes = family.tensors(config)
  for (const name of new Set([...shapes.keys(), ...sources.keys()])) {
    if (shapes.get(name)?.join() !== sources.get(name)?.shape.join())
      throw notThatModel(card, `${name} is not what its config.json asks for`)
  }
  return shapes
}

function notThatModel(card: ModelCard, why: string): UserError {
  return new UserError({
    code: 'MODEL_DIGEST_DIFFERS',
    what: `what the server offers is not the model ${card.name} with the digest ${card.digest.slice(0, 16)}`,
    why,
    fix: "join a server that you trust, or give this client a copy of the server's model with --model",
  })
}

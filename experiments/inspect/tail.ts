/**
 * @file Reads a file of JSON lines as it grows.
 */
import { open } from 'node:fs/promises'
import type { z } from 'zod'

const PIECE_BYTES = 2 ** 18
const LINE_FEED = 0x0a

/** What a line was not. */
const UNKNOWN = Symbol('a line that this version does not know')

export class JsonLinesTail<Schema extends z.ZodType> {
  private offset = 0
  /** Of a line whose end is not written yet. */
  private begun: Uint8Array[] = []

  constructor(
    private readonly path: string,
    private readonly schema: Schema,
  ) {}

  /**
   * The lines that were ended since the last call; none while there is no file. A last line without its end waits for it, and one that does not
   * read is left out: whoever reads the whole file in the end says so.
   */
  async read(): Promise<z.infer<Schema>[]> {
    const file = await open(this.path, 'r').catch(() => null)
    if (file === null) return []
    try {
      const lines: z.infer<Schema>[] = []
      for (;;) {
        const { buffer, bytesRead } = await file.read(new Uint8Array(PIECE_BYTES), 0, PIECE_BYTES, this.offset)
        if (bytesRead === 0) return lines
        this.offset += bytesRead
        for (const text of this.ended(buffer.subarray(0, bytesRead))) {
          const line = this.parse(text)
          if (line !== UNKNOWN) lines.push(line)
        }
      }
    } finally {
      await file.close()
    }
  }

  /** The lines that end in this piece. Split as bytes, because a piece may end in the middle of a character. */
  private ended(piece: Uint8Array): string[] {
    const texts: string[] = []
    let start = 0
    for (let end = piece.indexOf(LINE_FEED); end >= 0; end = piece.indexOf(LINE_FEED, start)) {
      texts.push(Buffer.concat([...this.begun, piece.subarray(start, end)]).toString('utf8'))
      this.begun = []
      start = end + 1
    }
    if (start < piece.length) this.begun.push(piece.subarray(start))
    return texts
  }

  private parse(text: string): z.infer<Schema> | typeof UNKNOWN {
    try {
      const result = this.schema.safeParse(JSON.parse(text))
      return result.success ? result.data : UNKNOWN
    } catch {
      return UNKNOWN
    }
  }
}

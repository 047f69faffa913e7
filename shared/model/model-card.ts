/**
 * @file The README.md of an adapter: what it was made from and how, for people and for the hub.
 */

export interface AdapterCard {
  readonly title: string
  /** Sentences about what the adapter is and how it was made. */
  readonly paragraphs: readonly string[]
  /** Rows of the table of facts, in this order: `['Rounds', 5]`. */
  readonly facts: readonly (readonly [label: string, value: string | number])[]
}

function cell(value: string | number): string {
  return String(value).replaceAll('\\', '\\\\').replaceAll('|', '\\|').replace(/\s+/g, ' ')
}

/** The card as Markdown with the hub's front matter. baseModel: hub id or name. */
export function formatCard(card: AdapterCard, baseModel: string): string {
  // JSON strings are YAML strings, whatever a name holds.
  const front = [
    `base_model: ${JSON.stringify(baseModel)}`,
    'library_name: peft',
    'pipeline_tag: text-generation',
    'tags:',
    ...[`base_model:adapter:${baseModel}`, 'cutlayer', 'federated-learning', 'lora', 'split-learning'].map(
      (tag) => `- ${JSON.stringify(tag)}`,
    ),
  ]
  const facts = card.facts.map(([label, value]) => `| ${cell(label)} | ${cell(value)} |`)
  const table = facts.length > 0 ? [['| | |', '|---|---|', ...facts].join('\n')] : []
  return `${[`---\n${front.join('\n')}\n---`, `# ${cell(card.title)}`, ...card.paragraphs, ...table].join('\n\n')}\n`
}

import { describe, expect, test } from 'vitest'
import { formatCard, type AdapterCard } from './model-card.js'

const CARD: AdapterCard = {
  title: 'speeches',
  paragraphs: ['Made by split learning.'],
  facts: [
    ['Rounds', 5],
    ['Model digest', 'ab12'],
  ],
}

describe('the model card', () => {
  test('has the front matter that the hub reads, and the facts', () => {
    expect(formatCard(CARD, 'openai-community/gpt2')).toBe(
      `---
base_model: "openai-community/gpt2"
library_name: peft
pipeline_tag: text-generation
tags:
- "base_model:adapter:openai-community/gpt2"
- "cutlayer"
- "federated-learning"
- "lora"
- "split-learning"
---

# speeches

Made by split learning.

| | |
|---|---|
| Rounds | 5 |
| Model digest | ab12 |
`,
    )
  })
  test('keeps its table whole, whatever a fact holds', () => {
    expect(formatCard({ title: 't', paragraphs: [], facts: [['a|b', 'c\nd']] }, 'm')).toContain('| a\\|b | c d |\n')
  })
})

"use strict";
// The dead letters: products that need a person, and messages that nobody could read.

function Letters() {
  const pages = usePages("letters");
  const letters = useLive(
    (signal) => ask("GET", "/sync/dead-letters", { signal, query: { limit: 20, cursor: pages.cursor } }),
    [pages.cursor],
  );
  return html`<${Screen} title="Dead letters">
    <${Loaded} from=${letters}>${(data) => html`<${Fragment}>
      <${Spoken} text=${inQueue(data.count)} />
      <p>${inQueue(data.count)} Nothing more is tried for these products: mend the cause, then replay them.</p>
      <${Table} caption="Products with a dead letter" rows=${data.items} keyOf=${(each) => each.productId}
        columns=${LETTER_COLUMNS} empty="No product has failed: none needs a person." />
      <${Pages} pages=${pages} nextCursor=${data.nextCursor} />
      ${data.poison.length > 0 && html`<${Poison} messages=${data.poison} />`}
    <//>`}<//>
  <//>`;
}

/** Approximately: the queue says so itself. */
const inQueue = (letters) => (letters === null
  ? "The dead-letter queue does not answer."
  : `${count(letters, "letter is", "letters are")} in the dead-letter queue.`);

const LETTER_COLUMNS = [
  { name: "Product", cell: (each) => html`<${ProductLink} id=${each.productId} name=${each.name} />` },
  { name: "Why", cell: (each) => html`<${Status} status=${each.reason} />${each.deleted && html` <${Badge} tone="plain">deletion<//>`}` },
  { name: "Last error", cell: (each) => each.lastError ?? html`<span class="soft">none</span>` },
  { name: "Version", numeric: true, cell: (each) => number(each.version) },
  { name: "Attempts", numeric: true, cell: (each) => number(each.attempts) },
  { name: "Failed", cell: (each) => html`<${When} time=${each.failedAt} none="not known" />` },
  { name: "Letter", cell: (each) => (each.letterSent ? "sent" : html`<span class="soft">on its way</span>`) },
];

const Poison = ({ messages: found }) => html`<section aria-labelledby="poison">
  <h2 id="poison">Messages that could not be read</h2>
  <${Table} caption="Poison messages" rows=${found} keyOf=${(each) => each.messageId} empty="" columns=${[
    { name: "Seen", cell: (each) => html`<${When} time=${each.seenAt} />` },
    { name: "Why", cell: (each) => each.reason ?? html`<span class="soft">not known</span>` },
    { name: "Message", cell: (each) => html`<code>${each.body}</code>` },
    { name: "Message id", cell: (each) => html`<code>${each.messageId}</code>` },
  ]} />
</section>`;

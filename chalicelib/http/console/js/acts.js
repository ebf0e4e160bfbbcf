"use strict";
// What operators have done: who, when, what and why.

function Acts() {
  const pages = usePages("acts");
  const acts = useLive(
    (signal) => ask("GET", "/sync/acts", { signal, query: { limit: 20, cursor: pages.cursor } }),
    [pages.cursor],
  );
  return html`<${Screen} title="Acts">
    <p>What operators have done, newest first.</p>
    <${Loaded} from=${acts}>${({ items, nextCursor }) => html`<${Fragment}>
      <${Table} caption="Acts of operators, newest first" rows=${items} keyOf=${(each) => each.id}
        columns=${ACT_COLUMNS} empty="Nobody has done anything yet." />
      <${Pages} pages=${pages} nextCursor=${nextCursor} />
    <//>`}<//>
  <//>`;
}

const ACT_COLUMNS = [
  { name: "When", cell: (each) => html`<${When} time=${each.at} />` },
  { name: "Who", cell: (each) => each.who || html`<span class="soft">unknown</span>` },
  { name: "What", cell: (each) => html`${ACTS[each.what] ?? each.what}${each.productId && html` <${ProductLink} id=${each.productId} />`}` },
  { name: "Why", cell: (each) => each.why ?? html`<span class="soft">no reason given</span>` },
  { name: "Details", cell: (each) => actDetails(each.details) },
];

function actDetails(details) {
  const known = Object.entries(details ?? {}).filter(([, value]) => value !== null && value !== "");
  if (!known.length) return html`<span class="soft">none</span>`;
  return known.map(([name, value]) => `${words(name)}: ${shownDetail(value)}`).join(", ");
}

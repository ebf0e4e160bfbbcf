"use strict";
// The products behind: a filtered list, a search, and the redrive of many.

const FILTERS = ["status", "behindSince", "errorKind", "q"];

function Behind({ query }) {
  const filters = {
    status: query.getAll("status").filter((each) => BEHIND.includes(each)),
    behindSince: query.get("behindSince") ?? "",
    errorKind: query.get("errorKind") ?? "",
    q: query.get("q") ?? "",
  };
  const pages = usePages(JSON.stringify(filters));
  const [redrive, setRedrive] = useState(false);
  const list = useLive(
    (signal) => ask("GET", "/sync/products", { signal, query: { ...filters, limit: 20, cursor: pages.cursor } }),
    [filters, pages.cursor],
  );
  const actions = html`<${ActButton} kind="primary" onClick=${() => setRedrive(true)}>Redrive …<//>`;
  return html`<${Screen} title="Products behind" actions=${actions}>
    <${Filters} filters=${filters} />
    <${Loaded} from=${list}>${({ items, nextCursor }) => html`<${Fragment}>
      <${Spoken} text=${`${count(items.length, "product")} on this page`} />
      <${Table} caption="Products that the supply chain lacks, oldest change first" rows=${items}
        keyOf=${(each) => each.id} columns=${BEHIND_COLUMNS}
        empty=${noneBehind(filters, nextCursor)} />
      <${Pages} pages=${pages} nextCursor=${nextCursor} />
    <//>`}<//>
    ${redrive && html`<${RedriveDialog} filters=${filters} onClose=${() => { setRedrive(false); list.reload(); }} />`}
  <//>`;
}

function noneBehind(filters, nextCursor) {
  if (nextCursor) return "No match among the oldest products: the next page looks at younger ones.";
  const filtered = FILTERS.some((name) => filters[name].length);
  return filtered ? "No product matches these filters." : "No product is behind: all is delivered.";
}

const BEHIND_COLUMNS = [
  { name: "Product", cell: (each) => html`<${ProductLink} id=${each.id} name=${each.name} />` },
  { name: "Status", cell: (each) => html`<${Status} status=${each.status} />${each.deleted && html` <${Badge} tone="plain">deletion<//>`}` },
  { name: "Behind since", cell: (each) => html`<${When} time=${each.behindSince} />` },
  { name: "Attempts", numeric: true, cell: (each) => number(each.attempts) },
  { name: "Next attempt", cell: nextAttempt },
  { name: "Last error", cell: (each) => each.lastError ?? html`<span class="soft">none</span>` },
];

function nextAttempt(product) {
  if (product.held) return product.held;
  if (product.nextAttemptAt) return html`<${When} time=${product.nextAttemptAt} />`;
  const stuck = STATUSES[product.status]?.tone === "bad";
  return html`<span class="soft">${stuck ? "none: replay it" : "at once"}</span>`;
}

/** The filters are in the address, so that it can be passed on. */
function Filters({ filters }) {
  function change(changed) {
    const next = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...filters, ...changed })) {
      for (const each of [value].flat()) if (each) next.append(name, each);
    }
    const text = next.toString();
    location.replace(`#/behind${text && `?${text}`}`);
  }
  const toggle = (status) => change({
    status: filters.status.includes(status)
      ? filters.status.filter((each) => each !== status)
      : [...filters.status, status],
  });
  return html`<form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
    <fieldset><legend>Status</legend>
      ${BEHIND.map((status) => html`<label key=${status} class="choice">
        <input type="checkbox" checked=${filters.status.includes(status)} onChange=${() => toggle(status)} />
        ${STATUSES[status].label}
      </label>`)}
    </fieldset>
    <${DraftField} label="Behind since, or longer" type="datetime-local" value=${toInput(filters.behindSince)}
      onCommit=${(value) => change({ behindSince: fromInput(value) })} />
    <${KindField} value=${filters.errorKind} onCommit=${(errorKind) => change({ errorKind })} />
    <${DraftField} label="Text in the last error" type="search" value=${filters.q}
      onCommit=${(q) => change({ q })} />
    ${FILTERS.some((name) => filters[name].length) && html`<a class="button" href="#/behind">Clear the filters</a>`}
  </form>`;
}

const COMMON_KINDS = ["timeout", "connection", "http-429", "http-500", "http-503"];

function KindField({ value, onCommit }) {
  const id = useId();
  return html`<${Fragment}>
    <${DraftField} label="Error kind" list=${id} value=${value} placeholder="any" onCommit=${onCommit} />
    <datalist id=${id}>${COMMON_KINDS.map((kind) => html`<option key=${kind} value=${kind}>${errorKind(kind)}</option>`)}</datalist>
  <//>`;
}

// ---- redrive ----

const REDRIVEN = {
  "": "all that are stuck: exhausted and rejected",
  exhausted: "exhausted",
  rejected: "rejected",
  retrying: "retrying: try now what is tried again later",
};

/** First it only counts; what was counted is what is replayed. */
function RedriveDialog({ filters, onClose }) {
  const single = filters.status.length === 1 && REDRIVEN[filters.status[0]] ? filters.status[0] : "";
  const [form, setForm] = useState({ status: single, since: "", until: "", errorKind: filters.errorKind, reason: "" });
  const [counted, setCounted] = useState(null);
  const chosen = {
    status: form.status || undefined,
    since: fromInput(form.since),
    until: fromInput(form.until),
    errorKind: form.errorKind || undefined,
  };
  function change(name, value) {
    setForm((before) => ({ ...before, [name]: value }));
    if (name !== "reason") setCounted(null);
  }
  const field = (name) => (event) => change(name, event.target.value);
  async function act() {
    const reason = form.reason.trim() || undefined;
    const answer = await ask("POST", "/sync/redrive", { body: { ...chosen, reason } });
    return `${count(answer.count, "product is", "products are")} replayed`;
  }
  return html`<${ActDialog} title="Redrive products" act=${act} onClose=${onClose} ready=${counted > 0}
    label=${counted ? `Replay ${count(counted, "product")}` : "Replay"}>
    <p>Each is delivered again now, with a fresh budget of attempts.</p>
    <${Field} as="select" label="Which" value=${form.status} onChange=${field("status")}>
      ${Object.entries(REDRIVEN).map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
    <//>
    <div class="pair">
      <${Field} label=${form.status === "retrying" ? "Changed since" : "Failed since"} type="datetime-local" value=${form.since} onInput=${field("since")} />
      <${Field} label="Until" type="datetime-local" value=${form.until} onInput=${field("until")} />
    </div>
    <${KindField} value=${form.errorKind} onCommit=${(value) => change("errorKind", value)} />
    <${Reason} value=${form.reason} onInput=${(value) => change("reason", value)} />
    <${DryRun} chosen=${chosen} counted=${counted} setCounted=${setCounted} />
  <//>`;
}

function DryRun({ chosen, counted, setCounted }) {
  const [error, setError] = useState(null);
  async function dryRun() {
    setError(null);
    try {
      setCounted((await ask("POST", "/sync/redrive", { body: { ...chosen, dryRun: true } })).count);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      setError(problem);
    }
  }
  return html`<div class="dry-run">
    <button type="button" onClick=${dryRun}>Count first</button>
    <p role="status">${counted === null ? "" : `Would replay ${count(counted, "product")}.`}</p>
    <${Refusal} error=${error} />
  </div>`;
}

// ---- search ----

const ID = /^[0-9a-f]{24}$/;

/** An id leads to its product; anything else is looked for as sku and as the beginning of names. */
function SearchBox() {
  const [text, setText] = useState("");
  function submit(event) {
    event.preventDefault();
    const sought = text.trim();
    if (!sought) return;
    location.hash = ID.test(sought) ? `#/product/${sought}` : `#/search?q=${encodeURIComponent(sought)}`;
    setText("");
  }
  return html`<form class="search" role="search" onSubmit=${submit}>
    <label class="unseen" for="search">Find a product by id, sku or name</label>
    <input id="search" type="search" placeholder="Find by id, sku or name" value=${text}
      onInput=${(event) => setText(event.target.value)} />
    <button type="submit">Find</button>
  </form>`;
}

function Search({ query }) {
  const sought = query.get("q") ?? "";
  const pages = usePages(sought);
  const found = useLive((signal) => search(sought, pages.cursor, signal), [sought, pages.cursor]);
  return html`<${Screen} title=${`Search: ${sought}`}>
    ${session.has(READ) || html`<p class="notice warn">A search by sku or name needs the scope ${READ}. With an id it works.</p>`}
    <${Loaded} from=${found}>${({ items, nextCursor }) => html`<${Fragment}>
      <${Table} caption="Products found" rows=${items} keyOf=${(each) => each.id}
        columns=${FOUND_COLUMNS} empty="No product has this sku, or a name that begins so (upper and lower case as written)." />
      <${Pages} pages=${pages} nextCursor=${nextCursor} />
    <//>`}<//>
  <//>`;
}

async function search(sought, cursor, signal) {
  const get = (query) => ask("GET", "/products", { signal, query });
  const byName = get({ name: sought, limit: 20, cursor });
  // A sku is 64 characters long at most, and has its product on the first page.
  const bySku = cursor || sought.length > 64 ? { items: [] } : get({ sku: sought });
  const [named, coded] = await Promise.all([byName, bySku]);
  const ids = new Set(coded.items.map((each) => each.id));
  const items = [...coded.items, ...named.items.filter((each) => !ids.has(each.id))];
  return { items, nextCursor: named.nextCursor };
}

const FOUND_COLUMNS = [
  { name: "Product", cell: (each) => html`<${ProductLink} id=${each.id} name=${each.name} />` },
  { name: "Sku", cell: (each) => each.sku ?? html`<span class="soft">none</span>` },
  { name: "Status", cell: (each) => html`<${Status} status=${each.syncStatus} />` },
  { name: "Version", numeric: true, cell: (each) => number(each.version) },
  { name: "Changed", cell: (each) => html`<${When} time=${each.updatedAt} />` },
];

"use strict";
// One product: what it is, how far the supply chain is with it, and why.

function Product({ id }) {
  const [replay, setReplay] = useState(false);
  const product = useLive((signal) => loadProduct(id, signal), [id]);
  const { data } = product;
  const title = data?.sync.name ?? data?.fields?.name ?? id;
  const actions = html`<${ActButton} kind="primary" disabled=${!data} onClick=${() => setReplay(true)}>Replay …<//>`;
  return html`<${Screen} title=${title} actions=${actions}>
    <${Loaded} from=${product}>${({ sync, timeline, fields }) => html`<${Fragment}>
      <${Spoken} text=${`${title} is ${STATUSES[sync.status]?.label ?? sync.status}`} />
      <p class="subtitle"><${Status} status=${sync.status} />${sync.deleted && html`<${Badge} tone="plain">deleted<//>`}<code>${id}</code></p>
      ${timeline.summary && html`<p class="why">${capital(timeline.summary)}</p>`}
      <div class="product-columns">
        <section class="panel" aria-labelledby="timeline">
          <h2 id="timeline">What happened, and what comes next</h2>
          <${Timeline} timeline=${timeline} />
        </section>
        <div>
          <section class="panel" aria-labelledby="state">
            <h2 id="state">State</h2>
            <${SyncFacts} sync=${sync} />
          </section>
          <section class="panel" aria-labelledby="data">
            <h2 id="data">Data</h2>
            ${fields ? html`<${DataFacts} fields=${fields} />` : html`<p class="empty">${noFields(sync)}</p>`}
          </section>
        </div>
      </div>
    <//>`}<//>
    ${replay && html`<${ReplayDialog} id=${id} onClose=${() => { setReplay(false); product.reload(); }} />`}
  <//>`;
}

/** A deleted product has no data any more, but its state until the deletion has arrived. */
async function loadProduct(id, signal) {
  const path = `/products/${encodeURIComponent(id)}`;
  const [sync, timeline, fields] = await Promise.all([
    ask("GET", `${path}/sync`, { signal }),
    ask("GET", `${path}/sync/timeline`, { signal }),
    session.has(READ) ? ask("GET", path, { signal, exact: true }).catch(missing) : null,
  ]);
  return { sync, timeline, fields };
}

function missing(problem) {
  if (problem.status !== 404) throw problem;
  return null;
}

const noFields = (sync) => (sync.deleted ? "The product is deleted." : `To see the data the token needs the scope ${READ}.`);

const SyncFacts = ({ sync }) => html`<${Facts} rows=${[
  ["Version", number(sync.version)],
  ["Delivered version", sync.deliveredVersion === null ? "none" : number(sync.deliveredVersion)],
  ["Behind since", sync.behindSince && html`<${When} time=${sync.behindSince} />`],
  ["Failed", sync.failedAt && html`<${When} time=${sync.failedAt} />`],
  ["Held back", sync.held],
  ["Attempts", number(sync.attempts)],
  ["Replays", sync.budget ? number(sync.budget) : null],
  ["First attempt", sync.firstAttemptAt && html`<${When} time=${sync.firstAttemptAt} />`],
  ["Next attempt", sync.nextAttemptAt && html`<${When} time=${sync.nextAttemptAt} />`],
  ["Delivered", sync.syncCompletedAt && html`<${When} time=${sync.syncCompletedAt} />`],
  ["Last error", sync.lastError],
  ["Error kind", sync.lastErrorKind && errorKind(sync.lastErrorKind)],
  ["Trace id", sync.traceId && html`<code>${sync.traceId}</code>`],
]} />`;

const HIDDEN_FIELDS = new Set(["id", "syncStatus", "syncCompletedAt", "deletedAt"]);

const DataFacts = ({ fields }) => html`<${Facts} rows=${Object.entries(fields)
  .filter(([name, value]) => !HIDDEN_FIELDS.has(name) && value !== null)
  .map(([name, value]) => [name, shownField(name, value)])} />`;

function shownField(name, value) {
  if (name.endsWith("At")) return html`<${When} time=${value} />`;
  if (typeof value !== "object" || value instanceof Exact) return String(value);
  return html`<${Facts} rows=${Object.entries(value).map(([key, each]) => [key, String(each)])} />`;
}

// ---- the time line ----

const KINDS = {
  write: "Write",
  event: "Event",
  message: "Queue",
  attempt: "Attempt",
  held: "Held back",
  act: "Operator",
  letter: "Dead letter",
  next: "Next",
  delivered: "Delivered",
};

const Timeline = ({ timeline }) => html`<ol class="timeline">
  ${timeline.entries.map((entry, place) => html`<${Entry} key=${`${entry.kind} ${entry.at} ${place}`} entry=${entry} />`)}
</ol>`;

function Entry({ entry }) {
  const tone = entry.failed ? "failed" : entry.future ? "future" : entry.kind === "delivered" ? "done" : "past";
  const details = Object.entries(entry.details ?? {}).filter(([, value]) => value !== null && value !== "");
  return html`<li class=${tone}>
    <p class="moment"><span class="kind">${KINDS[entry.kind] ?? entry.kind}${entry.kind === "attempt" && entry.failed ? " failed" : ""}</span>
      ${entry.at ? html`<${When} time=${entry.at} />` : html`<span class="soft">${entry.future ? "time not known yet" : "now"}</span>`}</p>
    <p>${capital(entry.text)}</p>
    ${details.length > 0 && html`<details><summary>Details<span class="unseen"> of: ${entry.text}</span></summary>
      <${Facts} rows=${details.map(([name, value]) => [words(name), shownDetail(value)])} />
    </details>`}
  </li>`;
}

/** "durationSeconds" as "duration seconds". */
const words = (name) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

const shownDetail = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

function ReplayDialog({ id, onClose }) {
  const [reason, setReason] = useState("");
  async function act() {
    const body = { reason: reason.trim() || undefined };
    await ask("POST", `/products/${encodeURIComponent(id)}/sync`, { body });
    return "The newest version is delivered again now";
  }
  return html`<${ActDialog} title="Replay this product" label="Replay" act=${act} onClose=${onClose}>
    <p>Its newest version is delivered again now, with a fresh budget of attempts.</p>
    <${Reason} value=${reason} onInput=${setReason} />
  <//>`;
}

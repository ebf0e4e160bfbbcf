"use strict";
// The audit: the proof that the supply chain holds what the catalog says.

function Audit() {
  const [start, setStart] = useState(false);
  const audit = useLive((signal) => ask("GET", "/sync/audit", { signal }), []);
  const running = audit.data?.state === "running";
  const actions = html`<${ActButton} kind="primary" disabled=${!audit.data || running} onClick=${() => setStart(true)}>Start an audit …<//>`;
  return html`<${Screen} title="Audit" actions=${actions}>
    <p>An audit asks the supply chain for each product, and compares version and data with the catalog.</p>
    <${Loaded} from=${audit}>${(data) => html`<${Fragment}>
      <${Spoken} text=${spokenAudit(data)} />
      ${data.state === "none" ? html`<${Fragment}>
        <p class="empty">No audit has been made yet.</p>
        ${data.rolling && html`<${Rolling} audit=${data.rolling} />`}
      <//>` : html`<${AuditResult} audit=${data} />`}
    <//>`}<//>
    ${start && html`<${AuditDialog} onClose=${() => { setStart(false); audit.reload(); }} />`}
  <//>`;
}

const spokenAudit = (audit) => ({ none: "No audit", running: "The audit is running", done: auditResult(audit) })[audit.state];

/** What a finished audit says: the API's statement, and what follows from it. */
const auditResult = (audit) => audit.statement ?? "The audit is done";

/** Whether each product was compared, and none differed. */
const isProof = (audit) => audit.state === "done" && !audit.stoppedBy && !foundDifferences(audit) && !audit.unanswered && !audit.behind;

function auditHeading(audit) {
  if (audit.state === "running") return "Running";
  if (audit.stoppedBy) return "Stopped";
  const found = foundDifferences(audit);
  if (found) return `${count(found, "difference")} found`;
  return isProof(audit) ? "Proved" : "Not all could be compared";
}

function auditLevel(audit) {
  if (isProof(audit)) return "good";
  return audit.state === "running" || (foundDifferences(audit) && !openDifferences(audit) && !audit.unanswered) ? "plain" : "warn";
}

function AuditResult({ audit }) {
  const { differences } = audit;
  return html`<${Fragment}>
    <section class=${`verdict ${auditLevel(audit)}`} aria-labelledby="result">
      <h2 id="result">${auditHeading(audit)}</h2>
      <p>${audit.state === "running" ? audit.held ?? "Products are being compared." : capital(auditResult(audit))}</p>
      ${audit.state === "done" && html`<p>${whatFollows(audit)}</p>`}
      ${audit.state === "running" && html`<${Progress} label="Compared" done=${audit.checked} total=${audit.total} />`}
    </section>
    <div class="columns"><section class="panel" aria-labelledby="numbers">
      <h2 id="numbers">In numbers</h2>
      <${Facts} rows=${[
        ["Compared", `${number(audit.checked)} of ${number(audit.total)}`],
        ["Behind, not compared", number(audit.behind)],
        ["Without an answer", number(audit.unanswered)],
        ["Repaired", `${number(audit.repaired)} of ${number(foundDifferences(audit))}${audit.repair ? "" : " (repairs were not asked for)"}`],
        ["Started", html`<${When} time=${audit.startedAt} />`],
        ["By", audit.startedBy],
        ["Finished", audit.finishedAt && html`<${When} time=${audit.finishedAt} />`],
      ]} />
    </section>
    <section class="panel" aria-labelledby="differences">
      <h2 id="differences">Differences</h2>
      <${Facts} rows=${Object.keys(DIFFERENCES).map((kind) => [capital(DIFFERENCES[kind]), number(differences[kind] ?? 0)])} />
    </section></div>
    ${audit.rolling && html`<${Rolling} audit=${audit.rolling} />`}
    ${audit.examples.length > 0 && html`<section aria-labelledby="examples">
      <h2 id="examples">What differed</h2>
      <${Table} caption="Products that differed, the first 100" rows=${audit.examples}
        keyOf=${(each) => each.id} columns=${EXAMPLE_COLUMNS} empty="" />
    </section>`}
  <//>`;
}

/** What is left to do, if anything. */
function whatFollows(audit) {
  const open = openDifferences(audit);
  if (open) return `${count(open, "difference is", "differences are")} not repaired.`;
  return foundDifferences(audit) ? "All differences were repaired: another audit can prove it." : null;
}

/** The audit that reconcile makes by itself, a few products at a time. */
const Rolling = ({ audit }) => html`<section class="panel" aria-labelledby="rolling">
  <h2 id="rolling">The audit that runs by itself</h2>
  <p class="soft">A few products in each run of reconcile.</p>
  <${Facts} rows=${[
    ["Compared", `${number(audit.checked)} of about ${number(audit.total)}`],
    ["Differences", `${number(foundDifferences(audit))}, ${number(audit.repaired)} repaired`],
    ["Without an answer", number(audit.unanswered)],
    ["Started", audit.startedAt && html`<${When} time=${audit.startedAt} />`],
  ]} />
</section>`;

const EXAMPLE_COLUMNS = [
  { name: "Product", cell: (each) => html`<${ProductLink} id=${each.id} />` },
  { name: "Difference", cell: (each) => capital(DIFFERENCES[each.difference] ?? each.difference) },
  { name: "Version", numeric: true, cell: (each) => number(each.version) },
  { name: "Held", numeric: true, cell: (each) => (each.held === null ? "none" : number(each.held)) },
  { name: "Fields", cell: (each) => each.fields.join(", ") || html`<span class="soft">none</span>` },
  { name: "Repaired", cell: (each) => html`<${Badge} tone=${each.repaired ? "good" : "warn"}>${each.repaired ? "repaired" : "open"}<//>` },
  { name: "Seen", cell: (each) => html`<${When} time=${each.at} />` },
];

function AuditDialog({ onClose }) {
  const [reason, setReason] = useState("");
  const [repair, setRepair] = useState(true);
  async function act() {
    await ask("POST", "/sync/audit", { body: { reason: reason.trim() || undefined, repair } });
    return "The audit has started";
  }
  return html`<${ActDialog} title="Start an audit" label="Start" act=${act} onClose=${onClose}>
    <p>Every product is asked for, a few per second. It can take a while, and goes on by itself.</p>
    <${Reason} value=${reason} onInput=${setReason} />
    <label class="choice"><input type="checkbox" checked=${repair} onChange=${(event) => setRepair(event.target.checked)} />
      Repair what differs, by delivering it again</label>
  <//>`;
}

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
      ${data.state === "none" ? html`<p class="empty">No audit has been made yet.</p>` : html`<${AuditResult} audit=${data} />`}
    <//>`}<//>
    ${start && html`<${AuditDialog} onClose=${() => { setStart(false); audit.reload(); }} />`}
  <//>`;
}

const spokenAudit = (audit) => ({ none: "No audit", running: "The audit is running", done: auditResult(audit) })[audit.state];

function auditResult(audit) {
  if (audit.state !== "done") return "";
  const open = openDifferences(audit);
  if (audit.statement) return audit.statement;
  return open ? `The audit has found ${count(open, "difference")} that it did not repair` : "The audit is done";
}

function AuditResult({ audit }) {
  const { differences } = audit;
  const found = Object.values(differences).reduce((sum, each) => sum + each, 0);
  const level = audit.state === "running" ? "plain" : openDifferences(audit) || audit.unanswered ? "warn" : "good";
  return html`<${Fragment}>
    <section class=${`verdict ${level}`} aria-labelledby="result">
      <h2 id="result">${audit.state === "running" ? "Running" : audit.statement ? "Proved" : found ? `${count(found, "difference")} found` : "Done"}</h2>
      <p>${audit.statement ?? (audit.state === "running" ? "Products are being compared." : statementMissing(audit))}</p>
      ${audit.state === "running" && html`<${Progress} label="Compared" done=${audit.checked} total=${audit.total} />`}
    </section>
    <div class="columns"><section class="panel" aria-labelledby="numbers">
      <h2 id="numbers">In numbers</h2>
      <${Facts} rows=${[
        ["Compared", `${number(audit.checked)} of ${number(audit.total)}`],
        ["Behind, not compared", number(audit.behind)],
        ["Without an answer", number(audit.unanswered)],
        ["Repaired", `${number(audit.repaired)} of ${number(found)}${audit.repair ? "" : " (repairs were not asked for)"}`],
        ["Started", html`<${When} time=${audit.startedAt} />`],
        ["By", audit.startedBy],
        ["Finished", audit.finishedAt && html`<${When} time=${audit.finishedAt} />`],
      ]} />
    </section>
    <section class="panel" aria-labelledby="differences">
      <h2 id="differences">Differences</h2>
      <${Facts} rows=${Object.keys(DIFFERENCES).map((kind) => [capital(DIFFERENCES[kind]), number(differences[kind] ?? 0)])} />
    </section></div>
    ${audit.examples.length > 0 && html`<section aria-labelledby="examples">
      <h2 id="examples">What differed</h2>
      <${Table} caption="Products that differed, the first 100" rows=${audit.examples}
        keyOf=${(each) => each.id} columns=${EXAMPLE_COLUMNS} empty="" />
    </section>`}
  <//>`;
}

function statementMissing(audit) {
  const reasons = [
    audit.behind && `${count(audit.behind, "product was", "products were")} behind and not compared`,
    audit.unanswered && `${count(audit.unanswered, "question")} got no answer`,
    openDifferences(audit) && `${count(openDifferences(audit), "difference is", "differences are")} not repaired`,
  ].filter(Boolean);
  return reasons.length ? `${capital(reasons.join("; "))}.` : "All differences were repaired: the next audit can prove it.";
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

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

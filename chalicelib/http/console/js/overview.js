"use strict";
// The overview: is all well, and if not, what is wrong.

function Overview() {
  const sync = useLive((signal) => ask("GET", "/sync", { signal }), []);
  return html`<${Screen} title="Overview">
    <${Loaded} from=${sync}>${(data) => html`<${Fragment}>
      <${Verdict} sync=${data} />
      <${Counts} sync=${data} />
      <${Throughput} throughput=${data.throughput} />
      <div class="columns">
        <${Valve} sync=${data} reload=${sync.reload} />
        <${FailureKinds} kinds=${data.throughput.failureKinds} />
        <${UnderWay} sync=${data} />
      </div>
    <//>`}<//>
  <//>`;
}

/** The answer at a glance, and in words. */
function Verdict({ sync }) {
  const [worst, ...others] = findings(sync);
  useTitle(worst.text);
  return html`<section class=${`verdict ${worst.level}`} aria-labelledby="verdict">
    <h2 id="verdict">${worst.text}</h2>
    <${Spoken} text=${worst.text} />
    <p>${worst.more} <${More} link=${worst.link} /></p>
    ${others.length > 0 && html`<ul>${others.map((each) => html`<li key=${each.text} class=${each.level}>
      <strong>${each.text}.</strong> ${each.more} <${More} link=${each.link} />
    </li>`)}</ul>`}
  </section>`;
}

const More = ({ link }) => link && html`<a href=${link.href}>${link.text}</a>`;

function Counts({ sync }) {
  const oldest = sync.oldestUndeliveredSeconds;
  return html`<section aria-labelledby="counts">
    <h2 id="counts" class="unseen">Products by status</h2>
    <ul class="counts">
      ${Object.keys(STATUSES).map((status) => html`<${Count} key=${status} status=${status} value=${sync.products[status] ?? 0} />`)}
    </ul>
    <${Facts} rows=${[
      ["Oldest waiting change", oldest === null ? "none" : duration(oldest)],
      ["Time to converge", convergence(sync)],
      ["Delivered", `${number(sync.throughput.deliveredPerMinute)} per minute`],
      ["Failed attempts", `${number(sync.throughput.failedPerMinute)} per minute`],
    ]} />
  </section>`;
}

function Count({ status, value }) {
  const { tone, label, means } = STATUSES[status];
  const shown = html`<span class="value">${number(value)}</span><span class="label">${label}</span>`;
  const quiet = value === 0 || status === "delivered";
  return html`<li class=${quiet ? "quiet" : tone}>${status === "delivered"
    ? html`<span class="count" title=${means}>${shown}</span>`
    : html`<a class="count" title=${means} href=${`#/behind?status=${status}`}>${shown}</a>`}
  </li>`;
}

// ---- the chart ----

const CHART = { width: 600, up: 110, down: 40 };

/** Delivered upwards, failed downwards: the two can be told apart without their colours. */
function Throughput({ throughput }) {
  const { minutes } = throughput;
  const most = Math.max(...minutes.map((each) => each.delivered), 1);
  const worst = Math.max(...minutes.map((each) => each.failed), 1);
  const delivered = minutes.reduce((sum, each) => sum + each.delivered, 0);
  const failed = minutes.reduce((sum, each) => sum + each.failed, 0);
  const told = `${count(delivered, "delivery", "deliveries")} and ${count(failed, "failed attempt")} ` +
    `in the last ${minutes.length} minutes`;
  return html`<section class="panel" aria-labelledby="throughput">
    <h2 id="throughput">The last hour</h2>
    <figure class="chart">
      <div class="scale" aria-hidden="true">
        <span>${number(most)}</span><span class="zero">0</span><span>${failed ? number(worst) : ""}</span>
      </div>
      <svg viewBox=${`0 0 ${CHART.width} ${CHART.up + CHART.down}`} preserveAspectRatio="none" role="img"
        aria-label=${told}>
        ${minutes.map((each, place) => html`<${Bar} key=${each.at} minute=${each} place=${place}
          width=${CHART.width / minutes.length} most=${most} worst=${worst} />`)}
        <line class="axis" x1="0" x2=${CHART.width} y1=${CHART.up} y2=${CHART.up} />
      </svg>
      <div class="times" aria-hidden="true">
        ${minutes.length > 0 && html`<span>${clock(minutes[0].at, { seconds: false })}</span>`}
        <span>now</span>
      </div>
      <figcaption><span class="key delivered">delivered, up</span> <span class="key failed">failed attempts, down</span>
        <span class="soft">${told}.</span></figcaption>
    </figure>
    <details><summary>The numbers</summary>
      <${Table} caption="Deliveries and failed attempts per minute, newest first" keyOf=${(each) => each.at}
        rows=${minutes.filter((each) => each.delivered || each.failed).reverse()} empty="Nothing in this hour."
        columns=${[
          { name: "Minute", cell: (each) => clock(each.at, { seconds: false }) },
          { name: "Delivered", numeric: true, cell: (each) => number(each.delivered) },
          { name: "Failed attempts", numeric: true, cell: (each) => number(each.failed) },
        ]} />
    </details>
  </section>`;
}

function Bar({ minute, place, width, most, worst }) {
  const up = (minute.delivered / most) * CHART.up;
  const down = (minute.failed / worst) * CHART.down;
  return html`<g>
    <title>${`${clock(minute.at, { seconds: false })}: ${number(minute.delivered)} delivered, ${number(minute.failed)} failed`}</title>
    <rect class="delivered" x=${place * width + 1} y=${CHART.up - up} width=${width - 2} height=${up} />
    <rect class="failed" x=${place * width + 1} y=${CHART.up} width=${width - 2} height=${down} />
    <rect class="reach" x=${place * width} y="0" width=${width} height=${CHART.up + CHART.down} />
  </g>`;
}

// ---- the panels ----

/** The breaker and the pause: what holds calls back. */
function Valve({ sync, reload }) {
  const [asked, setAsked] = useState(false);
  const { breaker, control } = sync;
  return html`<section class="panel" aria-labelledby="valve">
    <h2 id="valve">Calls to the supply chain</h2>
    <${Facts} rows=${[
      ["Sync", control.paused ? html`<${Badge} tone="warn">paused<//>` : html`<${Badge} tone="good">running<//>`],
      ["Reason", control.paused && control.reason],
      ["Paused since", control.paused && control.since && html`<${When} time=${control.since} />`],
      ["Until", control.paused && (control.until ? html`<${When} time=${control.until} />` : "somebody resumes it")],
      ["Breaker", html`<${Badge} tone=${breaker.state === "closed" ? "good" : "bad"}>${breaker.state}<//>`],
      ["Last error", breaker.reason],
      ["Changed", breaker.since && html`<${When} time=${breaker.since} />`],
      ["Limit", breaker.callsPerSecond && `${number(breaker.callsPerSecond)} calls per second, and rising`],
    ].map(([name, value]) => [name, value || null])} />
    <div class="buttons">
      <${ActButton} kind=${control.paused ? "primary" : ""} onClick=${() => setAsked(true)}>
        ${control.paused ? "Resume …" : "Pause …"}
      <//>
    </div>
    ${asked && html`<${control.paused ? ResumeDialog : PauseDialog} onClose=${() => { setAsked(false); reload(); }} />`}
  </section>`;
}

function PauseDialog({ onClose }) {
  const [reason, setReason] = useState("");
  const [until, setUntil] = useState("");
  async function act() {
    await ask("PUT", "/sync/control", {
      body: { paused: true, reason: reason.trim() || undefined, until: fromInput(until) },
    });
    return "The sync is paused";
  }
  return html`<${ActDialog} title="Pause the sync" label="Pause" act=${act} onClose=${onClose}>
    <p>Writes are accepted meanwhile; no call is made, and no attempt is spent.</p>
    <${Reason} value=${reason} onInput=${setReason} />
    <${Field} label="Until" type="datetime-local" value=${until} hint="Without it, until somebody resumes."
      onInput=${(event) => setUntil(event.target.value)} />
  <//>`;
}

function ResumeDialog({ onClose }) {
  async function act() {
    await ask("PUT", "/sync/control", { body: { paused: false } });
    return "The sync runs again";
  }
  return html`<${ActDialog} title="Resume the sync" label="Resume" act=${act} onClose=${onClose}>
    <p>What has waited is delivered, oldest change first.</p>
  <//>`;
}

function FailureKinds({ kinds }) {
  const rows = Object.entries(kinds).sort(([, a], [, b]) => b - a);
  return html`<section class="panel" aria-labelledby="kinds">
    <h2 id="kinds">Why attempts failed</h2>
    <p class="soft">In the last 15 minutes.</p>
    ${rows.length
      ? html`<ul class="kinds">${rows.map(([kind, times]) => html`<li key=${kind}>
          <a href=${`#/behind?errorKind=${encodeURIComponent(kind)}`}>${errorKind(kind)}</a>
          <span class="value">${number(times)}</span></li>`)}</ul>`
      : html`<p class="empty">No attempt has failed.</p>`}
  </section>`;
}

function UnderWay({ sync }) {
  const { redrive, audit } = sync;
  return html`<section class="panel" aria-labelledby="under-way">
    <h2 id="under-way">Under way</h2>
    ${sync.catchingUp && html`<p>Catching up: what an outage or a pause has delayed is being brought forward.</p>`}
    ${redrive && html`<${Progress} label="Redrive" done=${redrive.done} total=${redrive.count} />`}
    ${audit?.state === "running" && html`<${Progress} label="Audit" done=${audit.checked} total=${audit.total} />`}
    ${!sync.catchingUp && !redrive && audit?.state !== "running" && html`<p class="empty">Nothing.</p>`}
    <h3>Last full audit</h3>
    <p>${audit?.state === "done" ? capital(auditResult(audit)) : "None has finished."}
      ${" "}<a href="#/audit">To the audit</a></p>
  </section>`;
}

function Progress({ label, done, total }) {
  return html`<div class="progress"><span>${label}: ${number(done)} of ${number(total)}</span>
    <progress aria-label=${label} value=${done} max=${Math.max(total, 1)}></progress></div>`;
}

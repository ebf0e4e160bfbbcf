"use strict";
// What several screens are made of.

const { h, render, Fragment } = preact;
const { useEffect, useId, useLayoutEffect, useRef, useState } = preactHooks;
const html = htm.bind(h);

// ---- live data ----

const REFRESH = 3000;
const SLOWEST = 30000;

/** Whether screens refresh by themselves; a switch in the header. */
const live = {
  on: true,
  toggle() {
    live.on = !live.on;
    window.dispatchEvent(new Event("live"));
  },
};

/**
 * Load again and again while the tab is visible, one request at a time; slower after failures.
 * Gives `{data, error, reload}`; the data of before stays while there is an error.
 */
function useLive(load, inputs) {
  const [state, setState] = useState({ key: "", data: null, error: null });
  const reload = useRef(() => {});
  const key = JSON.stringify(inputs);
  useEffect(() => {
    const loop = startLoop(load, {
      onData: (data) => setState({ key, data, error: null }),
      onError: (error) => setState((before) => ({ key, data: before.key === key ? before.data : null, error })),
    });
    reload.current = loop.run;
    return loop.stop;
  }, [key]);
  const current = state.key === key;
  return {
    data: current ? state.data : null,
    error: current ? state.error : null,
    reload: () => reload.current(),
  };
}

function startLoop(load, { onData, onError }) {
  const stopping = new AbortController();
  let timer = 0, running = false, due = false, failures = 0;

  async function run() {
    clearTimeout(timer);
    due = running;
    if (running) return;
    running = true;
    let wait = REFRESH;
    try {
      const data = await load(stopping.signal);
      failures = 0;
      if (!stopping.signal.aborted) onData(data);
    } catch (error) {
      if (stopping.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      failures += 1;
      // A missing scope stays missing.
      wait = error.status === 403 ? Infinity
        : Math.max((error.retryAfter ?? 0) * 1000, Math.min(SLOWEST, REFRESH * 2 ** failures));
      onError(error);
    } finally {
      running = false;
    }
    if (!stopping.signal.aborted) due ? run() : plan(wait);
  }
  function plan(wait) {
    clearTimeout(timer);
    if (live.on && !document.hidden && wait < Infinity) timer = setTimeout(run, wait);
  }
  function wake() {
    clearTimeout(timer);
    if (live.on && !document.hidden) run();
  }
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("live", wake);
  run();
  return {
    run,
    stop() {
      stopping.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
      window.removeEventListener("live", wake);
    },
  };
}

/** The pages of a list: `{cursor, first, next, back}`. `key` begins it anew. */
function usePages(key) {
  const [pages, setPages] = useState({ key, cursors: [null] });
  const cursors = pages.key === key ? pages.cursors : [null];
  return {
    cursor: cursors.at(-1) ?? undefined,
    number: cursors.length,
    next: (cursor) => setPages({ key, cursors: [...cursors, cursor] }),
    back: () => setPages({ key, cursors: cursors.slice(0, -1) }),
  };
}

// ---- messages ----

const messages = { show: () => {} };

/** Say what has happened: on the screen for a while, and to a screen reader. */
const announce = (text) => messages.show(text);

function Messages() {
  const [shown, setShown] = useState({ text: "", id: 0 });
  useEffect(() => {
    messages.show = (text) => setShown((before) => ({ text, id: before.id + 1 }));
  }, []);
  useEffect(() => {
    if (!shown.text) return undefined;
    const timer = setTimeout(() => setShown((now) => ({ ...now, text: "" })), 8000);
    return () => clearTimeout(timer);
  }, [shown.id]);
  return html`<div class="messages" role="status">
    ${shown.text && html`<p key=${shown.id} class="message">${shown.text}</p>`}
  </div>`;
}

/** Read a text to a screen reader whenever it changes. Not at first: the screen says it then. */
function Spoken({ text }) {
  const first = useRef(null);
  first.current ??= text;
  return html`<p class="unseen" role="status">${text === first.current ? "" : text}</p>`;
}

// ---- small things ----

const Badge = ({ tone, children }) => html`<span class=${`badge ${tone}`}>${children}</span>`;
const Status = ({ status }) =>
  html`<${Badge} tone=${STATUSES[status]?.tone ?? "plain"}>${STATUSES[status]?.label ?? status}<//>`;

/** A point in time: the clock, and how long ago. */
const When = ({ time, none = "never" }) => (time
  ? html`<time datetime=${time} title=${time}>${clock(time)} <span class="soft">${relative(time)}</span></time>`
  : html`<span class="soft">${none}</span>`);

const ProductLink = ({ id, name }) => html`<a class="product" href=${`#/product/${id}`}>
  ${name && html`<span>${name}</span>`}<code>${id}</code>
</a>`;

/** Facts in two columns: `[[name, value], …]`; those without a value are left out. */
const Facts = ({ rows }) => html`<dl class="facts">
  ${rows.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) =>
    html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;

/** What went wrong, as the API says it. */
function Refusal({ error, stale = false }) {
  if (!error) return null;
  return html`<div class="notice bad" role="alert">
    <strong>${error.title}</strong>
    <p>${error.detail}</p>
    ${error.errors?.length > 0 && html`<ul>${error.errors.map((each) =>
      html`<li key=${each.field}><code>${each.field}</code> ${each.message}</li>`)}</ul>`}
    ${stale && html`<p>What is shown is from before.</p>`}
  </div>`;
}

/** A screen's data, or that it is being loaded, or why there is none. */
function Loaded({ from, children }) {
  return html`<${Fragment}>
    <${Refusal} error=${from.error} stale=${from.data !== null} />
    ${from.data !== null ? children(from.data) : !from.error && html`<p class="soft loading">Loading …</p>`}
  <//>`;
}

/** A button for what only an operator may do; to others it says why it is disabled. */
function ActButton({ children, kind = "", disabled = false, onClick }) {
  const allowed = session.has(ADMIN);
  return html`<button type="button" class=${kind} disabled=${disabled || !allowed} onClick=${onClick}
    title=${allowed ? undefined : `The token lacks the scope ${ADMIN}`}>${children}</button>`;
}

/** Columns are `{name, cell, numeric}`. On a narrow screen each row is a card. */
function Table({ caption, columns, rows, keyOf, empty }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`<table role="table">
    <caption class="unseen">${caption}</caption>
    <thead role="rowgroup"><tr role="row">${columns.map((column) =>
      html`<th key=${column.name} role="columnheader" scope="col" class=${column.numeric ? "numeric" : ""}>${column.name}</th>`)}
    </tr></thead>
    <tbody role="rowgroup">${rows.map((row) => html`<tr role="row" key=${keyOf(row)}>${columns.map((column) =>
      html`<td key=${column.name} role="cell" data-label=${column.name} class=${column.numeric ? "numeric" : ""}>
        <div>${column.cell(row)}</div></td>`)}
    </tr>`)}</tbody>
  </table>`;
}

function Pages({ pages, nextCursor }) {
  if (pages.number === 1 && !nextCursor) return null;
  return html`<nav class="pages" aria-label="Pages">
    <button type="button" disabled=${pages.number === 1} onClick=${pages.back}>Previous</button>
    <span>Page ${pages.number}</span>
    <button type="button" disabled=${!nextCursor} onClick=${() => pages.next(nextCursor)}>Next</button>
  </nav>`;
}

/** An input with its label; `hint` is read with it. Other properties go to the input. */
function Field({ label, hint, as = "input", children, ...more }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <${as} id=${id} aria-describedby=${hint ? `${id}-hint` : undefined} ...${more}>${children}<//>
    ${hint && html`<p class="soft" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** A field that says its value when it is complete, and keeps what is being typed meanwhile. */
function DraftField({ value, onCommit, ...more }) {
  const [draft, setDraft] = useState(value);
  useEffect(() => setDraft(value), [value]);
  return html`<${Field} ...${more} value=${draft} onInput=${(event) => setDraft(event.target.value)}
    onChange=${(event) => onCommit(event.target.value.trim())} />`;
}

const Reason = ({ value, onInput }) => html`<${Field} label="Reason" value=${value} maxlength="500"
  hint="Kept with this act, for others to read." onInput=${(event) => onInput(event.target.value)} />`;

/** A modal dialog; the focus returns to where it was. */
function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  const id = useId();
  useLayoutEffect(() => {
    const opener = document.activeElement;
    dialog.current.showModal();
    return () => {
      dialog.current.close();
      opener?.focus();
    };
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby=${id} onClose=${onClose}>
    <h2 id=${id}>${title}</h2>${children}
  </dialog>`;
}

/** A dialog that does one thing: `act` does it and gives what to say then. */
function ActDialog({ title, label, act, onClose, ready = true, children }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  async function submit(event) {
    event.preventDefault();
    if (busy || !ready) return;
    setBusy(true);
    try {
      announce(await act());
      onClose();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      setError(problem);
      setBusy(false);
    }
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit}>
      ${children}
      <${Refusal} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class="primary" disabled=${busy || !ready}>${label}</button>
      </div>
    </form>
  <//>`;
}

/** Name the tab. A part of a screen that has more to say than the screen does so after it. */
function useTitle(title) {
  useEffect(() => {
    document.title = `${title} - Product Catalog`;
  }, [title]);
}

/** A screen: its heading gets the focus when the route changes. */
function Screen({ title, actions, children }) {
  useTitle(title);
  return html`<${Fragment}>
    <div class="heading"><h1 tabindex="-1">${title}</h1><div class="buttons">${actions}</div></div>
    ${children}
  <//>`;
}

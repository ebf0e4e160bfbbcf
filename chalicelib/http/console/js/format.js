"use strict";
// How values are shown: times, durations, numbers, and the words for each state. Pure functions.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const numberFormat = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const secondsFormat = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const yearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

const number = (value) => numberFormat.format(value);

/** "1 product", "3 products". */
const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** The two largest units of a time span in seconds: "3 min 20 s", "1 d 4 h". */
function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 1) return "less than 1 s";
  if (s < MINUTE) return `${Math.round(s)} s`;
  const units = [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => s >= size);
  const [[big, bigName], [small, smallName]] = units.slice(first, first + 2);
  const rest = Math.floor((s % big) / small);
  return `${Math.floor(s / big)} ${bigName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

/** A sentence of the API with a capital letter. */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const secondsSince = (time, now = Date.now()) => (now - Date.parse(time)) / 1000;

/** "3 min ago", "in 20 s". */
function relative(time, now = Date.now()) {
  const seconds = secondsSince(time, now);
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

/** A time of the reader's own time zone; with its day unless that is today. */
function clock(time, { seconds = true } = {}, now = new Date()) {
  const at = new Date(time);
  const text = (seconds ? secondsFormat : clockFormat).format(at);
  if (at.toDateString() === now.toDateString()) return text;
  const day = at.getFullYear() === now.getFullYear() ? dayFormat : yearFormat;
  return `${day.format(at)}, ${text}`;
}

/** The time of a datetime-local input as RFC 3339 in UTC; undefined for an empty one. */
const fromInput = (value) => (value ? new Date(value).toISOString() : undefined);

/** The value of a datetime-local input for a time in UTC. */
function toInput(time) {
  if (!time) return "";
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

const STATUSES = {
  pending: { tone: "wait", label: "pending", means: "not tried yet" },
  retrying: { tone: "wait", label: "retrying", means: "tried, and will be tried again" },
  delivered: { tone: "good", label: "delivered", means: "the supply chain holds the newest version" },
  exhausted: { tone: "bad", label: "exhausted", means: "all attempts have failed" },
  rejected: { tone: "bad", label: "rejected", means: "the supply chain refused the data" },
};
const BEHIND = ["pending", "retrying", "exhausted", "rejected"];

const ERROR_KINDS = {
  timeout: "no answer in time",
  connection: "connection failed",
  worker: "our workers failed",
};
const errorKind = (kind) =>
  ERROR_KINDS[kind] ?? kind.replace(/^http-(\d+)$/, "HTTP $1");

const DIFFERENCES = {
  missing: "missing there",
  older: "older there",
  newer: "newer there",
  different: "same version, other data",
  undeleted: "should be deleted",
};

const ACTS = {
  replay: "Replayed a product",
  redrive: "Replayed many products",
  pause: "Paused the sync",
  resume: "Resumed the sync",
  audit: "Started an audit",
};

const LEVELS = { bad: 0, warn: 1, good: 2 };

/**
 * What an operator must know of GET /sync, the worst first: `{level, text, more, link}`.
 * Without anything to say, one finding says that all is well.
 */
function findings(sync) {
  const found = [...broken(sync), ...unusual(sync)];
  if (!found.length) found.push(allIsWell(sync));
  return found.sort((a, b) => LEVELS[a.level] - LEVELS[b.level]);
}

function broken(sync) {
  const found = [];
  if (sync.breaker.state !== "closed") {
    const since = sync.breaker.since ? ` since ${clock(sync.breaker.since)}` : "";
    found.push({
      level: "bad",
      text: "The supply chain is down",
      more: `The breaker is ${sync.breaker.state}${since}: ${sync.breaker.reason ?? "no reason known"}. ` +
        "Products wait, and no attempt is spent.",
    });
  }
  if (sync.stuck.count) {
    const age = sync.stuck.oldestSeconds;
    found.push({
      level: "bad",
      text: `${count(sync.stuck.count, "product is", "products are")} stuck`,
      more: `Nothing more is tried for ${sync.stuck.count === 1 ? "it" : "them"}` +
        (age === null ? "." : `; the oldest for ${duration(age)}.`),
      link: { href: "#/behind?status=exhausted&status=rejected", text: "Show what is stuck" },
    });
  }
  if (sync.unreadable) {
    found.push({
      level: "bad",
      text: `${count(sync.unreadable, "document")} cannot be read`,
      more: "A newer version of the service may have written them.",
    });
  }
  return found;
}

function unusual(sync) {
  const found = [];
  if (sync.control.paused) {
    const { reason, until, since } = sync.control;
    found.push({
      level: "warn",
      text: "The sync is paused",
      more: [
        reason ? `Why: ${reason}.` : "No reason was given.",
        since ? `Since ${clock(since)}.` : "",
        until ? `It resumes by itself ${relative(until)}, at ${clock(until)}.` : "It stays so until somebody resumes.",
      ].filter(Boolean).join(" "),
    });
  }
  const open = openDifferences(sync.audit);
  if (open) {
    found.push({
      level: "warn",
      text: `The audit found ${count(open, "difference")}`,
      more: "The supply chain did not hold what the catalog says.",
      link: { href: "#/audit", text: "See the audit" },
    });
  }
  if (sync.oldestUndeliveredSeconds > 5 * MINUTE && sync.breaker.state === "closed" && !sync.control.paused) {
    found.push({
      level: "warn",
      text: `A change has been waiting for ${duration(sync.oldestUndeliveredSeconds)}`,
      more: "Its calls fail, and are tried again.",
      link: { href: "#/behind?status=pending&status=retrying", text: "Show what waits" },
    });
  }
  if (sync.outboxBacklog) {
    found.push({
      level: "warn",
      text: `${count(sync.outboxBacklog, "event is", "events are")} not published yet`,
      more: "The stream may be away; reconcile publishes them again every minute.",
    });
  }
  return found;
}

function allIsWell(sync) {
  const waiting = sync.products.pending + sync.products.retrying;
  return {
    level: "good",
    text: "All is well",
    more: waiting
      ? `${count(waiting, "product is", "products are")} on the way to the supply chain.`
      : `The newest version of ${count(sync.products.delivered, "product")} is delivered, and nothing waits.`,
  };
}

const foundDifferences = (audit) =>
  Object.values(audit?.differences ?? {}).reduce((sum, each) => sum + each, 0);

/** The differences of an audit that it did not repair. */
const openDifferences = (audit) => Math.max(0, foundDifferences(audit) - (audit?.repaired ?? 0));

/** The line about the time until nothing waits. */
function convergence(sync) {
  const estimate = sync.estimatedSecondsToConverge;
  if (estimate === 0) return "Nothing waits";
  if (estimate !== null) return `about ${duration(estimate)}`;
  if (sync.control.paused) return "not while paused";
  return sync.breaker.state === "closed" ? "not known yet" : "not while it is down";
}

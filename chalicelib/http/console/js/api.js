"use strict";
// The session (a token, for this tab only) and the requests. Every failure is a Problem.

/** The API's base: the page is /api/console, or below a gateway's own prefix. */
const BASE = location.pathname.replace(/\/console\/?$/, "");
const TOKEN = "product-catalog-token";
const READ = "products:read";
const ADMIN = "sync:admin";

/** Problem details (RFC 9457) of an answer, or why there was no answer. */
class Problem extends Error {
  constructor({ status = 0, title, detail, errors = [] }, retryAfter = null) {
    super(title);
    Object.assign(this, { status, title, detail, errors, retryAfter });
  }
}

const session = {
  /** Who asks: `{token, subject, scopes}`, or null. */
  caller: null,
  /** Why the token is asked for again. */
  reason: "",
  /** Called whenever the caller changes. */
  changed: () => {},

  /** Take the token of the address, which then shows it no more, or that of this tab. */
  restore() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given !== null) history.replaceState(null, "", `${location.pathname}${location.search}#/`);
    const token = given || sessionStorage.getItem(TOKEN);
    if (token) this.begin(token);
  },
  begin(token) {
    try {
      this.caller = callerOf(token.trim());
    } catch {
      return this.end("This is not a token: it has three parts with dots between them.");
    }
    this.reason = "";
    sessionStorage.setItem(TOKEN, this.caller.token);
    this.changed();
  },
  end(reason = "") {
    this.caller = null;
    this.reason = reason;
    sessionStorage.removeItem(TOKEN);
    this.changed();
  },
  has(...scopes) {
    return scopes.some((scope) => this.caller?.scopes.includes(scope));
  },
};

/** Read who a token is of, to show it. Only the API checks whether it is valid. */
function callerOf(token) {
  const [, payload, signature] = token.split(".");
  if (signature === undefined) throw new Error("not a token");
  const bytes = atob(payload.replaceAll("-", "+").replaceAll("_", "/"));
  const text = new TextDecoder().decode(Uint8Array.from(bytes, (each) => each.charCodeAt(0)));
  const claims = JSON.parse(text);
  const scopes = typeof claims.scope === "string" ? claims.scope.split(" ") : [];
  return { token, subject: String(claims.sub ?? ""), scopes };
}

/** Ask the API. Raises Problem; a refused token ends the session. `exact`: see `asWritten`. */
async function ask(method, path, { query, body, signal, exact } = {}) {
  const answer = await send(method, path + queryText(query), body, signal);
  const text = await bodyOf(answer);
  if (answer.ok) return text ? JSON.parse(text, exact && asWritten) : null;
  const problem = problemOf(answer, text);
  if (answer.status === 401) session.end(problem.detail);
  throw problem;
}

async function send(method, path, body, signal) {
  const headers = { Authorization: `Bearer ${session.caller?.token ?? ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(BASE + path, {
      method, headers, signal, cache: "no-store", credentials: "omit",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw noAnswer(error);
  }
}

async function bodyOf(answer) {
  try {
    return await answer.text();
  } catch (error) {
    throw noAnswer(error);
  }
}

function noAnswer(error) {
  if (error.name === "AbortError") return error;
  return new Problem({
    title: "The API does not answer",
    detail: "It may be away, or this machine is offline. The console keeps asking.",
  });
}

function problemOf(answer, text) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || null;
  try {
    const { title, detail, errors } = JSON.parse(text);
    if (title) return new Problem({ status: answer.status, title, detail, errors }, retryAfter);
  } catch {
    // Not from our API: a gateway in front of it says something of its own.
  }
  const title = `The API answers ${answer.status}`;
  return new Problem({ status: answer.status, title, detail: answer.statusText }, retryAfter);
}

/** Keep a number as it was written where a float would change it: a price is exact. */
function asWritten(_key, value, context) {
  const changed = typeof value === "number" && context?.source && String(value) !== context.source;
  return changed ? new Exact(context.source) : value;
}

/** A number that is shown digit by digit. */
class Exact {
  constructor(source) {
    this.source = source;
  }
  toString() {
    return this.source;
  }
}

function queryText(query = {}) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") found.append(name, each);
  }
  const text = found.toString();
  return text && `?${text}`;
}

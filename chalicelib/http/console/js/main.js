"use strict";
// The page around the screens: routes, navigation, the session.

const SCREENS = [
  { path: "/", name: "Overview", screen: Overview },
  { path: "/behind", name: "Products behind", screen: Behind },
  { path: "/dead-letters", name: "Dead letters", screen: Letters },
  { path: "/audit", name: "Audit", screen: Audit },
  { path: "/acts", name: "Acts", screen: Acts },
];

/** What the address asks for: `{path, query}`. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  return { path: path || "/", query: new URLSearchParams(query) };
}

function screenOf({ path, query }) {
  const [, id] = path.match(/^\/product\/([^/]+)$/) ?? [];
  if (id) return html`<${Product} key=${id} id=${decodeURIComponent(id)} />`;
  if (path === "/search") return html`<${Search} query=${query} />`;
  const found = SCREENS.find((each) => each.path === path);
  return found ? html`<${found.screen} key=${path} query=${query} />` : html`<${Nowhere} />`;
}

const Nowhere = () => html`<${Screen} title="No such screen"><p><a href="#/">To the overview</a></p><//>`;

function App() {
  const [, rerender] = useState(0);
  const at = route();
  const shown = useRef(at.path);
  useEffect(() => {
    const again = () => rerender((n) => n + 1);
    const moved = () => {
      // A link with a token that is followed within the open page.
      if (location.hash.startsWith("#token=")) session.restore();
      again();
    };
    session.changed = again;
    window.addEventListener("hashchange", moved);
    window.addEventListener("live", again);
  }, []);
  useEffect(() => {
    if (shown.current === at.path) return;
    shown.current = at.path;
    document.querySelector("h1")?.focus();
    window.scrollTo(0, 0);
  }, [at.path]);
  if (!session.caller) return html`<${Login} />`;
  return html`<${Fragment}>
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} path=${at.path} />
    <main id="main" tabindex="-1">
      ${session.has(ADMIN) || html`<p class="notice plain">Read only: the token lacks the scope <code>${ADMIN}</code>.</p>`}
      ${screenOf(at)}
    </main>
    <${Messages} />
  <//>`;
}

/** The address names a screen, so a link to a place within the page must not change it. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Header({ path }) {
  return html`<header>
    <div class="bar">
      <a class="brand" href="#/">Product Catalog</a>
      <${SearchBox} />
      <div class="caller">
        <button type="button" aria-pressed=${String(live.on)} onClick=${live.toggle}>Live</button>
        <span class="soft" title=${`Scopes: ${session.caller.scopes.join(", ") || "none"}`}>${session.caller.subject || "no name"}</span>
        <button type="button" onClick=${() => session.end()}>Log out</button>
      </div>
    </div>
    <nav aria-label="Screens"><ul>
      ${SCREENS.map((each) => html`<li key=${each.path}>
        <a href=${`#${each.path}`} aria-current=${each.path === path ? "page" : undefined}>${each.name}</a></li>`)}
    </ul></nav>
  </header>`;
}

function Login() {
  const [token, setToken] = useState("");
  useTitle("Log in");
  function submit(event) {
    event.preventDefault();
    session.begin(token);
  }
  return html`<main class="login">
    <h1 tabindex="-1">Product Catalog</h1>
    <p>The operator's console. It needs a token of the API.</p>
    ${session.reason && html`<div class="notice bad" role="alert"><strong>The token is refused</strong><p>${session.reason}</p></div>`}
    <form onSubmit=${submit}>
      <${Field} label="Token" type="password" autocomplete="off" required value=${token}
        hint=${`Scopes: ${READ} to look, ${ADMIN} to act. It is kept for this tab only.`}
        onInput=${(event) => setToken(event.target.value)} />
      <button type="submit" class="primary">Log in</button>
    </form>
  </main>`;
}

session.restore();
render(html`<${App} />`, document.getElementById("app"));

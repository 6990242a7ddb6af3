// Makes pages live: whenever the service tells of a change, the page's content is fetched anew.
// Without it every page shows the same facts, as of when it was loaded.

const SHORTEST_WAIT_MS = 1000;

function showLocalTimes(root) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const local = `${format.format(new Date(time.dateTime))} local time`;
    time.title = local;
    // Where people have UTC it is the same.
    if (new Date(time.dateTime).getTimezoneOffset() !== 0) {
      const beside = document.createElement("span");
      beside.className = "local";
      beside.textContent = `(${local})`;
      time.after(beside);
    }
  }
}

// What somebody has opened or closed, by where it stands and what it is called.
function openedIn(main) {
  return new Map([...main.querySelectorAll("details")].map((each) => [nameOf(each), each.open]));
}

function nameOf(details) {
  const section = details.closest("section")?.getAttribute("aria-labelledby");
  return `${section} ${details.querySelector("summary").textContent}`;
}

// What can have the focus, to find the same again in a page that was loaded anew.
const FOCUSABLE = "a[href], button, summary, [tabindex]";

let last = null;

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [old, fresh] = [document.querySelector("main"), page.querySelector("main")];
  if (!fresh) return;
  if (fresh.innerHTML === last) {
    listen(old);
    return;
  }
  const focused = document.activeElement;
  // What somebody is filling in is not taken away.
  if (old.contains(focused) && focused.matches("input, select, textarea")) return;
  last = fresh.innerHTML;
  const opened = openedIn(old);
  const at = [...old.querySelectorAll(FOCUSABLE)].indexOf(focused);
  old.replaceWith(fresh);
  if (at >= 0) fresh.querySelectorAll(FOCUSABLE)[at]?.focus({ preventScroll: true });
  for (const each of fresh.querySelectorAll("details")) each.open = opened.get(nameOf(each)) ?? each.open;
  document.title = page.title;
  showLocalTimes(fresh);
  listen(fresh);
}

let source = null;
let planned = null;
let address = null;

function plan() {
  planned ??= setTimeout(async () => {
    planned = null;
    // Nobody looks: what has changed meanwhile is loaded when somebody does.
    if (document.hidden) {
      document.addEventListener("visibilitychange", plan, { once: true });
      return;
    }
    try {
      await refresh();
    } catch {
      // The service is away; the next event tells of its return.
    }
  }, SHORTEST_WAIT_MS);
}

function listen(main) {
  // Something is on its way of which no event tells.
  if ("again" in main.dataset) plan();
  const wanted = main.dataset.events ?? null;
  if (wanted === address) return;
  source?.close();
  source = null;
  address = wanted;
  if (wanted === null) return;
  source = new EventSource(wanted);
  for (const kind of ["group_ended", "seal_made", "job_changed", "group_accepted"]) {
    source.addEventListener(kind, plan);
  }
}

showLocalTimes(document);
listen(document.querySelector("main"));
